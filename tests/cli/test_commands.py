"""``livelake query``, ``watch``, ``why`` and ``serve`` as a user meets them: in a process of their own."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import livelake
from livelake.cli import cli, main
from livelake.cli.terminal import table_text

SQL = "SELECT region, amount FROM orders ORDER BY amount"
SQLITE = "ducklake:sqlite:sales.sqlite"
URIS = [SQLITE, "ducklake:sales.ducklake", "sales.duckdb"]


async def fill(uri: str, folder: Path) -> None:
    scheme, _, path = uri.rpartition(":")
    async with livelake.open(f"{scheme}:{folder / path}" if scheme else str(folder / path)) as lake:
        await lake.execute("CREATE TABLE orders (region VARCHAR, amount DECIMAL(9, 2))")
        await lake.execute("INSERT INTO orders VALUES ('north', 10), ('süd', 5.25), (NULL, NULL)")


def failed(done: Any) -> str:
    """The one line of a failure."""
    lines = done.stderr.splitlines()
    assert done.returncode not in (0, None), done.stdout
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("livelake: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return str(lines[0])


# ---------------------------------------------------------------- query


@pytest.mark.parametrize("uri", URIS)
async def test_query_reads_every_kind_of_database(run: Any, tmp_path: Path, uri: str) -> None:
    await fill(uri, tmp_path)
    done = run("query", uri, SQL)
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "region  amount",
        "──────  ──────",
        "süd       5.25",
        "north    10.00",
        "∅            ∅",
        "(3 rows)",
    ]


async def test_query_writes_every_format(run: Any, tmp_path: Path) -> None:
    await fill(SQLITE, tmp_path)
    assert json.loads(run("query", SQLITE, SQL, "-f", "json").stdout) == [
        {"region": "süd", "amount": 5.25},
        {"region": "north", "amount": 10.00},
        {"region": None, "amount": None},
    ]
    text = run("query", SQLITE, SQL, "--format", "csv").stdout
    assert list(csv.reader(io.StringIO(text))) == [
        ["region", "amount"],
        ["süd", "5.25"],
        ["north", "10.00"],
        ["", ""],
    ]
    done = run("query", SQLITE, SQL, "--format", "arrow", text=False, encoding=None)
    table = pa.ipc.open_stream(done.stdout).read_all()
    assert table.column_names == ["region", "amount"]
    assert table.num_rows == 3


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_numbers_keep_their_digits() -> None:
    sql = "SELECT 12345678901234567890.50::DECIMAL(38, 2) AS d, (2::HUGEINT ** 100)::HUGEINT AS h, 'nan'::DOUBLE AS n"
    text = invoke("query", ":memory:", sql, "-f", "json")
    assert '"d":12345678901234567890.50' in text
    assert json.loads(text)[0]["n"] is None
    assert "12345678901234567890.50" in invoke("query", ":memory:", sql)
    assert "12345678901234567890.50" in invoke("query", ":memory:", sql, "-f", "csv")


def test_csv_of_what_is_no_text() -> None:
    sql = """SELECT true AS b, [1, NULL] AS l, {'a': 'x,"'} AS s, '\\xAB'::BLOB AS bytes, DATE '2024-01-15' AS d,
        'two' || chr(10) || 'lines' AS t"""
    (row,) = csv.DictReader(io.StringIO(invoke("query", ":memory:", sql, "-f", "csv"), newline=""))
    assert row == {
        "b": "true",
        "l": "[1,null]",
        "s": '{"a":"x,\\""}',
        "bytes": "ab",
        "d": "2024-01-15",
        "t": "two\nlines",
    }


def test_no_rows_are_still_an_answer() -> None:
    sql = "SELECT 1 AS a WHERE false"
    assert invoke("query", ":memory:", sql) == "a\n─\n(0 rows)\n"
    assert invoke("query", ":memory:", sql, "-f", "json") == "[]\n"
    assert invoke("query", ":memory:", sql, "-f", "csv") == "a\n"  # click's runner reads CRLF as a line end


def test_parameters_are_json_or_text() -> None:
    sql = "SELECT $n + 1 AS n, $t AS t, $day::DATE AS day, $eq AS eq, $none IS NULL AS none"
    given = ["n=41", "t=some text", "day=2024-01-15", "eq=a=b", "none=null"]
    text = invoke("query", ":memory:", sql, "-f", "json", *(word for each in given for word in ("-p", each)))
    assert json.loads(text) == [{"n": 42, "t": "some text", "day": "2024-01-15", "eq": "a=b", "none": True}]


def test_a_table_obeys_nothing_that_is_in_its_cells() -> None:
    text = invoke("query", ":memory:", "SELECT 'a' || chr(27) || '[31m' || chr(10) AS \"x\x1b]0;owned\x07\", 1 AS n")
    assert "\x1b" not in text
    assert "\\x1b[31m\\n" in text
    assert len(text.splitlines()) == 4


def test_wide_and_combining_characters_stay_aligned() -> None:
    rows = "('日本', 1), ('e' || chr(769), 2), ('☎' || chr(65039), 3), ('abcd', 4)"
    lines = invoke("query", ":memory:", f"SELECT * FROM (VALUES {rows}) t(name, n) ORDER BY n").splitlines()
    assert lines[2:6] == ["日本  1", "e\u0301     2", "☎\ufe0f     3", "abcd  4"]


def test_a_long_cell_is_shortened_and_a_long_result_says_so() -> None:
    assert "x" * 59 + "…" in invoke("query", ":memory:", "SELECT repeat('x', 100) AS a")
    assert "界" * 29 + "…" in invoke("query", ":memory:", "SELECT repeat('界', 100) AS a")
    assert invoke("query", ":memory:", "FROM range(2000)").endswith("(1,000 of 2,000 rows)\n")


def test_a_wide_table_gives_up_width_before_columns() -> None:
    result = SimpleNamespace(
        columns=[SimpleNamespace(name=name) for name in ("id", "text", "more", "amount")],
        rows=lambda: [{"id": 1, "text": "x" * 50, "more": "y" * 30, "amount": 10.5}],
    )
    assert table_text(result, width=48).splitlines() == [  # type: ignore[arg-type]
        "id  text               more               amount",
        "──  ─────────────────  ─────────────────  ──────",
        " 1  xxxxxxxxxxxxxxxx…  yyyyyyyyyyyyyyyy…    10.5",
        "(1 row)",
    ]
    assert {len(line) for line in table_text(result, width=20).splitlines()[:-1]} == {20}  # type: ignore[arg-type]


def test_a_pipe_gets_whole_lines() -> None:
    columns = ", ".join(f"repeat('x', 50) AS c{i}" for i in range(10))
    assert max(map(len, invoke("query", ":memory:", f"SELECT {columns}").splitlines())) == 10 * 50 + 9 * 2


@pytest.mark.parametrize("name", ["table", "json", "csv", "arrow"])
def test_whoever_reads_the_output_may_go(tmp_path: Path, name: str) -> None:
    command = f"{sys.executable} -m livelake query :memory: 'FROM range(300000)' --format {name} | head -c 10"
    script = f'set -o pipefail; {command}; echo "status $?"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, cwd=tmp_path, check=False)
    assert done.stdout.endswith(b"status 0\n")
    assert done.stderr == b""


def test_a_full_disk_is_told(run: Any) -> None:
    with Path("/dev/full").open("w") as full:
        done = run("query", ":memory:", "FROM range(10)", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "livelake: standard output cannot be written: No space left on device\n"


def test_what_a_terminal_cannot_show_is_no_failure(run: Any) -> None:
    done = run("query", ":memory:", "SELECT '日' AS a", env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0
    assert "\\u65e5" in done.stdout
    assert "\\udcff" in failed(run("query", b"\xff.duckdb", "SELECT 1"))


# ---------------------------------------------------------------- watch

OTHER_PROCESS = """
import asyncio, livelake, sys
async def main():
    async with livelake.open("ducklake:sqlite:sales.sqlite", create=False) as lake:
        await lake.execute("INSERT INTO orders VALUES ('east', 1)")
asyncio.run(main())
"""


async def test_watch_shows_what_another_process_commits(start: Any, tmp_path: Path) -> None:
    await fill(SQLITE, tmp_path)
    watching = start("watch", SQLITE, "SELECT count(*) AS orders FROM orders", "--count", "2")
    first = [watching.stdout.readline() for _ in range(5)]
    assert first[2].strip() == "3"
    assert re.fullmatch(r"as of sales 2, \d\d:\d\d:\d\d\n", first[4])
    subprocess.run([sys.executable, "-c", OTHER_PROCESS], cwd=tmp_path, check=True, timeout=60)
    output, errors = watching.communicate(timeout=45)
    assert output.splitlines()[2].strip() == "4"
    assert (watching.returncode, errors) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_ends_quietly_when_it_is_stopped(start: Any, number: signal.Signals) -> None:
    watching = start("watch", ":memory:", "SELECT 42 AS answer")
    assert "answer" in watching.stdout.readline()
    watching.send_signal(number)
    _, errors = watching.communicate(timeout=45)
    assert (watching.returncode, errors) == (0, "")


def test_watch_redraws_a_terminal_in_place_and_within_its_size(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "livelake",
        "watch",
        ":memory:",
        "SELECT i, repeat('x', 99) AS x FROM range(99) r(i)",
    ]
    environment = {**os.environ, "COLUMNS": "60", "LINES": "20", "TERM": "xterm"}
    watching = subprocess.Popen(
        [*command, "-n1"], stdout=theirs, stderr=subprocess.PIPE, env=environment, cwd=tmp_path
    )
    os.close(theirs)
    output = b""
    while b"as of" not in output:
        output += os.read(ours, 10_000)
    _, errors = watching.communicate(timeout=45)
    os.close(ours)
    assert (watching.returncode, errors) == (0, b"")
    assert output.startswith(b"\x1b[H")
    lines = re.sub(r"\x1b\[[A-Z]", "", output.decode()).splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 60
    assert "(15 of 99 rows)" in lines


# ---------------------------------------------------------------- why


async def test_why_says_what_is_read_and_what_commits_meant(run: Any, tmp_path: Path) -> None:
    await fill(SQLITE, tmp_path)
    done = run("why", SQLITE, SQL)
    assert (done.returncode, done.stderr) == (0, "")
    assert SQL in done.stdout
    assert "reads sales.main.orders, unchanged since 2" in done.stdout
    as_json = json.loads(run("why", SQLITE, SQL, "--json").stdout)
    assert as_json["tables"] == {"sales.main.orders": 2}
    assert as_json["why_not"] is None
    assert "never kept" in run("why", SQLITE, "SELECT now(), $a", "-p", "a=1").stdout


# ---------------------------------------------------------------- errors


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The whole command as `run` has it, in this process."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["livelake", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=output, stderr=errors)

    return call


def test_each_failure_is_one_line(run: Any, tmp_path: Path, here: Any) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.duckdb").write_text("this is no database, and long enough to be read as if it were one" * 99)
    cases: list[tuple[list[str], str]] = [
        (["query", "missing.duckdb", "SELECT 1"], "there is no file"),
        (["query", "ducklake:sqlite:missing.sqlite", "SELECT 1"], "there is no file"),
        (["query", "http://localhost:1/", "SELECT 1"], "not a database"),
        (["query", "ducklake:", "SELECT 1"], "names no catalog"),
        (["query", "no.duckdb", "SELECT 1"], "no.duckdb"),
        (["query", ":memory:", "SELEC 1"], "syntax error"),
        (["query", ":memory:", ""], "statement"),
        (["query", ":memory:", "SELECT 1; SELECT 2"], "2"),
        (["query", ":memory:", "CREATE TABLE x (a INTEGER)"], "CREATE"),
        (["query", ":memory:", "SELECT * FROM missing\x1b[31m"], ""),
        (["query", ":memory:", "SELECT $a"], "missing: $a"),
        (["query", ":memory:", "SELECT 1", "-p", "a=1"], "unknown: $a"),
        (["query", ":memory:", "SELECT 1", "-p", "a"], "NAME=VALUE"),
        (["watch", ":memory:", "SELECT * FROM nothing"], "nothing"),
        (["why", ":memory:", "SELECT * FROM nothing"], "nothing"),
        (["serve", "nowhere"], "nowhere"),
        (["serve", "empty"], "no dashboard here"),
        (["serve", "empty", "--host", "0.0.0.0"], "--insecure"),
        (["demo", "--no-browser", "--host", "0.0.0.0"], "--insecure"),
        (["demo", "--no-browser", "--dir", "no.duckdb"], "--dir no.duckdb cannot be made"),
    ]
    for number, (arguments, reason) in enumerate(cases):
        line = failed((here if number % 3 else run)(*arguments))
        assert reason in line, arguments
        assert line.isprintable()


def test_a_malformed_header_is_named_with_its_line(run: Any, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "x.sql").write_text("/*---\ntitle = 'x'\nspan = 9\n---*/\nSELECT 1")
    assert f"{tmp_path}/shop/x.sql:3: " in failed(run("serve", "shop", "--port", "0"))
    (tmp_path / "shop" / "x.sql").write_text("SELECT 1; DROP TABLE x")
    assert f"{tmp_path}/shop/x.sql:1: " in failed(run("serve", "shop", "--port", "0"))


def test_a_taken_port_is_named(run: Any, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "x.sql").write_text("SELECT 1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = failed(run("serve", "shop", "--port", str(port)))
    assert f"cannot listen on 127.0.0.1:{port}" in line
    assert "--port" in line


@pytest.mark.parametrize("uri", ["sales.duckdb", "ducklake:sales.ducklake"])
async def test_a_locked_file_is_named_with_its_holder(run: Any, tmp_path: Path, uri: str) -> None:
    scheme, _, path = uri.rpartition(":")
    async with livelake.open(f"{scheme}:{tmp_path / path}" if scheme else str(tmp_path / path)) as lake:
        await lake.execute("CREATE TABLE orders (a INTEGER)")
        line = failed(run("query", uri, SQL))
    assert f"held by process {os.getpid()}" in line
    assert "ducklake:sqlite:" in line


# ---------------------------------------------------------------- serve and help


async def test_serve_serves_until_it_is_stopped(start: Any, fetch: Callable[[str], bytes], tmp_path: Path) -> None:
    await fill(SQLITE, tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "livelake.toml").write_text('attach = { sales = "ducklake:sqlite:../sales.sqlite" }')
    (tmp_path / "shop" / "orders.sql").write_text("SELECT count(*) AS orders FROM sales.main.orders")
    serving = start("serve", "shop", "--port", "0")
    line = serving.stdout.readline()
    found = re.fullmatch(r"livelake serves 1 query on (http://127.0.0.1:\d+/) \(Ctrl-C ends it\)\n", line)
    assert found, line
    assert json.loads(fetch(found[1] + "queries/orders")) == [{"orders": 3}]
    serving.send_signal(signal.SIGTERM)
    output, errors = serving.communicate(timeout=45)
    assert (serving.returncode, output, errors) == (0, "", "")


async def test_serve_holds_as_many_viewers_as_it_is_told_and_leaves_streams_as_they_are(
    start: Any, tmp_path: Path
) -> None:
    await fill(SQLITE, tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "livelake.toml").write_text('attach = { sales = "ducklake:sqlite:../sales.sqlite" }')
    (tmp_path / "shop" / "orders.sql").write_text("SELECT count(*) AS orders FROM sales.main.orders")
    serving = start("serve", "shop", "--port", "0", "--max-viewers", "1", "--no-compress")
    url = re.search(r"http://\S+", serving.stdout.readline())[0] + "live/shop"  # type: ignore[index]
    with urllib.request.urlopen(
        urllib.request.Request(url, headers={"Accept-Encoding": "gzip"}), timeout=45
    ) as viewer:
        assert viewer.headers["content-encoding"] is None
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url, timeout=45)
        assert (refused.value.code, refused.value.headers["retry-after"]) == (503, "1")
    serving.send_signal(signal.SIGTERM)
    serving.communicate(timeout=45)


@pytest.mark.parametrize(
    "command", [(), ("demo",), ("init",), ("export",), ("serve",), ("query",), ("watch",), ("why",)]
)
def test_help_is_help(command: tuple[str, ...]) -> None:
    text = invoke(*command, "--help")
    assert text.startswith("Usage: ")
    assert max(map(len, text.splitlines())) <= 100
    assert "..." not in text.split("Commands:")[-1] or command  # nothing is cut off
    for name in cli.commands if not command else ():
        assert name in text


def test_help_and_version_of_the_real_command(run: Any) -> None:
    assert run("--version").stdout == f"livelake, version {livelake.__version__}\n"
    assert run("-h").returncode == 0
    misunderstood = run("qery")
    assert (misunderstood.returncode, misunderstood.stdout) == (2, "")
    assert misunderstood.stderr == "livelake: No such command 'qery'. Did you mean 'query'? (see livelake --help)\n"
    assert run("query", ":memory:").stderr == "livelake: Missing argument 'SQL' (see livelake query --help)\n"
    nowhere = run("query", "", "SELECT 1")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr.startswith("livelake: an empty text names no database")


# ---------------------------------------------------------------- why, declared; maintain


async def test_why_takes_what_a_query_may_declare(run: Any, tmp_path: Path) -> None:
    await fill(SQLITE, tmp_path)
    sql = "SELECT now() AS n, count(*) AS c FROM orders"
    never = run("why", SQLITE, sql)
    assert "never kept: it depends on the moment: now" in never.stdout
    kept = run("why", SQLITE, sql, "--ttl", "60", "--depends-on", "events/Todo/**")
    assert "kept: fresh" in kept.stdout
    assert "depends on events/Todo/**" in kept.stdout


async def test_maintain_tells_what_it_did_and_what_it_cannot(run: Any, tmp_path: Path) -> None:
    await fill(SQLITE, tmp_path)
    done = run("maintain", SQLITE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "sales: 3 rows flushed into files\n", "")
    assert run("maintain", SQLITE).stdout == "there was nothing to do\n"
    dry = run("maintain", SQLITE, "--dry-run", "--no-flush", "--no-rewrite", "--no-merge")
    assert dry.stdout == "there was nothing to do\n"
    await fill("sales.duckdb", tmp_path)
    assert "tidies itself" in failed(run("maintain", "sales.duckdb"))
    assert "'a week' is not a span of time" in failed(run("maintain", SQLITE, "--expire-after", "a week"))


# ---------------------------------------------------------------- what does not heed its interrupt


DEAF = """
import os, signal, sys, threading, time
from livelake.cli import main
from livelake.engine import WORKER_NAME
def interrupt():
    while not any(thread.name.startswith(WORKER_NAME) for thread in threading.enumerate()):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
text = "repeat('{}', 3000000)"
sys.argv = ["livelake", "query", ":memory:", f"SELECT levenshtein({text.format('a')}, {text.format('b')})"]
main()
"""


def test_ctrl_c_ends_a_query_that_would_go_on_for_half_an_hour() -> None:
    done = subprocess.run([sys.executable, "-c", DEAF], capture_output=True, text=True, timeout=110, check=False)
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
