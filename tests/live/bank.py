"""A bank: money moves between two tables, in one commit each time, and pages show both sums and their total.

``python bank.py URI FRAMES`` prints what was seen as JSON. With ``--apart`` each panel refreshes by itself: the
negative control, which shows sums that do not add up. With ``--elsewhere`` another process moves the money, and is
seen to do so by polling: several commits at a time, and while pages are being read.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable

import livelake
from livelake.lake import Query, Result
from livelake.live import LiveLake

ACCOUNTS, PAGES = 10, 24
LEFT = "SELECT sum(amount) AS money FROM left_side"
RIGHT = "SELECT sum(amount) AS money FROM right_side"
TOTAL = "SELECT sum(amount) AS money, $page AS page FROM (FROM left_side UNION ALL FROM right_side)"


class Audit:
    """Counts frames, and those that do not add up."""

    def __init__(self) -> None:
        self.frames = self.torn = self.late = 0

    def see(self, results: list[Result | None], *, late: bool = False) -> None:
        if late or None in results:
            self.late += 1
            return
        left, right, total = (result.rows()[0]["money"] for result in results if result is not None)
        self.frames += 1
        self.torn += left + right != total


async def fill(lake: LiveLake) -> None:
    async with lake.transaction() as t:
        for side in ("left_side", "right_side"):
            await t.execute(f"CREATE TABLE {side} (account INTEGER, amount INTEGER)")
            await t.execute(f"INSERT INTO {side} SELECT range, 1000 FROM range({ACCOUNTS})")


async def transfer(lake: LiveLake, rng: random.Random) -> None:
    amount, account = rng.randint(1, 9), rng.randrange(ACCOUNTS)
    async with lake.transaction() as t:
        await t.execute(f"UPDATE left_side SET amount = amount - {amount} WHERE account = {account}")
        await t.execute(f"UPDATE right_side SET amount = amount + {amount} WHERE account = {account}")


def questions(lake: LiveLake, page: int) -> list[Query]:
    """Some pages share all their panels with others, none is alone with its sums."""
    return [lake.ask(LEFT), lake.ask(RIGHT), lake.ask(TOTAL, {"page": page % 6})]


def watch_pages(lake: LiveLake, audit: Audit) -> None:
    for number in range(PAGES):
        page = lake.page(questions(lake, number))

        def see(page: livelake.live.Page = page) -> None:
            audit.see([state.result for state in page.frame.panels], late=bool(page.frame.late))

        page.listen(see)


def watch_apart(lake: LiveLake, audit: Audit) -> None:
    topics = [lake.watch(each) for each in questions(lake, 0)]

    def see() -> None:
        audit.see([topic.state.result for topic in topics])

    for topic in topics:
        topic.listen(see)


async def run(uri: str, frames: int, watch: Callable[[LiveLake, Audit], None]) -> Audit:
    """Transfers until so many frames were seen; ends early when one was torn and only that is asked for."""
    rng, audit = random.Random(7), Audit()
    async with livelake.open(uri) as lake:
        await fill(lake)
        watch(lake, audit)
        for at in range(100 * frames):
            await transfer(lake, rng)
            if at % 3 == 0:
                await asyncio.sleep(0)
            if audit.frames >= frames:
                break
    return audit


async def run_elsewhere(uri: str, frames: int) -> Audit:
    audit = Audit()
    async with livelake.open(uri, poll_interval=0.05) as lake:
        await fill(lake)
        watch_pages(lake, audit)
        writer = await asyncio.create_subprocess_exec(sys.executable, __file__, uri, str(frames), "--only-write")
        try:
            while audit.frames < frames and writer.returncode is None:
                await asyncio.sleep(0.01)
        finally:
            writer.kill()
            await writer.wait()
    return audit


async def write(uri: str, transfers: int) -> None:
    rng = random.Random(7)
    async with livelake.open(uri) as lake:
        for _ in range(transfers):
            await transfer(lake, rng)


if __name__ == "__main__":
    uri, frames, options = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    if options == ["--only-write"]:
        asyncio.run(write(uri, frames))
        sys.exit()
    if options == ["--elsewhere"]:
        audit = asyncio.run(run_elsewhere(uri, frames))
    else:
        audit = asyncio.run(run(uri, frames, watch_apart if options == ["--apart"] else watch_pages))
    print(json.dumps(vars(audit)))
