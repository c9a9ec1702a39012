"""``livelake serve`` by many processes: workers behind one socket, and servers behind one router. All are real."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import livelake
from livelake.live import LiveLake

pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")

from cli.served import PATIENCE, SECRET, Page, by_worker, failed, get, post, until, workers
from events.routers import running
from livelake.cli.serving import Serving
from livelake.cli.workers import _Place

# So seldom that the commit log tells nothing during a test: what moves a page then is an event.
NEVER_POLLED = ("--poll-interval", "600")


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[LiveLake]:
    """Written by this process; served by others."""
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/sales.sqlite") as opened:
        await opened.execute("CREATE TABLE orders (id INTEGER)")
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dashboard with two panels: what events tell of, and what the commit log alone tells of."""
    made = tmp_path / "shop"
    made.mkdir()
    (made / "livelake.toml").write_text('attach = { sales = "ducklake:sqlite:../sales.sqlite" }')
    sql = "SELECT count(*) AS {} FROM sales.main.orders"
    (made / "told.sql").write_text('/*---\ndepends_on = ["events/Todo/**"]\n---*/\n' + sql.format("told"))
    (made / "seen.sql").write_text(sql.format("seen"))
    return made


@pytest.fixture(scope="module")
def router() -> Iterator[str]:
    with running("--listen", "tcp/127.0.0.1:0") as endpoint:
        yield endpoint


@pytest.fixture
def start(start: Any) -> Iterator[Any]:
    """As everywhere, but that what still runs may clear up."""
    processes: list[subprocess.Popen[str]] = []

    def call(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        processes.append(start(*arguments, **options))
        return processes[-1]

    yield call
    for process in processes:
        process.terminate()
    for process in processes:
        process.communicate(timeout=PATIENCE)


@pytest.fixture
def serve(start: Any, folder: Path) -> Callable[..., tuple[str, subprocess.Popen[str]]]:
    """``livelake serve`` with these options, when it says that it serves; its address and process."""

    def call(*options: str) -> tuple[str, subprocess.Popen[str]]:
        env = os.environ | {"LIVELAKE_PUBLISH_TOKEN": SECRET}
        process = start("serve", folder.name, "--port", "0", *options, env=env)
        line = process.stdout.readline()
        found = re.search(r"livelake serves 2 queries on (http://\S+/)", line)
        assert found, line + process.communicate()[1]
        return found[1], process

    return call


# ---------------------------------------------------------------- workers


async def test_workers_share_one_address_and_hear_of_one_anothers_events(
    serve: Any, lake: LiveLake, tmp_path: Path
) -> None:
    url, _ = await asyncio.to_thread(serve, "--workers", "2", *NEVER_POLLED)
    await until(lambda: by_worker(url, 2, lambda health: len(health["bus"]["sources"]) == 1))
    await until(lambda: all(get(f"{url}queries/told") == [{"told": 0}] for _ in range(10)))
    for n in range(1, 6):
        await lake.execute("INSERT INTO orders VALUES (1)")
        token = await asyncio.to_thread(post, url)
        for _ in range(10):  # whichever worker answers
            told = await asyncio.to_thread(get, f"{url}queries/told", Livelake_Not_Before=token)
            assert told == [{"told": n}]


async def test_one_of_the_workers_tidies_the_lake(serve: Any, lake: LiveLake, folder: Path, tmp_path: Path) -> None:
    config = folder / "livelake.toml"
    config.write_text(config.read_text() + '\n[maintain]\nevery = "1s"\n')
    await lake.execute("INSERT INTO orders VALUES (1), (2)")
    url, _ = await asyncio.to_thread(serve, "--workers", "3")
    files = tmp_path / "sales.sqlite.files"
    assert not list(files.rglob("*.parquet"))  # the rows are in the catalog still
    await until(lambda: list(files.rglob("*.parquet")))
    assert await asyncio.to_thread(get, f"{url}queries/seen") == [{"seen": 2}]


def test_the_first_of_the_workers_tidies_and_no_other(folder: Path) -> None:
    given: Any = {"hosts": None, "tokens": None, "sessions": None}
    settings = Serving(folder=folder, poll_interval=1.0, **given)
    with socket.socket() as listener:
        assert [_Place(n, settings, listener)._settings.keeps_up for n in (1, 2, 3)] == [True, False, False]


async def test_pages_of_every_worker_move(serve: Any, lake: LiveLake) -> None:
    url, _ = await asyncio.to_thread(serve, "--workers", "2", *NEVER_POLLED)
    async with Page(url) as a, Page(url) as b, Page(url) as c, Page(url) as d:
        await until(lambda: all(page.shows("told", 0) for page in (a, b, c, d)))
        await until(lambda: by_worker(url, 2))
        await lake.execute("INSERT INTO orders VALUES (1)")
        await asyncio.to_thread(post, url)
        await until(lambda: all(page.shows("told", 1) for page in (a, b, c, d)))


async def test_the_private_bus_is_private_and_goes_with_the_workers(serve: Any, lake: LiveLake) -> None:
    url, process = await asyncio.to_thread(serve, "--workers", "2")
    (endpoint,) = get(f"{url}healthz")["bus"]["endpoints"]
    folder = Path(endpoint.removeprefix("unixsock-stream/")).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    process.terminate()
    await asyncio.to_thread(process.wait, PATIENCE)
    assert not folder.exists()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_and_leaves_nobody(serve: Any, lake: LiveLake, stop: signal.Signals) -> None:
    url, process = await asyncio.to_thread(serve, "--workers", "3")
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(workers(process)) == 3
    async with Page(url) as page:
        await until(lambda: page.shows("seen", 0))
        process.send_signal(stop)
        output, errors = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert (process.returncode, output, errors) == (0, "", "")
    await until(lambda: not any(each.is_running() for each in family))


async def test_ctrl_c_at_a_terminal_is_for_the_whole_group_and_ends_it_quietly(
    start: Any, folder: Path, lake: LiveLake
) -> None:
    process = start("serve", folder.name, "--port", "0", "--workers", "2", process_group=0)
    assert "with 2 workers" in await asyncio.to_thread(process.stdout.readline)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert (process.returncode, output, errors) == (0, "", "")


async def test_ctrl_c_while_workers_start_ends_quietly(start: Any, folder: Path, lake: LiveLake) -> None:
    for _ in range(3):
        process = start("serve", folder.name, "--port", "0", "--workers", "2", process_group=0)
        await until(lambda: len(workers(process)) == 2)  # noqa: B023
        os.killpg(process.pid, signal.SIGINT)
        _, errors = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert process.returncode == 0
        assert "Traceback" not in errors


async def test_workers_of_a_supervisor_that_was_killed_end_by_themselves(serve: Any, lake: LiveLake) -> None:
    url, process = await asyncio.to_thread(serve, "--workers", "2")
    (endpoint,) = get(f"{url}healthz")["bus"]["endpoints"]
    left = workers(process)
    process.kill()
    await until(lambda: not any(each.is_running() for each in left))
    shutil.rmtree(Path(endpoint.removeprefix("unixsock-stream/")).parent)  # which a killed one leaves


async def test_a_worker_that_dies_is_replaced_and_nobody_is_refused(serve: Any, lake: LiveLake) -> None:
    url, process = await asyncio.to_thread(serve, "--workers", "2")
    before = {each.pid for each in workers(process)}
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    assert process.stderr is not None
    line = await asyncio.to_thread(process.stderr.readline)
    form = rf"livelake: worker \d \(process {victim}\): was ended by SIGKILL; another starts in 0\.1 s\n"
    assert re.fullmatch(form, line)

    def replaced() -> bool:
        assert get(f"{url}queries/seen") == [{"seen": 0}]
        now = {each.pid for each in workers(process)}
        return len(now) == 2 and victim not in now

    await until(replaced)
    (new,) = {each.pid for each in workers(process)} - before
    await until(lambda: by_worker(url, 1, lambda health: health["process"] == new))


async def test_a_worker_that_is_ended_by_sigterm_is_replaced_too(serve: Any, lake: LiveLake) -> None:
    _, process = await asyncio.to_thread(serve, "--workers", "2")
    os.kill(workers(process)[0].pid, signal.SIGTERM)
    assert process.stderr is not None
    assert "ended with status 0; another starts" in await asyncio.to_thread(process.stderr.readline)
    await until(lambda: len(workers(process)) == 2)


async def test_a_lake_that_is_not_there_ends_it_all_with_one_line(run: Any, folder: Path) -> None:
    line = failed(await asyncio.to_thread(run, "serve", folder.name, "--port", "0", "--workers", "3"))
    assert "sales.sqlite" in line


async def test_a_query_that_is_none_ends_it_all_with_one_line(run: Any, folder: Path, lake: LiveLake) -> None:
    (folder / "bad.sql").write_text("DROP TABLE sales.main.orders")
    line = failed(await asyncio.to_thread(run, "serve", folder.name, "--port", "0", "--workers", "3"))
    assert "bad.sql" in line


@pytest.mark.parametrize("uri", ["ducklake:../sales.ducklake", "../sales.duckdb"])
def test_a_file_that_one_process_holds_is_refused(run: Any, folder: Path, uri: str) -> None:
    (folder / "livelake.toml").write_text(f'attach = {{ sales = "{uri}" }}')
    line = failed(run("serve", folder.name, "--port", "0", "--workers", "4"))
    assert "--workers 4 is for catalogs that several processes can open, and sales is a DuckDB file" in line
    assert "ducklake:sqlite:" in line


async def test_workers_may_serve_no_database_at_all(start: Any, tmp_path: Path) -> None:
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "two.sql").write_text("SELECT 1 + 1 AS two")
    process = start("serve", "sums", "--port", "0", "--workers", "2")
    line = await asyncio.to_thread(process.stdout.readline)
    assert "livelake serves 1 query on " in line
    url = line.split()[5]
    assert await asyncio.to_thread(get, f"{url}queries/two") == [{"two": 2}]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--bus", "local", "--connect", "tcp/127.0.0.1:7447"], "--bus local stays in this process"),
        (["--workers", "2", "--listen", "tcp/127.0.0.1:7447"], "2 workers cannot all listen there"),
        (["--connect", "nonsense"], "'nonsense' is no endpoint"),
        (["--workers", "2", "--connect", "nonsense"], "'nonsense' is no endpoint"),
        (["--connect", "tcp/127.0.0.1:1"], "cannot open Zenoh at tcp/127.0.0.1:1"),
        (["--workers", "2", "--bus", "zenoh", "--connect", "tcp/127.0.0.1:1"], "cannot open Zenoh"),
        (["--publish-token", "two words"], "visible ASCII"),
        (["--tokens", "none"], "none: the tokens cannot be read"),
    ],
)
async def test_what_cannot_be_is_one_line(
    run: Any, folder: Path, lake: LiveLake, options: list[str], why: str
) -> None:
    line = failed(await asyncio.to_thread(run, "serve", folder.name, "--port", "0", *options))
    assert why in line
    assert "two words" not in line


WITHOUT_ZENOH = "import sys; sys.modules['zenoh'] = None; from importlib import util; found = util.find_spec\n"
WITHOUT_ZENOH += "util.find_spec = lambda name, *a: None if name == 'zenoh' else found(name, *a)\n"
WITHOUT_ZENOH += "if __name__ == '__main__':\n    from livelake.cli import main; main()\n"


async def test_without_zenoh_workers_go_by_the_commit_log_and_say_so(folder: Path, lake: LiveLake) -> None:
    program = folder.parent / "without_zenoh.py"
    program.write_text(WITHOUT_ZENOH)
    command = [sys.executable, str(program), "serve", folder.name, "--port", "0", "--workers", "2"]
    given: Any = {"cwd": folder.parent, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    refusal = await asyncio.to_thread(
        subprocess.run, [*command, "--publish-token", SECRET], check=False, timeout=PATIENCE, **given
    )
    assert "would not reach the others without Zenoh" in failed(refusal)
    with subprocess.Popen(command, **given) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = await asyncio.to_thread(process.stderr.readline)
            assert "told.sql depends on events, and no worker hears of any: Zenoh is not installed" in line
            url = (await asyncio.to_thread(process.stdout.readline)).split()[5]
            await lake.execute("INSERT INTO orders VALUES (1)")
            await until(lambda: all(get(f"{url}queries/told") == [{"told": 1}] for _ in range(10)))
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, PATIENCE)


# ---------------------------------------------------------------- servers behind one router


async def test_a_publication_at_one_server_moves_the_pages_of_the_other(
    serve: Any, router: str, lake: LiveLake, run: Any
) -> None:
    options = ("--bus", "zenoh", "--connect", router, *NEVER_POLLED)
    (one, _), (two, _) = [await asyncio.to_thread(serve, *options) for _ in range(2)]
    async with Page(one) as here, Page(two) as there:
        await until(lambda: all(page.shows("told", 0) and page.shows("seen", 0) for page in (here, there)))
        await lake.execute("INSERT INTO orders VALUES (1)")
        token = await asyncio.to_thread(post, one)
        assert await asyncio.to_thread(get, f"{two}queries/told", Livelake_Not_Before=token) == [{"told": 1}]
        await until(lambda: here.shows("told", 1) and there.shows("told", 1))
        await lake.execute("INSERT INTO orders VALUES (2)")
        done = await asyncio.to_thread(run, "publish", "Todo", "7", "Done", "--connect", router, "-f", "token")
        token = done.stdout.strip()
        for url in (one, two):
            assert await asyncio.to_thread(get, f"{url}queries/told", Livelake_Not_Before=token) == [{"told": 2}]
        await until(lambda: here.shows("told", 2) and there.shows("told", 2))


async def test_a_commit_moves_the_pages_of_all_servers(serve: Any, router: str, lake: LiveLake) -> None:
    (one, _), (two, _) = [await asyncio.to_thread(serve, "--connect", router) for _ in range(2)]
    async with Page(one) as here, Page(two) as there:
        for n in range(3):
            await until(lambda: all(page.shows("told", n) and page.shows("seen", n) for page in (here, there)))  # noqa: B023
            await lake.execute("INSERT INTO orders VALUES (1)")


async def test_a_server_without_its_router_is_degraded_and_serves_what_the_lake_vouches_for(
    serve: Any, lake: LiveLake
) -> None:
    with running("--listen", "tcp/127.0.0.1:0") as endpoint:
        url, _ = await asyncio.to_thread(serve, "--connect", endpoint)
        assert get(f"{url}healthz")["status"] == "ok"
        for name in ("seen", "told"):
            get(f"{url}queries/{name}")

    def is_degraded() -> bool:
        health = get(f"{url}healthz")  # 200, or this would raise
        return bool(health["status"] == "degraded" and health["bus"]["blind"] and health["bus"]["connected"] == 0)

    await until(is_degraded)

    def status(name: str) -> str:
        with urllib.request.urlopen(f"{url}queries/{name}", timeout=PATIENCE) as answer:
            return str(answer.headers["cache-status"])

    assert status("seen").startswith("livelake; hit")
    assert "hit" not in status("told")
    assert "hit" not in status("told")


async def test_a_wrong_publish_token_is_refused_and_told_nowhere(serve: Any, router: str, lake: LiveLake) -> None:
    url, process = await asyncio.to_thread(serve, "--connect", router)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        await asyncio.to_thread(post, url, None, SECRET + "x")
    assert refusal.value.code == 401
    assert refusal.value.headers["www-authenticate"].startswith("Bearer")
    process.terminate()
    output, errors = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert (process.returncode, output, errors) == (0, "", "")


# ---------------------------------------------------------------- what the README shows

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Many processes\n")[2].partition("\n## ")[0]
COMMANDS = [shlex.split(line, comments=True)[1:] for line in re.findall(r"^livelake .*$", SECTION, re.MULTILINE)]


async def test_the_commands_of_the_readme_work_together(
    start: Any, run: Any, folder: Path, lake: LiveLake, router: str
) -> None:
    assert [command[0] for command in COMMANDS] == ["serve", "router", "serve", "tail", "publish"]
    workers, routing, server, tail, publish = COMMANDS
    env = os.environ | {"LIVELAKE_PUBLISH_TOKEN": SECRET}

    def serving(command: list[str], *options: str) -> str:
        given = [folder.name if word == "DIR" else word for word in command]
        line = start(*given, "--port", "0", *options, env=env).stdout.readline()
        assert "livelake serves 2 queries on " in line
        return str(line.split()[5])

    assert "listens on" in await asyncio.to_thread(start(*routing, "--listen", "tcp/127.0.0.1:0").stdout.readline)
    assert await asyncio.to_thread(get, await asyncio.to_thread(serving, workers) + "queries/told") == [{"told": 0}]
    at = ("--connect", router)
    url = await asyncio.to_thread(serving, server, *at, *NEVER_POLLED)
    hearing = start(*tail, *at)
    await asyncio.to_thread(hearing.stderr.readline)
    await lake.execute("INSERT INTO orders VALUES (1)")
    done = await asyncio.to_thread(run, *publish, *at)
    assert done.stdout.startswith("published events/Todo/42/1, token ")
    token = done.stdout.split()[-1]
    assert await asyncio.to_thread(get, f"{url}queries/told", Livelake_Not_Before=token) == [{"told": 1}]
    assert await asyncio.to_thread(lambda: next(line for line in hearing.stdout if "Completed" in line))


async def test_the_request_of_the_readme_publishes(serve: Any, lake: LiveLake) -> None:
    (line,) = re.findall(r"^curl (?:.*\\\n)*.*$", SECTION, re.MULTILINE)
    words = shlex.split(line.replace("$LIVELAKE_PUBLISH_TOKEN", SECRET).replace("\\\n", ""))
    method, address, body = words[words.index("-X") + 1], words[3], words[words.index("-d") + 1]
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    url, _ = await asyncio.to_thread(serve, *NEVER_POLLED)
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        here = url.rstrip("/") + address.partition(":8000")[2]
        answer = await client.request(method, here, content=body, headers=headers)
    assert answer.status_code == 202
    assert answer.json()["published"] == 1
