"""A process that commits to the truth, then publishes: ``python -m faults.publisher SETTINGS``.

Its outbound messages, events and heartbeats alike, go through an `Injector`, after they were numbered.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from faults.orders import Order, answer, orders
from faults.truth import PER_NODE, TYPES, Truth, type_of
from livelake.errors import SourceError
from livelake.events import Event, ZenohBus

Put = Callable[[str, bytes, bytes], None]
Message = tuple[str, bytes, bytes]


class Injector:
    """Loses, repeats, delays and holds back what is put. Called by the one thread that puts."""

    def __init__(self, put: Put, rng: random.Random) -> None:
        self._put, self._rng = put, rng
        self.drop = self.duplicate = self.reorder = self.slow = 0.0
        self.lose_next = 0  # events
        self.lost = 0
        self._held: list[tuple[int, Message]] = []  # (messages that go first, message)

    def __call__(self, key: str, payload: bytes, tag: bytes) -> None:
        rng, message = self._rng, (key, payload, tag)
        if self.slow and not key.startswith("livelake/heartbeat/"):
            time.sleep(self.slow)  # the fault: a wire that is slower than who publishes
        if key.startswith("events/") and self.lose_next:
            self.lose_next -= 1
            self.lost += 1
        elif rng.random() < self.drop:
            self.lost += 1
        elif rng.random() < self.reorder:
            self._held.append((rng.randint(1, 4), message))
            return
        else:
            self._put(*message)
            if rng.random() < self.duplicate:
                self._put(*message)
        self._held = [(left - 1, each) for left, each in self._held]
        for left, each in self._held:
            if left <= 0:
                self._put(*each)
        self._held = [(left, each) for left, each in self._held if left > 0]


class Publisher:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.number: int = settings["number"]
        self.rng = random.Random(settings["seed"])
        self.truth = Truth(settings["truth"], settings["aggregates"])
        self.mine = range(self.number * PER_NODE, (self.number + 1) * PER_NODE)
        for aggregate in self.mine:
            self.truth.mend(aggregate)
        self.rate: float = settings["rate"]
        self.wild: float = settings["wild"]
        self.settings = settings
        self.changed = asyncio.Event()
        self.published = 0

    async def run(self) -> None:
        queue = orders()
        self.bus = await self._open()
        outbound = self.bus._outbound
        assert outbound is not None
        self.injector = Injector(outbound._put, self.rng)
        outbound._put = self.injector
        self._obey(self.settings)
        pacing = asyncio.create_task(self._pace())
        answer(ready=self.bus._tagger.source)
        try:
            while (order := await queue.get())["do"] != "stop":
                answer(**await self._do(order))
        finally:
            pacing.cancel()
            await asyncio.wait([pacing])
            await self.bus.close()
        answer(stopped=True)

    async def _open(self) -> ZenohBus:
        deadline = time.monotonic() + 60
        while True:
            bus = ZenohBus(
                self.settings["connect"],
                node=f"p{self.number}",
                timeout=5.0,
                outbox=self.settings["outbox"],
            )
            try:
                await bus.open()
                return bus
            except SourceError:
                if time.monotonic() > deadline:
                    raise

    async def _do(self, order: Order) -> Order:
        match order["do"]:
            case "set":
                self._obey(order)
            case "emit":
                aggregate, version = await self._emit(order["count"], wild=False)
                return {"aggregate": aggregate, "version": version}
            case "crash":
                await self._emit(order["count"])
                os.kill(os.getpid(), signal.SIGKILL)
            case "stats":
                return {"outbox": self.bus.stats().outbox, "published": self.published, "lost": self.injector.lost}
        return {"done": order["do"]}

    def _obey(self, order: Order) -> None:
        self.rate = order.get("rate", self.rate)
        for name in ("drop", "duplicate", "reorder", "slow", "lose_next"):
            setattr(self.injector, name, order.get(name, getattr(self.injector, name)))
        self.changed.set()

    async def _emit(self, count: int, *, wild: bool = True) -> tuple[int, int]:
        """Commit, then publish: one after the other; ``wild``: some by wildcard. The last (aggregate, version)."""
        aggregate = version = 0
        for _ in range(count):
            if wild and self.rng.random() < self.wild:
                kind = self.rng.choice(TYPES)
                for aggregate in self.mine:
                    if type_of(aggregate) == kind:
                        self.truth.commit(aggregate, wild=True)
                await self.bus.invalidate(f"events/{kind}/**")
            else:
                aggregate = self.rng.choice(self.mine)
                version = self.truth.commit(aggregate)
                event = Event(
                    aggregate_type=type_of(aggregate),
                    aggregate_id=str(aggregate),
                    event_type="Changed",
                    sequence=version,
                )
                await self.bus.publish(event)
            self.published += 1
        return aggregate, version

    async def _pace(self) -> None:
        """``rate`` events a second, in small lots; what a freeze kept from being published is not caught up with."""
        due = time.monotonic()
        while True:
            if not self.rate:
                self.changed.clear()
                await self.changed.wait()
                due = time.monotonic()
                continue
            now = time.monotonic()
            due = max(due, now - 0.1)
            while due <= now and self.rate:
                await self._emit(1)
                due += self.rng.uniform(0.5, 1.5) / self.rate
            self.changed.clear()
            try:
                async with asyncio.timeout(max(due - time.monotonic(), 0.001)):
                    await self.changed.wait()
            except TimeoutError:
                pass


if __name__ == "__main__":
    asyncio.run(Publisher(json.loads(sys.argv[1])).run())
