"""A process that reads through a cache, and notes what it read and heard: ``python -m faults.subscriber SETTINGS``.

With ``blindfold`` its bus notices only holes between numbers: no heartbeat is compared, and silence, tokens and links
say nothing. That is the negative control: the rig must fail then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import random
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import psutil

from faults.orders import Order, answer, orders
from faults.truth import Truth, type_of
from faults.verdict import Record
from livelake import AnalyticsCache, CacheInvalidator
from livelake.events import Doubt, Event, Signal, ZenohBus
from livelake.events.lanes import Lanes, State
from livelake.keys import instance

STALL = 0.05
TICK = 0.003


def blindfold() -> None:
    """Switch the detection off, all but the holes between numbers."""

    def trust(self: Lanes, source: Any, heads: Any, *_: Any) -> None:
        source.state = State.HEARD
        self._unsure.discard(source.name)
        source.learning.clear()
        self._learning.discard(source.name)

    Lanes._believe = trust  # type: ignore[method-assign]
    Lanes.tick = Lanes.gone = Lanes.link_lost = lambda *_, **__: []  # type: ignore[method-assign]


class Subscriber:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.rng = random.Random(settings["seed"])
        self.truth = Truth(settings["truth"], settings["aggregates"])
        self.cache: AnalyticsCache = AnalyticsCache(time_to_live=None, time_to_idle=None)
        self.record = Record()
        self.newest: dict[int, int] = {}
        self._blind_since = 0.0
        self.stopping = threading.Event()
        self.going = threading.Event()
        self.going.set()

    async def run(self) -> None:
        queue = orders()
        async with (
            ZenohBus(self.settings["connect"], node="reader", timeout=30.0) as self.bus,
            CacheInvalidator(self.cache, self.bus),
        ):
            self.bus.subscribe("events/**", self._note)
            ticker = threading.Thread(target=self._tick)
            ticker.start()
            reading = asyncio.create_task(self._read_on())
            answer(ready=self.bus.node)
            try:
                while (order := await queue.get())["do"] != "stop":
                    if reading.done():
                        reading.result()
                    answer(**self._do(order) if order["do"] != "compare" else await self._compare())
            finally:
                self.stopping.set()
                ticker.join()
                reading.cancel()
                await asyncio.wait([reading])
        answer(stopped=True)

    def _do(self, order: Order) -> Order:
        match order["do"]:
            case "begin":
                self.record = Record(began=time.monotonic())
                self._blind_since = self._blind_since and self.record.began
            case "report":
                now = time.monotonic()
                still = [(self._blind_since, now)] if self._blind_since else []
                with open(order["to"], "wb") as file:
                    pickle.dump(replace(self.record, ended=now, blind=self.record.blind + still), file)
            case "stall":
                self.going.clear()
            case "go on":
                self.going.set()
            case "state":
                return self._state()
        return {"done": order["do"]}

    def _state(self) -> Order:
        stats = self.bus.stats()
        return {
            "blind": stats.blind,
            "behind": self._behind(),
            "heard": sorted(self._heard()),
            "flushes": dict(stats.flushes),
            "undecodable": stats.undecodable,
            "overflows": stats.overflows,
            "inbox": stats.inbox,
            "received": stats.received,
            "newest": self.newest,
            "rss": psutil.Process().memory_info().rss,
        }

    def _behind(self) -> int:
        """Aggregates whose newest version is not cached."""
        return sum(self.cache.get(each) != self.truth.version(each) for each in range(self.truth.aggregates))

    # What is read

    async def _read(self, aggregate: int) -> int:
        async def compute() -> int:
            version = self.truth.version(aggregate)
            if self.rng.random() < 0.2:
                await asyncio.sleep(
                    self.rng.random() * 0.003
                )  # a query takes its time; what changes meanwhile counts
            return version

        depends_on = instance(type_of(aggregate), str(aggregate))
        version: int = await self.cache.get_or_compute(aggregate, compute, depends_on=depends_on)
        return version

    async def _read_on(self) -> None:
        """All aggregates round and round, as a server would."""
        while True:
            for aggregate in range(self.truth.aggregates):
                began = time.monotonic()
                version = await self._read(aggregate)
                self.record.reads.append((began, aggregate, version))
                await asyncio.sleep(0.002)

    async def _compare(self) -> Order:
        """What differs from the truth, as it is read now: aggregate → (read, true)."""
        found = {}
        for aggregate in range(self.truth.aggregates):
            true = self.truth.version(aggregate)
            version = await self._read(aggregate)
            if version < true:
                found[str(aggregate)] = (version, true)
        return {"stale": found}

    # What is heard

    def _note(self, signal: Signal) -> None:
        self.going.wait(60)  # a handler that is slow fills the inbox
        now = time.monotonic()
        if isinstance(signal, Doubt):
            self.record.doubts.append((now, str(signal.scope), signal.reason, signal.source or ""))
        elif isinstance(signal, Event) and signal.aggregate_id.isdecimal():
            aggregate, version = int(signal.aggregate_id), signal.sequence or 0
            self.newest[aggregate] = max(version, self.newest.get(aggregate, 0))
            if not self.settings["deaf"]:
                self.record.events.append((now, aggregate, version))

    def _heard(self) -> frozenset[str]:
        """The sources that are heard."""
        while True:
            try:
                sources = self.bus._inbound._lanes.sources
                return frozenset(name for name, source in sources.items() if source.state is State.HEARD)
            except RuntimeError:  # it changed under our feet; to take its lock 300 times a second would be no rest
                continue

    def _tick(self) -> None:
        """Note when this process did not run, when it was blind, and whom it heard."""
        last = time.monotonic()
        heard: frozenset[str] = frozenset()
        while not self.stopping.wait(TICK):
            now, record = time.monotonic(), self.record
            if now - last > STALL:
                record.stalls.append((last, now))
            last = now
            if self.bus.blind():
                self._blind_since = self._blind_since or now
            elif self._blind_since:
                record.blind.append((self._blind_since, now))
                self._blind_since = 0.0
            if (there := self._heard()) != heard:
                heard = there
                record.heard.append((now, there))


def main() -> None:
    settings = json.loads(sys.argv[1])
    logging.basicConfig(format="%(name)s: %(message)s")
    if settings["blindfold"]:
        blindfold()
    asyncio.run(Subscriber(settings).run())


if __name__ == "__main__":
    main()
