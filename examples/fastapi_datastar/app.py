"""A todo list by FastAPI and Datastar: commands by POST, and one stream that says whatever has changed.

Run it with ``uvicorn app:app --timeout-graceful-shutdown 1``; see README.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse
from pydantic import BaseModel, Field
from todos import Todos

import livelake
from livelake import Update
from livelake.web import datastar
from livelake.web.html import escape

HERE = Path(__file__).parent
DATA = Path(os.environ.get("TODO_DATA", HERE / "data"))


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await asyncio.to_thread(DATA.mkdir, parents=True, exist_ok=True)
    async with livelake.open(f"ducklake:sqlite:{DATA / 'todos.sqlite'}") as lake:
        app.state.lake = lake
        app.state.todos = await Todos.begin(lake, DATA / "events.jsonl")
        yield


app = FastAPI(title="Todos", lifespan=lifespan)


# ---------------------------------------------------------------- commands


class NewTodo(BaseModel):
    """The signals of the page: Datastar sends them as JSON."""

    title: str = Field(min_length=1, max_length=200)


@app.post("/todos")
async def add(todo: NewTodo) -> Response:
    await app.state.todos.add(todo.title)
    # The list and the statistics come by the stream, to everybody. This answer empties the field, here only.
    return Response(datastar.patch_signals({"title": ""}), media_type="text/event-stream")


@app.post("/todos/{todo}/complete", status_code=204)
async def complete(todo: UUID) -> None:
    if not await app.state.todos.complete(todo):
        raise HTTPException(404, "there is no such todo, or it is done")


# ---------------------------------------------------------------- the page and its stream


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    return (HERE / "page.html").read_text(encoding="utf-8")


@app.get("/datastar.js")
def script() -> FileResponse:
    """Datastar's client: the file that DATASTAR_JS names, else the one in the wheel of starhtml."""
    path = os.environ.get("DATASTAR_JS")
    if path is None:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            path = str(importlib.metadata.distribution("starhtml").locate_file("starhtml/static/js/datastar-core.js"))
    if path is None or not Path(path).is_file():
        raise HTTPException(404, "set DATASTAR_JS to a release of Datastar 1.0 or newer; see README.md")
    return FileResponse(path, media_type="text/javascript")


@app.get("/updates")
async def updates() -> StreamingResponse:
    """Both answers as they stand, then each that changes: one refresh for all viewers, the newest for a slow one."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_patches(), media_type="text/event-stream", headers=headers)


async def _patches() -> AsyncIterator[bytes]:
    todos: Todos = app.state.todos
    async with app.state.lake.updates.subscribe(todos.list(), todos.statistics()) as changes:
        while True:
            try:
                async with asyncio.timeout(15):
                    update = await anext(changes)
            except TimeoutError:
                yield datastar.heartbeat(datetime.now(UTC))
            else:
                yield datastar.patch_elements(_drawn(update, todos))


def _drawn(update: Update, todos: Todos) -> str:
    trouble = f'<p id="trouble" role="alert">{escape(str(update.error or ""))}</p>'
    if update.result is None:
        return trouble
    rows = update.result.rows()
    return trouble + (_list(rows) if update.query == todos.list() else _statistics(rows[0], update))


def _list(rows: list[dict[str, object]]) -> str:
    items = [
        f'<li id="todo-{row["id"]}" class="done">{escape(str(row["title"]))}</li>'
        if row["done"]
        else f'<li id="todo-{row["id"]}">{escape(str(row["title"]))} '
        f"<button data-on:click=\"@post('/todos/{row['id']}/complete')\">Done</button></li>"
        for row in rows
    ]
    return f'<ul id="todos">{"".join(items) or "<li>Nothing to do</li>"}</ul>'


def _statistics(row: dict[str, object], update: Update) -> str:
    counts = f"{row['added']} added, {row['completed']} completed"
    return f'<p id="statistics">{counts} <small>(why now: {escape(str(update.reason))})</small></p>'
