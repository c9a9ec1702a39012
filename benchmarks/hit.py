"""What does a hit cost, against the store below it and against the other caches?

One key, a hit each time. The other libraries are used at their cheapest: functions without arguments, fixed keys.
dogpile.cache has no coroutines: its synchronous call is made inside of one, which is what it would cost if it
never had to wait.
"""

from __future__ import annotations

import asyncio
import warnings
from itertools import repeat
from typing import Any

from benchmarks.harness import COLUMNS, Bar, Contender, Report, Settings, Timing, compare, duration
from benchmarks.libraries import LIBRARIES, OURS

MOKA = "moka_py.Moka.get"
GET = "livelake get"
AWAITED = "livelake get_or_compute, awaited"
_ASYNC = ("cashews", "aiocache", "async-lru", "cachetools-async", "theine", "moka-py async")
_VALUE = {"total": 42}
_EVENTS = ("events/Todo/**",)


def run(settings: Settings) -> Report:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        timing, missing = asyncio.run(_measure(settings))
    report = Report(
        question=f"What does a hit cost? (ratios to {MOKA})",
        columns=COLUMNS,
        rows=timing.rows(MOKA),
        bars=[timing.bar(GET, MOKA, 2.5), timing.bar(AWAITED, MOKA, 5.0), *_faster(timing)],
        raw=timing.raw(),
    )
    report.rows += [(name, "not installed", "", "") for name in missing]
    report.notes.append(f"'faster than' is the ratio of {AWAITED} to the other, at most 1")
    return report


def _faster(timing: Timing) -> list[Bar]:
    ours = (MOKA, GET, AWAITED, "dict.get")
    return [
        Bar(f"{OURS} awaited faster than {name} ({duration(timing.median(name))})", timing.ratio(AWAITED, name), 1.0)
        for name in timing.rounds
        if name not in ours
    ]


async def _measure(settings: Settings) -> tuple[Timing, list[str]]:
    contenders: dict[str, Contender] = {"dict.get": _dict(), MOKA: _moka(), GET: _get(), AWAITED: _awaited()}
    missing = []
    for library in LIBRARIES:
        if library.name in _ASYNC:
            try:
                contenders[library.label] = _reader(library.make(_compute).read)
            except ImportError:
                missing.append(library.label)
    try:
        contenders["dogpile.cache, called in a coroutine"] = _dogpile()
    except ImportError:
        missing.append("dogpile.cache (not installed)")
    for contender in contenders.values():
        pending = contender(3)  # fills it
        if pending is not None:
            await pending
    return await compare(contenders, settings), missing


async def _compute() -> Any:
    return _VALUE


def _dict() -> Contender:
    get = {"key": _VALUE}.get

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            get("key")

    return loop


def _moka() -> Contender:
    from moka_py import Moka

    store: Any = Moka(1_000)
    store.set("key", _VALUE)

    def loop(n: int) -> None:
        get = store.get
        for _ in repeat(None, n):
            get("key")

    return loop


def _get() -> Contender:
    from livelake import AnalyticsCache

    cache = AnalyticsCache()
    cache.insert("key", _VALUE, depends_on=_EVENTS, time_to_live=1e9)

    def loop(n: int) -> None:
        get = cache.get
        for _ in repeat(None, n):
            get("key")

    return loop


def _awaited() -> Contender:
    from livelake import AnalyticsCache

    cache = AnalyticsCache(time_to_live=None, time_to_idle=600.0)

    async def loop(n: int) -> None:
        read = cache.get_or_compute
        for _ in repeat(None, n):
            await read("key", _compute, depends_on=_EVENTS)

    return loop


def _reader(read: Any) -> Contender:
    async def loop(n: int) -> None:
        for _ in repeat(None, n):
            await read()

    return loop


def _dogpile() -> Contender:
    from dogpile.cache import make_region

    region = make_region().configure("dogpile.cache.memory")

    async def read() -> Any:
        return region.get_or_create("key", lambda: _VALUE)

    return _reader(read)
