"""Who attacks what: people with tokens, a folder for two tenants, a browser and a socket to come with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

ADA, BOB, NOBODY, PUBLISHER = (
    "ada-of-acme-0123456789",
    "bob-of-globex-012345678",
    "reads-but-is-nobody-012",
    "publishes-and-no-more-0",
)
TOKENS = f"""
read    {ADA} user=ada tenant=acme
read    {BOB} user=bob tenant=globex
read    {NOBODY}
publish {PUBLISHER}
"""
ORIGIN = "http://127.0.0.1:8000"

FILES = {
    "mine/orders.sql": """/*---
title = "My orders"
params.tenant = { type = "string", claim = "tenant" }
params.least = { type = "integer", default = 0 }
---*/
SELECT item, amount FROM shop.main.sales WHERE tenant = $tenant AND amount >= $least ORDER BY ALL""",
    "all/count.sql": "SELECT count(*) AS n FROM shop.main.sales",
}


def shows(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def browser(app: Any, origin: str = ORIGIN, **options: Any) -> httpx.AsyncClient:
    """A client that keeps cookies, at an address of its own choice."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, **options)
    return httpx.AsyncClient(transport=transport, base_url=origin)


@dataclass
class Site:
    """A server on loopback, for what only sockets can show."""

    port: int

    async def exchange(self, request: bytes) -> bytes:
        """All that comes back for these bytes, until the server closes or has nothing more to say."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        if b"connection: close" not in request.lower():
            writer.write_eof()
        try:
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()

    async def get(self, target: bytes, *headers: bytes) -> bytes:
        lines = [b"GET " + target + b" HTTP/1.1", *(headers or (b"Host: localhost",)), b"Connection: close", b"", b""]
        return await self.exchange(b"\r\n".join(lines))
