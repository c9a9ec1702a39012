"""The todo list itself: commands that write, and the two questions that the page asks. It knows no HTTP.

Two kinds of source, one mechanism:

- ``todos`` is a table of a lake. Nobody declares that the list depends on it: livelake reads the commit log.
- ``events.jsonl`` is the application's own record of what was done, a line each. No commit log shows when it grows,
  so the statistics say what they depend on (``events/Todo/**``), and each command publishes its event when its line
  is there.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from livelake import Event, LiveLake
from livelake.lake import Query

TODOS = "SELECT id, title, done FROM todos ORDER BY done, added, id"

STATISTICS = """
WITH line AS (  -- what follows the last line end is being written
    SELECT unnest(string_split(content, chr(10))[:-2])::JSON AS event FROM read_text($path)
)
SELECT
    count(*) FILTER (event ->> 'event_type' = 'Added') AS added,
    count(*) FILTER (event ->> 'event_type' = 'Completed') AS completed,
    max(event ->> 'time')::TIMESTAMPTZ AS latest
FROM line
"""


class Todos:
    """Made by `Todos.begin`; for one event loop."""

    def __init__(self, lake: LiveLake, record: Path) -> None:
        self._lake = lake
        self._record = record

    @classmethod
    async def begin(cls, lake: LiveLake, record: Path) -> Todos:
        await lake.execute(
            "CREATE TABLE IF NOT EXISTS todos (id UUID, added TIMESTAMPTZ, title VARCHAR, done BOOLEAN)"
        )
        await asyncio.to_thread(record.touch)
        return cls(lake, record)

    def list(self) -> Query:
        return self._lake.ask(TODOS)

    def statistics(self) -> Query:
        """Kept for a day, and until something happens to a todo."""
        path = {"path": str(self._record)}
        return self._lake.ask(STATISTICS, path, depends_on=["events/Todo/**"], ttl=86_400.0)

    async def add(self, title: str) -> None:
        todo = uuid4()
        values = {"id": todo, "added": datetime.now(UTC), "title": title}
        await self._lake.execute("INSERT INTO todos VALUES ($id, $added, $title, false)", values)
        await self._happened("Added", todo)

    async def complete(self, todo: UUID) -> bool:
        """False if there is no such todo, or it is done already."""
        open_ones = await self._lake.query("SELECT id FROM todos WHERE id = $id AND NOT done", {"id": todo})
        if not len(open_ones):
            return False
        await self._lake.execute("UPDATE todos SET done = true WHERE id = $id", {"id": todo})
        await self._happened("Completed", todo)
        return True

    async def _happened(self, what: str, todo: UUID) -> None:
        """Write it down, then say so: an event is published after its data was committed."""
        line = json.dumps({"event_type": what, "id": str(todo), "time": datetime.now(UTC).isoformat()})
        await asyncio.to_thread(self._append, line)
        await self._lake.bus.publish(Event(aggregate_type="Todo", aggregate_id=str(todo), event_type=what))

    def _append(self, line: str) -> None:
        with self._record.open("a", encoding="utf-8") as record:
            record.write(line + "\n")
            record.flush()
            os.fsync(record.fileno())
