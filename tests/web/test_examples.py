"""The example folders load, and every panel of them plans, runs and draws."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import livelake
from livelake.cli import samples
from livelake.cli.samples import CoreRow, ProcessRow, Sample, SystemRow
from livelake.web.charts import ChartSpec, render
from livelake.web.folder import Dashboard, load

EXAMPLES = Path(__file__).parents[2] / "examples"
START = datetime(2024, 1, 15, 12, tzinfo=UTC)
MACHINE = load(EXAMPLES / "machine", check_chart=ChartSpec.parse)[0]


def sample(number: int, *, blind: bool = False) -> Sample:
    """The machine at second ``number``; a blind one shows no counter at all."""
    time = START + timedelta(seconds=number)
    seen: dict[str, Any] = {
        "load1": 0.5, "load5": 0.25, "load15": 0.125, "cpu_percent": number % 100.0,
        "mem_used": 4_000, "mem_available": 6_000, "mem_total": 10_000, "swap_used": 0,
        "disk_read": 10.0, "disk_write": 20.0, "disk_used": 100, "disk_size": 400,
        "net_recv": 1_000.0 + number, "net_sent": 2_000.0, "processes": 300, "uptime": 60.0 + number,
    }  # fmt: skip
    system = SystemRow(
        time=time, number=number, cpu_seconds=number / 2, disk_read_total=10 * number, disk_write_total=20 * number,
        net_recv_total=1_000 * number, net_sent_total=2_000 * number, **(dict.fromkeys(seen) if blind else seen),
    )  # fmt: skip
    if blind:
        return Sample(system, (), ())
    cores = tuple(CoreRow(time, core, 25.0 * core) for core in range(4))
    return Sample(system, cores, tuple(ProcessRow(time, pid, f"p{pid}", 10.0 * pid, 100) for pid in range(1, 9)))


@pytest.fixture
def machine() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty `machine` in memory, with the sampler's tables."""
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS machine")
        for statement in samples.SCHEMA:
            connection.execute(statement)
        yield connection


def fill(connection: duckdb.DuckDBPyConnection, *taken: Sample) -> None:
    for one in taken:
        for sql, values in samples.inserts(one):
            connection.execute(sql, values)


def rows(connection: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = connection.execute(MACHINE.queries[name].sql).to_arrow_table().to_pylist()
    return found


def test_the_examples_at_the_root_are_those_of_the_package() -> None:
    assert (EXAMPLES / "machine").is_symlink()
    assert not (EXAMPLES / "machine").readlink().is_absolute()
    packaged = Path(livelake.__file__).parent / "examples" / "machine"
    assert (EXAMPLES / "machine").resolve() == packaged.resolve()


DASHBOARDS = sorted(path.parent for path in EXAMPLES.glob("*/livelake.toml"))


@pytest.mark.parametrize("folder", DASHBOARDS, ids=lambda folder: folder.name)
def test_an_example_loads_with_its_charts(folder: Path) -> None:
    found: tuple[Dashboard, ...] = load(folder, check_chart=ChartSpec.parse)
    assert all(query.title and query.chart for dashboard in found for query in dashboard.queries.values())


@pytest.mark.parametrize("name", MACHINE.queries)
@pytest.mark.parametrize("state", ["empty", "one", "blind", "running"])
def test_a_panel_of_the_machine_runs_and_draws(machine: duckdb.DuckDBPyConnection, name: str, state: str) -> None:
    fill(
        machine,
        *{
            "empty": [],
            "one": [sample(1)],
            "blind": [sample(1, blind=True), sample(2, blind=True)],
            "running": [sample(number) for number in range(1, 40)],
        }[state],
    )
    query = MACHINE.queries[name]
    result = machine.execute(query.sql)
    columns = [(column[0], str(column[1])) for column in result.description]
    spec = ChartSpec.parse(query.chart or {})
    drawn = str(render(spec, columns, result.to_arrow_table().to_pylist()))
    assert "Cannot draw" not in drawn
    if state == "running":
        assert "No rows" not in drawn


@pytest.mark.parametrize("name", MACHINE.queries)
def test_a_panel_of_the_machine_depends_on_its_data_alone(name: str) -> None:
    sql = MACHINE.queries[name].sql
    assert not re.search(r"\bnow\(|\bcurrent_|\btoday\(|\brandom\(", sql, re.IGNORECASE)
    assert re.search(r"\bmachine\.main\.\w+", sql)


def test_the_machine_shows_what_was_sampled(machine: duckdb.DuckDBPyConnection) -> None:
    fill(machine, *(sample(number) for number in range(1, 91)))
    assert rows(machine, "cpu_now")[0] | {"course": None} == {
        "now": 90.0,
        "the last minute": sum(range(31, 91)) / 60,
        "course": None,
    }
    assert rows(machine, "cpu_now")[0]["course"] == [float(number) for number in range(31, 91)]
    assert rows(machine, "memory_now") == [{"used": 4_000, "total": 10_000, "swap": 0}]
    assert rows(machine, "network_now")[0]["now"] == 1_090.0
    assert [row["process"] for row in rows(machine, "busiest")] == [f"p{pid}" for pid in range(8, 0, -1)]
    assert rows(machine, "busiest")[0]["cpu"] == 80.0
    assert rows(machine, "processes")[0] == {"name": "p8", "pid": 8, "cpu": 80.0, "memory": 100}
    assert {row["core"] for row in rows(machine, "cores")} == {f"core {core}" for core in range(4)}
    totals = {row["what"]: row["total"] for row in rows(machine, "totals")}
    assert totals["Samples"] == "90"
    assert totals["CPU time"] == "45.0 s"
    assert totals["Received"] == "90.0 kB"


def test_the_lines_of_the_machine_keep_to_their_window(machine: duckdb.DuckDBPyConnection) -> None:
    fill(machine, sample(1), *(sample(number) for number in range(1_000, 1_010)))
    times = {row["time"] for row in rows(machine, "cores")}
    assert min(times) >= START + timedelta(seconds=1_000)


def test_a_process_that_was_busy_one_second_in_five_is_averaged(machine: duckdb.DuckDBPyConnection) -> None:
    for number in range(1, 6):
        row = ProcessRow(START + timedelta(seconds=number), number, f"p{number}", 50.0, 1)
        fill(machine, Sample(sample(number).system, (), (row,)))
    assert {row["cpu"] for row in rows(machine, "busiest")} == {10.0}
