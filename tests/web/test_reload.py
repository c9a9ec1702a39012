"""Dashboards that follow their files: looked at by hand here, so that no test waits for a clock."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from livelake import web
from livelake.live import LiveLake
from livelake.web.app import REVISION
from livelake.web.reload import Reloader, signature

PEOPLE = "SELECT name FROM shop.main.people ORDER BY name"


@pytest.fixture
async def reloader(app: web.App, folder: Path) -> Reloader:
    made = web.reloader(app, folder)
    await made.look()
    assert await made.look()  # what may have changed since the server has read it
    return made


@pytest.fixture
async def client(app: web.App) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as made:
        yield made


async def settled(reloader: Reloader) -> bool:
    """Two looks: one that sees the change, and one that finds it has held still."""
    await reloader.look()
    return await reloader.look()


async def test_what_is_edited_is_served(
    app: web.App, reloader: Reloader, client: httpx.AsyncClient, folder: Path
) -> None:
    assert not await settled(reloader)  # nothing has changed, so nothing is read
    (folder / "shop" / "people.sql").write_text("SELECT upper(name) AS loud FROM shop.main.people")
    (folder / "shop" / "more.sql").write_text("SELECT 1 AS n")
    assert await settled(reloader)
    assert (await client.get("/queries/people")).json() == [{"loud": "ADA"}]
    assert (await client.get("/queries/more")).json() == [{"n": 1}]
    assert 'id="panel-more"' in (await client.get("/d/shop")).text
    (folder / "shop" / "more.sql").unlink()
    assert await settled(reloader)
    assert (await client.get("/queries/more")).status_code == 404


async def test_a_file_that_is_still_being_written_is_waited_for(
    reloader: Reloader, app: web.App, folder: Path
) -> None:
    file = folder / "shop" / "people.sql"
    for length in range(1, 6):
        file.write_text(PEOPLE[: 5 * length])
        assert not await reloader.look()
    file.write_text("SELECT 'whole' AS name")
    assert await settled(reloader)
    assert app.queries["people"].sql == "SELECT 'whole' AS name"
    assert app.channels.notice == '<div id="notice" class="notice" role="alert"></div>'


async def test_a_wrong_file_is_told_with_its_line_and_what_was_before_goes_on(
    app: web.App, reloader: Reloader, client: httpx.AsyncClient, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / "shop" / "people.sql"
    before = file.read_text()
    wrongs = {
        "/*---\ntitle = [\n---*/\nSELECT 1": f"{file}:",
        "SELEC 1": f"{file}:1:",
        "/*---\nchart = { mark = 'pie' }\n---*/\nSELECT 1": f"{file}:2:",
        "DROP TABLE shop.main.people": f"{file}:1:",
        "SELECT $nobody AS n": "params.nobody is not declared",
    }
    for text, told in wrongs.items():
        caplog.clear()
        file.write_text(text)
        assert await settled(reloader)
        assert told in caplog.text
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        page = (await client.get("/d/shop")).text
        assert "what you see is what was before" in page
        assert told in page.replace("&#39;", "'")
        assert (await client.get("/queries/people")).json() == [{"name": "Ada"}]
    file.write_text(before)
    assert await settled(reloader)
    assert "what you see is what was before" not in (await client.get("/d/shop")).text


async def test_only_what_changed_loses_its_streams(app: web.App, reloader: Reloader, folder: Path) -> None:
    shop, misc = app.dashboards["shop"], app.dashboards["misc"]
    touched = app.channels.enter(shop, web.bind(shop, []))
    untouched = app.channels.enter(misc, web.bind(misc, [("since", "2024-01-15")]))
    (folder / "shop" / "people.sql").write_text("SELECT 'new' AS name")
    assert await settled(reloader)
    assert (touched.closed, untouched.closed) == (True, False)
    again = app.channels.enter(app.dashboards["shop"], web.bind(app.dashboards["shop"], []))
    assert again is not touched
    assert app.channels.enter(app.dashboards["misc"], web.bind(misc, [("since", "2024-01-15")])) is untouched
    for channel in (touched, untouched, untouched, again):
        app.channels.leave(channel)
    assert app.channels.viewers == 0


async def test_a_page_of_before_is_told_to_load_itself_again(
    app: web.App, reloader: Reloader, client: httpx.AsyncClient, folder: Path
) -> None:
    old = app.dashboards["shop"].revision
    assert f"{REVISION}={old}" in (await client.get("/d/shop?least=6")).text
    (folder / "shop" / "totals.sql").write_text("SELECT 'without parameters' AS n")
    assert await settled(reloader)
    # It says nothing of a parameter that is gone: the page, loaded again, will.
    answer = await client.get("/live/shop", params={"least": "6", REVISION: old})
    assert (answer.status_code, answer.text) == (200, "event: livelake-reload\ndata: \n\n")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (await client.get("/d/shop?least=6")).status_code == 400
    assert app.dashboards["shop"].revision != old


async def test_a_catalog_that_changes_asks_for_a_new_start(
    app: web.App, reloader: Reloader, client: httpx.AsyncClient, folder: Path
) -> None:
    settings = folder / "shop" / "livelake.toml"
    settings.write_text('attach = { other = "other.duckdb" }')
    assert await settled(reloader)
    page = (await client.get("/d/shop")).text
    assert "is attached when the server starts; start it again" in page
    assert str(settings) in page


async def test_touching_a_file_ends_no_stream(app: web.App, reloader: Reloader, folder: Path) -> None:
    shop = app.dashboards["shop"]
    channel = app.channels.enter(shop, web.bind(shop, []))
    os.utime(folder / "shop" / "people.sql", (1, 1))
    assert await settled(reloader)
    assert not channel.closed
    app.channels.leave(channel)


async def test_without_reload_no_page_has_a_revision_and_no_notice(client: httpx.AsyncClient, app: web.App) -> None:
    page = (await client.get("/d/shop")).text
    assert REVISION not in page
    assert 'id="notice"' not in page


def test_a_signature_sees_what_matters_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    states = [signature(tmp_path)]

    def changed() -> bool:
        states.append(signature(tmp_path))
        return states[-1] != states[-2]

    for name in ("a/x.sql", "a/livelake.toml", "b.SQL"):
        (tmp_path / name).write_text("1")
        assert changed(), name
        assert not changed()
    os.utime(tmp_path / "a" / "x.sql", ns=(5, 5))
    assert changed()
    (tmp_path / "other").write_text("2")
    os.utime(tmp_path / "other", ns=(5, 5))
    (tmp_path / "other").replace(tmp_path / "a" / "x.sql")  # an editor that saves by renaming
    assert changed()
    for name in ("a/.x.sql.swp", "a/notes.md", "sales.sqlite", "a/deep/x.sql"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
        assert not changed(), name
    (tmp_path / "a" / "x.sql").unlink()
    assert changed()
    assert signature(tmp_path / "nowhere") == frozenset()


async def test_single_queries_have_a_stream_too(client: httpx.AsyncClient, app: web.App, lake: LiveLake) -> None:
    for path, told in {
        "/live": "name what to watch",
        "/live?query=nothing": "there is no query of that name",
        "/live?query=people&least=3": "no parameter &#39;least&#39;",
        "/live?query=totals&least=x": "least",
        "/live?query=needs": "since",
    }.items():
        answer = await client.get(path)
        assert answer.status_code in (400, 404)
        assert told.replace("&#39;", "'") in answer.json()["detail"]
    assert (await client.head("/live?query=totals&query=people&least=3")).status_code == 200
