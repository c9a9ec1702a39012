"""Pages: several queries, one snapshot."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import livelake
from livelake import Event
from livelake.cache import SEVERAL, AnalyticsCache, Change, Read
from livelake.clock import SYSTEM
from livelake.errors import ClosedError, QueryError, UsageError
from livelake.keys import KeyExpr
from livelake.lake import Answer, Joint, Query
from livelake.lake.computing import Computing
from livelake.lake.log import NEVER
from livelake.live import LiveLake, Page
from livelake.live.page import _is_right_at
from livelake.live.service import _Reading

BANK = Path(__file__).parent / "bank.py"
KINDS = {"sqlite": "ducklake:sqlite:{}/b.sqlite", "ducklake": "ducklake:{}/b.ducklake", "memory": ":memory:"}


@pytest.fixture(params=KINDS)
async def lake(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LiveLake]:
    async with livelake.open(KINDS[request.param].format(tmp_path), as_name="b") as opened:
        async with opened.transaction() as t:
            await t.execute("CREATE TABLE one (n INTEGER)")
            await t.execute("CREATE TABLE two (n INTEGER)")
        yield opened


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def counts(page: Page) -> list[int | None]:
    return [None if state.result is None else state.result.rows()[0]["n"] for state in page.frame.panels]


def asked(lake: LiveLake, *tables: str) -> list[Query]:
    return [lake.ask(f"SELECT count(*) AS n FROM {table}") for table in tables]


def bank(uri: str, frames: int, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, BANK, uri, str(frames), *options], stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(900)
def test_i7_no_frame_of_20_000_shows_money_that_is_on_its_way(tmp_path: Path) -> None:
    """I7: a plain DuckDB database, a DuckLake, and one that another process writes, 24 pages each; the sums and their
    total come from different queries."""
    runs = [
        bank(":memory:", 14_000),
        bank(f"ducklake:sqlite:{tmp_path}/bank.sqlite", 3_000),
        bank(f"ducklake:sqlite:{tmp_path}/other.sqlite", 3_000, "--elsewhere"),
    ]
    seen = [json.loads(run.communicate(timeout=800)[0]) for run in runs]
    assert sum(each["frames"] for each in seen) >= 20_000
    assert sum(each["torn"] for each in seen) == 0, seen


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_i7_panels_that_refresh_apart_are_torn(kind: str, tmp_path: Path) -> None:
    """I7, the negative control: the same bank, and the audit sees it."""
    seen = json.loads(bank(KINDS[kind].format(tmp_path), 300, "--apart").communicate(timeout=100)[0])
    assert seen["torn"] > 0


ORDERS, PEOPLE = KeyExpr("lake/sales/main/orders"), KeyExpr("lake/people/main/people")


@pytest.mark.parametrize(
    ("changes", "at", "is_right"),
    [
        ([], {"sales": 9, "people": 9}, True),
        ([Change(ORDERS, "sales", 6)], {"sales": 5, "people": 5}, True),
        ([Change(ORDERS, "sales", 7)], {"sales": 6, "people": 5}, True),
        ([Change(ORDERS, "sales", 6)], {"sales": 6, "people": 5}, False),
        # Of several commits at once it is the first that counts.
        ([Change(ORDERS, "sales", 6), Change(ORDERS, "sales", 7)], {"sales": 6, "people": 5}, False),
        # What changed later in another catalog it has not heard of.
        ([Change(ORDERS, "sales", 6), Change(PEOPLE, "people", 6)], {"sales": 5, "people": 6}, False),
        ([Change(ORDERS, "sales", 6)], {"sales": 5, "people": 6}, False),
        ([Change(ORDERS)], {"sales": 5, "people": 5}, True),
        ([Change(ORDERS)], {"sales": 6, "people": 5}, False),
        # A history that is gone, and changes that were remembered as one.
        ([Change(ORDERS, "sales", NEVER)], {"sales": 6, "people": 5}, False),
        ([Change(ORDERS, "sales", NEVER)], {"sales": 5, "people": 5}, False),
        ([Change(SEVERAL, "sales", 8)], {"sales": 6, "people": 5}, False),
    ],
)
async def test_i7_an_answer_is_right_at_a_later_snapshot_only_if_that_is_certain(
    changes: list[Change], at: dict[str, int], is_right: bool
) -> None:
    cache = AnalyticsCache()
    answer: Any = SimpleNamespace(exact=True)

    async def run(flight: Any) -> Any:
        flight.pin({"sales": 5, "people": 5}, [ORDERS, PEOPLE])
        return answer

    read = await cache.fetch("k", run, depends_on=frozenset({ORDERS, PEOPLE}), pins=True)
    cache.apply_all(changes)
    assert read.slot.is_stale == bool(changes)
    assert _is_right_at(read, at) == is_right
    answer.exact = False
    assert not _is_right_at(read, at)


async def test_i7_each_commit_of_one_look_is_a_change_of_its_own(tmp_path: Path) -> None:
    uri = f"ducklake:sqlite:{tmp_path}/b.sqlite"
    async with livelake.open(uri, poll_interval=600.0) as lake, livelake.open(uri) as other:
        await lake.execute("CREATE TABLE one (n INTEGER)")
        read = await lake.fetch(lake.ask("SELECT count(*) AS n FROM one"))
        assert read.slot.pinned is not None
        pinned = read.slot.pinned["b"]
        for n in range(3):
            await other.execute("INSERT INTO one VALUES ($n)", {"n": n})
        await asyncio.to_thread(lake.watcher.look)
        cause = read.slot.dropped_by
        assert isinstance(cause, Change)
        assert (cause.source, cause.version) == ("b", pinned + 1)


@pytest.mark.parametrize("heard", ["commit", "event", "invalidate", "as it is entered"])
async def test_i1_what_is_asked_after_a_change_is_not_read_at_a_joint_from_before_it(
    lake: LiveLake, heard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A joint lasts for some milliseconds, and its snapshot with it; what it reads is kept for everybody."""
    begun, may_end = threading.Event(), threading.Event()
    read_jointly: list[Query] = []
    original = Computing._read_jointly

    def note(self: Computing, session: Any, at: Any, flight: Any, question: Query) -> Answer:
        read_jointly.append(question)
        return original(self, session, at, flight, question)

    monkeypatch.setattr(Computing, "_read_jointly", note)

    def hold(*_: object) -> None:
        begun.set()
        assert may_end.wait(30)

    joint = lake.joint()
    holding = asyncio.create_task(joint.run(hold))
    await asyncio.to_thread(begun.wait, 30)
    if heard == "commit":
        await lake.execute("INSERT INTO one VALUES (1)")
    elif heard == "event":
        await lake.bus.publish(Event(aggregate_type="One", aggregate_id="1", event_type="Told"))
    elif heard == "invalidate":
        lake.cache.clear()
    (question,) = asked(lake, "one")
    reading = asyncio.create_task(lake.fetch(question, joint=joint))
    if heard == "as it is entered":
        await asyncio.sleep(0)
        assert [flight.begun for flight in lake.cache._registry.flights.values()] == [False]
        lake.cache.clear()
    # Whoever comes to help sees another snapshot and leaves again, or takes it.
    await until(lambda: reading.done() or (len(joint._queue) == 1 and len(joint._jobs) == 1))
    may_end.set()
    await holding
    read = await reading
    rows = [{"n": int(heard == "commit")}]
    assert lake._result(read).rows() == (await lake.query(question.sql)).rows() == rows
    assert read_jointly == []
    joint.close()


async def test_a_frame_says_at_which_snapshot_it_is_right(lake: LiveLake) -> None:
    page = lake.page(asked(lake, "one", "two"))
    await until(lambda: counts(page) == [0, 0])
    token = await lake.execute("INSERT INTO one VALUES (1)")
    await until(lambda: counts(page) == [1, 0])
    assert page.frame.at == token.versions
    assert not page.frame.late
    await page.close()


async def test_i3_a_commit_refreshes_what_it_touched_and_keeps_the_rest(lake: LiveLake) -> None:
    page = lake.page(asked(lake, "one", "two"))
    await until(lambda: counts(page) == [0, 0])
    before = lake.engine.stats().reads
    await lake.execute("INSERT INTO one VALUES (1)")
    await until(lambda: counts(page) == [1, 0])
    assert lake.engine.stats().reads - before == 1
    await page.close()


async def test_equal_frames_wake_nobody(lake: LiveLake) -> None:
    page = lake.page([lake.ask("SELECT count(*) > 5 AS n FROM one"), *asked(lake, "two")])
    await until(lambda: counts(page) == [False, 0])
    numbers: list[int] = []
    page.listen(lambda: numbers.append(page.frame.number))
    at = page.frame.number
    await lake.execute("INSERT INTO one VALUES (1)")
    await lake.execute("INSERT INTO two VALUES (1)")
    await until(lambda: counts(page) == [False, 1])
    assert numbers == [at + 1]
    assert [state.number for state in page.frame.panels] == [1, at + 1]
    await page.close()


async def test_a_failing_panel_leaves_the_others_right_and_heals(lake: LiveLake) -> None:
    await lake.execute("CREATE TABLE days (day VARCHAR)")
    await lake.execute("INSERT INTO days VALUES ('no day')")
    page = lake.page([*asked(lake, "one"), lake.ask("SELECT max(day)::DATE AS n FROM days"), *asked(lake, "two")])
    await until(lambda: page.frame.panels[1].error is not None and counts(page)[2] == 0)
    assert isinstance(page.frame.panels[1].error, QueryError)
    await lake.execute("INSERT INTO two VALUES (1)")
    await until(lambda: counts(page)[2] == 1)
    assert page.frame.panels[0].error is page.frame.panels[2].error is None
    await lake.execute("UPDATE days SET day = '2024-01-15'")
    await until(lambda: page.frame.panels[1].error is None and page.frame.panels[1].result is not None)
    await page.close()


class Gated(_Reading):
    """Reads whose answers are held back by question."""

    def __init__(self, lake: LiveLake) -> None:
        super().__init__(lake)
        self.gates: dict[str, asyncio.Event] = {}

    async def read_for(
        self, question: Query, touch: Callable[[], None], joint: Joint, *, fresh: bool
    ) -> Read[Answer]:
        read = await super().read_for(question, touch, joint, fresh=fresh)
        if question.sql in self.gates:
            await self.gates[question.sql].wait()
        return read


async def test_i7_a_late_panel_is_marked_and_not_mixed_in(lake: LiveLake) -> None:
    """I7: what a slow query read before a commit is not shown beside what others read after it as if it belonged."""
    reading, quick, slow = Gated(lake), *asked(lake, "one", "two")
    reading.gates[slow.sql] = asyncio.Event()
    page = Page(reading, [quick, slow], [True, True], SYSTEM, patience=0.05)
    await until(lambda: counts(page) == [0, None])
    assert page.frame.late == {1}
    async with lake.transaction() as t:
        await t.execute("INSERT INTO one VALUES (1)")
        await t.execute("INSERT INTO two VALUES (1)")
    await until(lambda: counts(page) == [1, None])
    reading.gates.pop(slow.sql).set()  # its answer of before arrives only now
    seen: list[tuple[list[int | None], frozenset[int]]] = []
    page.listen(lambda: seen.append((counts(page), page.frame.late)))
    await until(lambda: counts(page) == [1, 1] and not page.frame.late)
    assert all(late == {1} for shown, late in seen if shown != [1, 1])
    await page.close()


async def test_a_change_during_a_slow_read_is_not_forgotten(lake: LiveLake) -> None:
    """The last change counts: the panel is touched while its read of before is still on its way."""
    reading, (slow,) = Gated(lake), asked(lake, "one")
    reading.gates[slow.sql] = asyncio.Event()
    page = Page(reading, [slow], [True], SYSTEM, patience=0.05)
    await until(lambda: lake.cache.stats().computed == 1)
    await lake.execute("INSERT INTO one VALUES (1)")
    await until(lambda: not page._changed and not page._news.is_set())
    reading.gates.pop(slow.sql).set()
    await until(lambda: counts(page) == [1])
    await page.close()


async def test_a_lazy_panel_is_read_once_and_says_when_it_is_overtaken(lake: LiveLake) -> None:
    page = lake.page(asked(lake, "one", "two"), eager=[True, False])
    await until(lambda: counts(page) == [0, 0])
    async with lake.transaction() as t:
        await t.execute("INSERT INTO one VALUES (1)")
        await t.execute("INSERT INTO two VALUES (1)")
    await until(lambda: page.frame.panels[1].error is not None and counts(page)[0] == 1)
    assert counts(page) == [1, 0]
    assert "the data has changed since" in str(page.frame.panels[1].error)
    await page.close()


async def test_what_no_change_announces_is_read_again(lake: LiveLake) -> None:
    lake.refresh_every = 0.05
    page = lake.page([lake.ask("SELECT random() AS n"), *asked(lake, "one")])
    await until(lambda: None not in counts(page))
    first = counts(page)[0]
    await until(lambda: counts(page)[0] != first)
    await page.close()


async def test_a_closed_page_leaves_nothing_behind(lake: LiveLake) -> None:
    page = lake.page(asked(lake, "one", "two"))
    await until(lambda: counts(page) == [0, 0])
    woken: list[bool] = []
    page.listen(lambda: woken.append(page.closed))
    await page.close()
    await page.close()
    assert woken[0] is True
    assert not any(slot.watchers for slot in lake.cache._registry.index.slots())
    await lake.close()
    with pytest.raises(ClosedError):
        lake.page(asked(lake, "one"))


async def test_a_lake_that_closes_ends_its_pages(lake: LiveLake) -> None:
    page = lake.page(asked(lake, "one"))
    await lake.close()
    assert page.closed


async def test_pages_belong_to_the_loop_of_their_lake(lake: LiveLake) -> None:
    async def elsewhere() -> None:
        lake.page([])

    with pytest.raises(UsageError, match="event loop"):
        await asyncio.to_thread(asyncio.run, elsewhere())
