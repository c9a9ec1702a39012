"""The sampler reads any machine without raising, and its rules keep a lake of samples small."""

from __future__ import annotations

import importlib.resources
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import astuple, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from livelake.cli import samples
from livelake.cli.samples import CoreRow, ProcessRow, Sample, SystemRow
from livelake.cli.telemetry import Sampler
from livelake.lake.upkeep import STEPS, pieces
from livelake.testing import ManualClock

Pair = namedtuple("Pair", "read_bytes write_bytes")
Nic = namedtuple("Nic", "bytes_recv bytes_sent")
Times = namedtuple("Times", "user system idle iowait guest guest_nice")
Used = namedtuple("Used", "user system")
Memory = namedtuple("Memory", "rss")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Machine:
    """A made-up machine in psutil's place; a test moves its counters."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.disk: Pair | None = Pair(1_000, 2_000)
        self.nics = {"eth0": Nic(100, 200), "lo": Nic(0, 0)}
        self.cores = [Times(0.0, 0.0, 100.0, 0.0, 0.0, 0.0)] * 2
        self.processes: dict[int, list[Any]] = {}
        machine = self

        class Process:
            def __init__(self, pid: int) -> None:
                if pid not in machine.processes:
                    raise psutil.NoSuchProcess(pid)
                self.pid = pid
                self._name = machine.processes[pid][0]

            def _now(self) -> list[Any]:
                found = machine.processes.get(self.pid)
                if found is None:
                    raise psutil.NoSuchProcess(self.pid)
                return found

            def name(self) -> str:
                self._now()
                return str(self._name)

            def cpu_times(self) -> Used:
                return Used(self._now()[1], 0.0)

            def memory_info(self) -> Memory:
                return Memory(self._now()[2])

        patch.setattr(psutil, "disk_io_counters", lambda: self.disk)
        patch.setattr(psutil, "net_io_counters", lambda pernic: dict(self.nics))
        patch.setattr(psutil, "cpu_times", lambda percpu: list(self.cores))
        patch.setattr(psutil, "pids", lambda: sorted(self.processes))
        patch.setattr(psutil, "Process", Process)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


# -- this machine --------------------------------------------------------------------------------------


def test_this_machine_can_be_sampled(clock: ManualClock) -> None:
    sampler = Sampler(clock)
    first = sampler.sample()
    clock.advance(1)
    second = sampler.sample()
    assert (first.system.number, second.system.number) == (1, 2)
    assert second.system.time - first.system.time == timedelta(seconds=1)
    assert second.system.mem_total is not None
    assert second.system.mem_total > 0
    assert second.system.processes is not None
    assert second.system.processes >= len(second.processes) > 0
    assert {row.time for row in (*second.cores, *second.processes)} == {second.system.time}
    assert all(row.percent is None or 0 <= row.percent <= 100 for row in second.cores)
    assert any(row.pid > 0 and row.name and row.rss for row in second.processes)


def test_the_system_clock_is_the_default() -> None:
    assert abs(Sampler().sample().system.time - datetime.now(UTC)) < timedelta(minutes=1)


# -- rates and totals ----------------------------------------------------------------------------------


def test_rates_are_per_second_and_totals_count_from_the_start(machine: Machine, clock: ManualClock) -> None:
    sampler = Sampler(clock)
    first = sampler.sample().system
    assert (first.net_recv, first.disk_read, first.cpu_percent) == (None, None, None)
    assert (first.net_recv_total, first.disk_write_total, first.cpu_seconds) == (0, 0, 0.0)
    clock.advance(2)
    machine.disk = Pair(1_500, 2_000)
    machine.nics["eth0"] = Nic(1_100, 300)
    second = sampler.sample().system
    assert (second.disk_read, second.disk_write) == (250.0, 0.0)
    assert (second.net_recv, second.net_sent) == (500.0, 50.0)
    clock.advance(1)
    machine.nics["eth0"] = Nic(1_101, 300)
    third = sampler.sample().system
    assert (third.net_recv, third.net_recv_total, third.net_sent_total, third.disk_read_total) == (
        1.0,
        1_001,
        100,
        500,
    )


def test_cores_are_busy_by_what_the_system_counted(machine: Machine, clock: ManualClock) -> None:
    sampler = Sampler(clock)
    assert [core.percent for core in sampler.sample().cores] == [None, None]
    clock.advance(1)
    machine.cores = [Times(0.25, 0.25, 100.25, 0.25, 0.25, 0.0), Times(1.0, 0.0, 100.0, 0.0, 0.0, 0.0)]
    sample = sampler.sample()
    # A guest's time is user time already, and waiting for a disk is not work: half a second of one.
    assert [core.percent for core in sample.cores] == pytest.approx([50.0, 100.0])
    assert sample.system.cpu_percent == pytest.approx(75.0)
    assert sample.system.cpu_seconds == pytest.approx(1.5)


def test_the_loopback_is_not_the_network(machine: Machine, clock: ManualClock) -> None:
    sampler = Sampler(clock)
    sampler.sample()
    clock.advance(1)
    machine.nics["lo"] = Nic(10**9, 10**9)
    assert sampler.sample().system.net_recv == 0.0


def test_a_device_that_comes_goes_or_starts_again_makes_no_spike(machine: Machine, clock: ManualClock) -> None:
    sampler = Sampler(clock)
    sampler.sample()
    rates = []
    for eth0, tun0 in [(150, 9_000_000), (10, 9_000_100), (20, None), (40, 5)]:
        clock.advance(1)
        machine.nics = {"eth0": Nic(eth0, 0)} | ({} if tun0 is None else {"tun0": Nic(tun0, 0)})
        rates.append(sampler.sample().system.net_recv)
    assert rates == [50.0, 100.0, 10.0, 20.0]


def test_no_time_between_two_samples_means_no_rate(machine: Machine, clock: ManualClock) -> None:
    sampler = Sampler(clock)
    sampler.sample()
    assert sampler.sample().system.net_recv is None


def test_time_goes_on_when_the_wall_clock_is_set_back(clock: ManualClock) -> None:
    sampler = Sampler(clock)
    before = sampler.sample().system.time
    clock.jump(-3_600)
    clock.advance(1)
    assert sampler.sample().system.time == before + timedelta(seconds=1)
    clock.jump(7_200)
    assert sampler.sample().system.time == clock.now()


# -- processes -----------------------------------------------------------------------------------------


def test_the_busiest_processes_come_first_then_the_largest(machine: Machine, clock: ManualClock) -> None:
    machine.processes = {pid: [f"p{pid}", 5.0, pid * 100] for pid in range(1, 21)}
    sampler = Sampler(clock)
    assert [row.pid for row in sampler.sample().processes] == list(range(20, 12, -1))
    clock.advance(2)
    machine.processes[3][1] = 6.0
    machine.processes[4][1] = 5.5
    rows = sampler.sample().processes
    assert [row.pid for row in rows] == [3, 4, 20, 19, 18, 17, 16, 15]
    assert [row.cpu_percent for row in rows[:3]] == [50.0, 25.0, 0.0]
    assert (rows[0].name, rows[0].rss) == ("p3", 300)


def test_the_memory_of_a_process_that_runs_is_read_again(machine: Machine, clock: ManualClock) -> None:
    machine.processes = {1: ["a", 1.0, 100]}
    sampler = Sampler(clock)
    sampler.sample()
    clock.advance(1)
    machine.processes[1] = ["a", 1.1, 900]
    assert sampler.sample().processes[0].rss == 900


def test_a_number_that_was_given_to_another_process_starts_again(machine: Machine, clock: ManualClock) -> None:
    machine.processes = {7: ["old", 50.0, 100]}
    sampler = Sampler(clock)
    sampler.sample()
    clock.advance(1)
    machine.processes = {7: ["new", 0.1, 200]}
    (row,) = sampler.sample().processes
    assert (row.name, row.cpu_percent, row.rss) == ("new", None, 200)


def test_a_process_may_vanish_at_any_moment(
    machine: Machine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.processes = {1: ["a", 1.0, 100], 2: ["b", 1.0, 200]}
    sampler = Sampler(clock)
    sampler.sample()
    monkeypatch.setattr(psutil, "pids", lambda: [1, 2, 3])  # 3 has ended since the list was made
    del machine.processes[2]
    rows = {row.pid: row for row in sampler.sample().processes}
    assert set(rows) == {1, 2}
    assert (rows[2].name, rows[2].cpu_percent) == (None, None)
    monkeypatch.setattr(psutil, "pids", lambda: [1])
    assert [row.pid for row in sampler.sample().processes] == [1]


def test_a_process_that_may_not_be_looked_at_is_listed_without_numbers(
    machine: Machine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.processes = {1: ["init", 1.0, 100]}

    def denied(*_: object) -> None:
        raise psutil.AccessDenied(1)

    monkeypatch.setattr(psutil.Process, "cpu_times", denied)
    monkeypatch.setattr(psutil.Process, "memory_info", denied)
    sampler = Sampler(clock)
    for _ in range(2):
        (row,) = sampler.sample().processes
        assert (row.pid, row.name, row.cpu_percent, row.rss) == (1, "init", None, None)
        clock.advance(1)


# -- machines that tell less ---------------------------------------------------------------------------

READINGS = [
    "boot_time", "cpu_times", "disk_io_counters", "disk_usage", "getloadavg", "net_io_counters", "pids",
    "swap_memory", "virtual_memory", "Process",
]  # fmt: skip


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    "error", [psutil.AccessDenied(1), FileNotFoundError(2, "no /proc"), NotImplementedError(), RuntimeError("odd")]
)
def test_a_reading_that_fails_is_null_and_spares_the_others(
    reading: str, error: Exception, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(psutil, reading, fail)
    sampler = Sampler(clock)
    sampler.sample()
    clock.advance(1)
    system = sampler.sample().system
    assert (system.mem_total is None) == (reading == "virtual_memory")
    assert (system.processes is None) == (reading == "pids")
    assert (system.uptime is None) == (reading == "boot_time")
    assert (system.load1 is None) == (reading == "getloadavg")


def test_a_machine_that_tells_nothing_still_makes_a_row(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError

    for reading in READINGS:
        monkeypatch.setattr(psutil, reading, fail)
    sample = Sampler(clock).sample()
    assert (sample.cores, sample.processes) == ((), ())
    told = {name for name in (f.name for f in fields(SystemRow)) if getattr(sample.system, name) is not None}
    assert told == {
        "time", "number", "cpu_seconds", "disk_read_total", "disk_write_total", "net_recv_total", "net_sent_total",
    }  # fmt: skip
    assert [sql.split()[2] for sql, _ in samples.inserts(sample)] == ["machine.main.system"]


def test_a_container_without_disks_has_no_disk_rate(machine: Machine, clock: ManualClock) -> None:
    machine.disk = None
    machine.nics = {}
    sampler = Sampler(clock)
    sampler.sample()
    clock.advance(1)
    system = sampler.sample().system
    assert (system.disk_read, system.net_recv, system.disk_read_total) == (None, None, 0)


def test_cores_that_come_and_go_are_unknown_for_a_sample(machine: Machine, clock: ManualClock) -> None:
    sampler = Sampler(clock)
    sampler.sample()
    machine.cores = machine.cores[:1]
    assert [core.percent for core in sampler.sample().cores] == [None]


# -- the lake ------------------------------------------------------------------------------------------


def extension(name: str) -> str:
    files = importlib.resources.files(f"duckdb_extension_{name}")
    return str(files / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension")


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A lake named `machine` over a SQLite catalog, with the sampler's tables and options."""
    config = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with duckdb.connect(config=config) as connection:
        for name in ("ducklake", "sqlite_scanner"):
            connection.execute(f"LOAD '{extension(name)}'")
        connection.execute(
            f"ATTACH 'ducklake:sqlite:{tmp_path}/machine.sqlite' AS machine "
            f"(DATA_PATH '{tmp_path}/files/', META_JOURNAL_MODE 'WAL')"
        )
        transact(connection, [(sql, []) for sql in samples.SCHEMA])
        for sql in samples.options(16):
            connection.execute(sql)
        yield connection


def transact(connection: duckdb.DuckDBPyConnection, statements: list[samples.Statement]) -> None:
    connection.execute("BEGIN")
    for sql, values in statements:
        connection.execute(sql, values)
    connection.execute("COMMIT")


def scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    (value,) = connection.execute(sql).fetchone() or (None,)
    return value


@cache
def first() -> SystemRow:
    return Sampler(ManualClock()).sample().system


def numbered(number: int) -> Sample:
    """A sample of a machine with 16 cores, ``number`` seconds after the first."""
    base = first()
    time = base.time + timedelta(seconds=number)
    cores = tuple(CoreRow(time, core, 50.0) for core in range(16))
    processes = tuple(ProcessRow(time, pid, "p", 1.0, 1) for pid in range(8))
    return Sample(replace(base, time=time, number=number), cores, processes)


class Plain:
    """A connection as upkeep wants it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def fetchall(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()


def tidy(lake: duckdb.DuckDBPyConnection) -> None:
    """One round of the demo's upkeep, for which all that is there has outlived its grace."""
    options, now = samples.upkeep(), datetime.now(UTC) + timedelta(days=1)
    for step in STEPS:
        if step in options.steps:
            for work in pieces(step, "machine", "__ducklake_metadata_machine", options, now, times_are_text=True):
                work(Plain(lake))


def test_the_rows_of_a_sample_fit_the_tables(lake: duckdb.DuckDBPyConnection, clock: ManualClock) -> None:
    sample = Sampler(clock).sample()
    transact(lake, samples.commit(sample))
    for table, rows in {"system": (sample.system,), "cpu": sample.cores, "process": sample.processes}.items():
        stored = lake.execute(f"SELECT * FROM machine.main.{table} ORDER BY ALL").to_arrow_table()
        row_type = {"system": SystemRow, "cpu": CoreRow, "process": ProcessRow}[table]
        assert stored.column_names[1:] == [f.name for f in fields(row_type)][1:]
        found = [tuple(row.values()) for row in stored.to_pylist()]
        assert sorted(map(repr, (row[1:] for row in found))) == sorted(repr(astuple(row)[1:]) for row in rows)
        assert {row[0] for row in found} == ({sample.system.time} if rows else set())


def test_a_sample_is_one_snapshot_and_no_file(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    before = scalar(lake, "SELECT id FROM machine.current_snapshot()")
    transact(lake, samples.commit(numbered(1)))
    assert scalar(lake, "SELECT id FROM machine.current_snapshot()") == before + 1
    assert not list(tmp_path.glob("files/**/*.parquet"))


def test_retention_is_due_once_a_round() -> None:
    due = [number for number in range(1, 200) if samples.retention(numbered(number))]
    assert due == [60, 120, 180]


def test_rows_files_and_snapshots_stay_bounded(
    lake: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round is shortened to 12 samples, 50 s apart as the rows see it: 10 minutes are one round."""
    monkeypatch.setattr(samples, "UPKEEP_EVERY", 12)
    monkeypatch.setattr(samples, "KEEP_SNAPSHOTS", 20)
    base = numbered(0)
    files, snapshots, rows = [], [], []
    for number in range(1, 85):
        time = base.system.time + timedelta(seconds=50 * number)
        system = replace(base.system, number=number, time=time)
        cores = tuple(replace(row, time=time) for row in base.cores)
        processes = tuple(replace(row, time=time) for row in base.processes)
        transact(lake, samples.commit(Sample(system, cores, processes)))
        if number % 12 == 0:
            tidy(lake)
            files.append(len(list(tmp_path.glob("files/**/*.parquet"))))
            snapshots.append(scalar(lake, "SELECT count(*) FROM machine.snapshots()"))
            rows.append(scalar(lake, "SELECT count(time) FROM machine.main.cpu"))
    meta = "__ducklake_metadata_machine"
    assert files[4:] == [files[4]] * 3
    assert snapshots[2:] == [21] * 5
    assert rows[2:] == [rows[2]] * 5
    assert scalar(lake, f"SELECT count(*) FROM {meta}.ducklake_delete_file") == 0
    for (table,) in lake.execute(f"SELECT table_name FROM {meta}.ducklake_inlined_data_tables").fetchall():
        assert scalar(lake, f"SELECT count(*) FROM {meta}.{table}") == 0
    oldest = scalar(lake, "SELECT epoch_us(min(time)) FROM machine.main.system")
    newest = scalar(lake, "SELECT epoch_us(max(time)) FROM machine.main.system")
    assert newest - oldest >= 600 * 10**6


def test_a_reader_that_has_begun_finishes_through_two_rounds(lake: duckdb.DuckDBPyConnection) -> None:
    transact(lake, [statement for number in range(1, 141) for statement in samples.inserts(numbered(number))])
    tidy(lake)
    with lake.cursor() as reader:
        batches = reader.execute("SELECT core FROM machine.main.cpu").to_arrow_reader(512)
        seen = batches.read_next_batch().num_rows
        for number in (780, 840):  # the whole file is past its time
            transact(lake, samples.commit(numbered(number)))
            tidy(lake)
        seen += sum(batch.num_rows for batch in batches)
    assert seen == 140 * 16
    assert scalar(lake, "SELECT count(time) FROM machine.main.cpu") == 2 * 16


def test_upkeep_of_a_new_lake_does_nothing(lake: duckdb.DuckDBPyConnection) -> None:
    tidy(lake)
    transact(lake, samples.commit(numbered(1)))
    assert scalar(lake, "SELECT count(time) FROM machine.main.system") == 1
