"""What the rows of a query offer for a parameter: asked of the lake, and so cached like every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from livelake.errors import LivelakeError
from livelake.live import LiveLake
from livelake.web.asked import Asked
from livelake.web.controls import Offers, offers_of


async def offered(lake: LiveLake, asked: Asked, timeout: float) -> Mapping[str, Offers]:
    """By parameter, for those that declare a source. Never raises: a page without its choices is still a page."""
    sources = {field.parameter.name: field.parameter.source for field in asked.fields if field.parameter.source}
    found = await asyncio.gather(*[_offers(lake, sql, timeout) for sql in sources.values()])
    return dict(zip(sources, found, strict=True))


async def _offers(lake: LiveLake, sql: str, timeout: float) -> Offers:
    try:
        async with asyncio.timeout(timeout):
            result = await lake.query(sql)
        return await asyncio.to_thread(lambda: offers_of(result.rows()))
    except TimeoutError:
        return Offers(problem="The choices take long to read; reload for them")
    except LivelakeError as error:
        return Offers(problem=f"The choices cannot be read: {error}")
