"""10,000 concurrent misses of one key: how many computations?

Counted, not timed. The first computation does not end before every caller has asked (a gate, then turns of the
loop); libraries for threads are asked by 64 threads at a time.
"""

from __future__ import annotations

import asyncio
import warnings

from benchmarks.correctness import Source
from benchmarks.harness import Bar, Report, Settings
from benchmarks.libraries import LIBRARIES, OURS, THREADS, Library, reader_threads


def run(settings: Settings) -> Report:
    callers = 500 if settings.quick else 10_000
    report = Report(
        question=f"{callers:,} concurrent misses of one key: how many computations?",
        columns=("cache", "version", "computations"),
        notes=[f"thread libraries: {THREADS} callers at a time"],
    )
    for library in LIBRARIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            computed = asyncio.run(_count(library, callers))
        shown = "not installed" if computed is None else f"{computed:,}"
        report.rows.append((library.name, library.version or "", shown))
        report.raw[library.name] = {"version": library.version, "callers": callers, "computations": computed}
        if library.name == OURS:
            assert computed is not None
            report.bars.append(Bar(f"computations of {OURS}", computed, 1))
    return report


async def _count(library: Library, callers: int) -> int | None:
    source = Source(threads=library.threads)
    try:
        cached = library.make(source.compute)
    except ImportError:
        return None
    with reader_threads():
        reads = [asyncio.ensure_future(cached.read()) for _ in range(callers)]
        await source.begun()
        for _ in range(20):  # each turn runs everyone who is ready
            await asyncio.sleep(0)
        source.open()
        answers = await asyncio.gather(*reads)
    assert set(answers) == {"old"}
    return source.computed
