"""``publish``: tell every process at a router that something happened."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click

from livelake.cli.bus import BusSettings, connect_options, credentials
from livelake.cli.terminal import clean
from livelake.errors import EventError
from livelake.events import Event, Signal
from livelake.keys import KeyExpr
from livelake.token import Token

Format = Literal["text", "json", "token"]


@click.command(short_help="Tell others that something happened.")
@click.argument("aggregate_type", metavar="TYPE")
@click.argument("aggregate_id", metavar="ID")
@click.argument("event_type", metavar="EVENT_TYPE")
@click.argument("payload", metavar="[JSON]", required=False)
@connect_options
@click.option("--sequence", type=click.IntRange(min=0), help="Its number among the events of TYPE ID.")
@click.option("--format", "-f", type=click.Choice(["text", "json", "token"]), default="text", show_default=True)
def publish(
    aggregate_type: str,
    aggregate_id: str,
    event_type: str,
    payload: str | None,
    connect: tuple[str, ...],
    timeout: float,
    sequence: int | None,
    format: Format,  # noqa: A002
    **login: Path | str | None,
) -> None:
    """Publish one event at a router: `livelake publish Todo 42 Completed '{"by": "Ada"}'`.

    Call it after the data was committed. It prints a token that a later read may demand (Livelake-Not-Before).
    """
    event = Event(
        aggregate_type=aggregate_type,
        aggregate_id=aggregate_id,
        event_type=event_type,
        sequence=sequence,
        payload=_payload(payload),
        time=datetime.now(UTC),
        origin="livelake publish",
    )
    settings = BusSettings(connect=connect, credentials=credentials(**login), timeout=timeout)  # type: ignore[arg-type]
    key, token = asyncio.run(_publish(settings, event))
    match format:
        case "text":
            click.echo(f"published {clean(key)}, token {token}")
        case "json":
            click.echo(json.dumps({"key": key, "token": str(token)}))
        case "token":
            click.echo(str(token))


async def _publish(settings: BusSettings, event: Event) -> tuple[str, Token]:
    """Under which key it went, and how far those have come who have heard of it."""
    keys: list[KeyExpr] = []

    def hear(signal: Signal) -> None:
        keys.append(signal.key)

    async with settings.bus() as bus:
        bus.subscribe("events/**" if event.sequence is None else event.key, hear)
        token = await bus.publish(event)
        return keys[0], token


def _payload(text: str | None) -> Any:
    """`EventError` for what is no JSON; what JSON may be in an event is `Event`'s to say."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventError(
            f"the payload {text[:40]!r} is no JSON: {error}; quote it for the shell: '{{\"n\": 1}}'"
        ) from error
