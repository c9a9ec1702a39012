"""Addresses of answers that never change: ``/queries/totals.csv?least=5&as_of=sales:42~5d41402abc4b2a76``.

``as_of`` names the snapshots that were read. Behind the ``~`` stands a seal: a hash of the query's text, of the
values that were bound, of the engine's settings, and of when those snapshots were committed, which tells one lake
from another and a restored backup from what it replaced. So whatever is kept under such an address, by whomever,
is what the address would give again, or the address gives nothing (410): it may be kept for ever.

Without a seal, ``as_of`` is a question about the past that a person may ask; its answer is kept by nobody.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from urllib.parse import quote, unquote

from livelake.engine import Session
from livelake.errors import ParameterError
from livelake.keys import catalog
from livelake.lake import Result
from livelake.lake.log import SnapshotLog
from livelake.live import LiveLake
from livelake.web.parameters import Value

__all__ = ["Seals", "State", "parse", "spell"]

_STATE: Final = re.compile(r"([^:,~]{1,200}):([0-9]{1,18})")
_SEAL: Final = re.compile(r"[0-9a-f]{16}")
_MOST: Final = 4_096  # characters
_REMEMBERED: Final = 4_096  # moments of snapshots


@dataclass(frozen=True, slots=True)
class State:
    """What ``as_of`` says: catalog → snapshot, and the seal if there is one."""

    versions: Mapping[str, int]
    seal: str | None


def parse(text: str) -> State:
    """Raises `ParameterError` for what is no state."""
    states, tilde, seal = text.partition("~")
    found: dict[str, int] = {}
    for each in states.split(",") if len(text) <= _MOST else ():
        matched = _STATE.fullmatch(each)
        if matched is None or (name := unquote(matched[1])) in found:
            break
        found[name] = int(matched[2])
    else:
        if found and (not tilde or _SEAL.fullmatch(seal)):
            return State(found, seal if tilde else None)
    raise ParameterError(
        f"'as_of': {text[:60]!r} was given; it must be catalog:snapshot, several with commas between them, "
        "or what the Content-Location of an answer says"
    )


def spell(versions: Mapping[str, int], seal: str) -> str:
    """The text that `parse` reads."""
    named = [(quote(name, safe="").replace("~", "%7E"), number) for name, number in sorted(versions.items())]
    return ",".join(f"{name}:{number}" for name, number in named) + f"~{seal}"


class Seals:
    """Seals of one lake's answers. Used on one event loop."""

    def __init__(self, lake: LiveLake) -> None:
        self._lake = lake
        self._settings: str | None = None
        self._moments: OrderedDict[tuple[str, int, int], str | None] = OrderedDict()

    async def of(self, sql: str, values: Mapping[str, Value], result: Result) -> str | None:
        """The seal of an answer. None for one that time, events or files can change, or that tells of the catalog
        itself, and where a database keeps no past."""
        footprint = result.answer.footprint
        if footprint.why_not is not None or footprint.valid_until is not None or not footprint.as_of:
            return None
        itself = set(map(catalog, footprint.as_of))
        if any(key in itself or not key.startswith("lake/") for key in footprint.depends_on):
            return None
        moments = []
        for name, snapshot in sorted(footprint.as_of.items()):
            moment = await self._moment(name, snapshot)
            if moment is None:
                return None
            moments.append((name, snapshot, moment))
        if self._settings is None:
            self._settings = await asyncio.to_thread(self._lake.engine.settings_fingerprint)
        # `repr` is exact for these: texts in quotes, numbers with all their digits, dates by their parts.
        told = repr((sql, sorted(values.items()), self._lake.default, self._settings, moments))
        return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    async def _moment(self, name: str, snapshot: int) -> str | None:
        """When a snapshot was committed: read once (a millisecond), for all queries."""
        log = self._lake.watcher.logs.get(name)
        if not isinstance(log, SnapshotLog):
            return None
        key = (name, log.history, snapshot)
        if key not in self._moments:

            def read(session: Session, log: SnapshotLog = log) -> str | None:
                return log.committed_at(session, snapshot)

            self._moments[key] = await self._lake.engine.pool.run(read)
            if len(self._moments) > _REMEMBERED:
                self._moments.popitem(last=False)
        return self._moments[key]
