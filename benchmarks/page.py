"""What does a page of ten cached queries cost through HTTP, against running them again?

The page is ten GETs on one connection, answered by a server in a process of its own. Running again is bare DuckDB on
the same lake in this process, with no HTTP at all, its rows written as the same JSON: what a server without a cache
would have to do at least. Reported, without a bar: the ratio is as large as the data.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import COLUMNS, Contender, Report, Settings, compare
from benchmarks.http_hit import Server
from livelake.engine import Engine, identifier
from livelake.web.formats import written

ROWS = 1_000_000
CACHED, UNCHANGED, AGAIN = "10 GETs, cached", "10 GETs, 304", "10 queries run again"
_BY = ("region", "product", "day", "month(day)", "dayofweek(day)")
QUERIES = {
    **{
        f"total_{n}": f"SELECT {by} AS k, sum(amount) AS v FROM sales.main.orders GROUP BY 1"
        for n, by in enumerate(_BY)
    },
    **{
        f"top_{n}": f"SELECT {by} AS k, count(DISTINCT customer) AS v FROM sales.main.orders GROUP BY 1 ORDER BY 2"
        for n, by in enumerate(_BY)
    },
}


def run(settings: Settings) -> Report:
    rows = 10_000 if settings.quick else ROWS
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        uri = f"ducklake:sqlite:{folder}/sales.sqlite"
        asyncio.run(_fill(uri, rows))
        server = stack.enter_context(Server(_serve, folder))
        tags = {name: server.fetch(f"/queries/{name}")[1] for name in QUERIES}
        engine = stack.enter_context(Engine(workers=1))
        engine.load_extension("ducklake")
        engine.load_extension("sqlite_scanner")
        session = stack.enter_context(engine.cursor())
        session.execute(f"ATTACH '{uri}' AS {identifier('sales')} (READ_ONLY)")

        def cached(n: int) -> None:
            for _ in range(n):
                for name in QUERIES:
                    server.ask(1, b"", f"/queries/{name}")

        def unchanged(n: int) -> None:
            for _ in range(n):
                for name, tag in tags.items():
                    server.ask(1, f"If-None-Match: {tag}\r\n".encode(), f"/queries/{name}")

        def again(n: int) -> None:
            for _ in range(n):
                for sql in QUERIES.values():
                    written(session.read(sql), "json", most=1 << 30)

        contenders: dict[str, Contender] = {AGAIN: again, CACHED: cached, UNCHANGED: unchanged}
        timing = asyncio.run(compare(contenders, settings, operations=1 if settings.quick else 3))
    return Report(
        question=f"What does a page of 10 cached queries cost, over {rows:,} rows? (ratios to the cached page)",
        columns=COLUMNS,
        rows=timing.rows(CACHED),
        raw=timing.raw(),
    )


async def _fill(uri: str, rows: int) -> None:
    import livelake

    async with livelake.open(uri) as lake:
        await lake.execute(
            "CREATE TABLE orders AS SELECT 'region ' || i % 7 AS region, 'product ' || i % 90 AS product, "
            "DATE '2024-01-01' + (i % 366)::INTEGER AS day, hash(i) % 50_000 AS customer, "
            f"(i % 1000 / 10)::DECIMAL(9, 2) AS amount FROM range({rows}) r(i)"
        )


def _serve(folder: str, ready: Any) -> None:
    import livelake
    from livelake import web

    page = Path(folder) / "bench"
    page.mkdir()
    for name, sql in QUERIES.items():
        (page / f"{name}.sql").write_text(sql)

    async def main() -> None:
        async with livelake.open(f"ducklake:sqlite:{folder}/sales.sqlite") as lake:
            with web.listen("127.0.0.1", 0) as listener:
                await web.serve(await web.app(lake, page), listener, lambda: ready.send(listener.getsockname()[1]))

    asyncio.run(main())
