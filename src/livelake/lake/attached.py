"""`Attached`: all catalogs of one lake: attached together, healed, vouched for, let go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from livelake.clock import Clock
from livelake.engine import Engine, Reads, Session, identifier
from livelake.errors import LivelakeError, SourceError, UsageError
from livelake.lake.attachment import Attachment, close_all, is_swapped
from livelake.lake.catalog import Catalog, Log, Origin
from livelake.lake.footprint import Footprint
from livelake.lake.forgotten import table_of, was_taken
from livelake.lake.provenance import EmbeddedKey, RemoteKey, SourceKey
from livelake.lake.scout import Scout

REMOTE_INTERVALS: Final = 8
"""A server is asked once where a commit log of our own is read so many times: every 2 s by default."""

_LANE_SECONDS: Final = 5.0


class Attached:
    """Made by `Attached.of`. Any thread may call."""

    def __init__(self, engine: Engine, attachments: Mapping[str, Attachment], scouts: Mapping[str, Scout]) -> None:
        self._engine = engine
        self.by_name = dict(attachments)
        self.scouts = dict(scouts)

    @classmethod
    def of(
        cls,
        engine: Engine,
        catalogs: list[Catalog],
        *,
        read_only: bool,
        create: bool,
        clock: Clock,
        look_every: float,
    ) -> Attached:
        """Attach them all. Raises `SourceError` for one that cannot be, `UsageError` for two of one name."""
        attachments: dict[str, Attachment] = {}
        try:
            with engine.cursor() as session:
                for catalog in catalogs:
                    if catalog.name in attachments:
                        raise UsageError(
                            f"{attachments[catalog.name].catalog.uri} and {catalog.uri} would both be called "
                            f"{catalog.name!r}; give one another name (as_name=…, or the key in attach=…)"
                        )
                    attachments[catalog.name] = Attachment(engine, catalog, read_only=read_only, create=create)
                    attachments[catalog.name].attach(session)
        except BaseException:
            close_all(list(attachments.values()))
            raise
        scouts = {
            name: Scout(each, clock=clock, interval=look_every)
            for name, each in attachments.items()
            if each.catalog.origin is Origin.REMOTE
        }
        return cls(engine, attachments, scouts)

    @property
    def space(self) -> list[str]:
        """What is attached under which name: part of a cache key."""
        return sorted(each.identity for each in self.by_name.values())

    def renewals(self) -> dict[str, int]:
        """How often each was made anew; `heal` wants what it was before the failure."""
        return {name: each.renewals for name, each in self.by_name.items()}

    def heal(
        self, error: LivelakeError, renewals: Mapping[str, int], *, reads: bool = True, past: bool = False
    ) -> bool:
        """Whether what failed with ``error`` is worth one more try, because something was made anew.

        ``past``: it read the past. Blocks for as long as a server takes to answer, if ``reads`` fail on a remote
        catalog's data.
        """
        if is_swapped(error) or was_taken(error):
            return True
        table = table_of(error)
        if table is not None:
            # On the writer's lane: a commit under way must find the catalog that it began with.
            about = [each for each in self.by_name.values() if each.is_meant(error)] or [*self.by_name.values()]

            def renew(session: Session) -> None:
                for each in about:
                    if each.renewals != renewals[each.catalog.name]:
                        continue  # another who met it was first
                    if past and each.catalog.log is Log.DUCKDB:  # the schema of the past stays what it was
                        if self.is_restorable:
                            each.renewals += 1
                            self._engine.broke(error)
                    else:
                        each.renew(session, renewals[each.catalog.name], table)

            job = self._engine.writer.submit(renew)
            try:
                job.result(_LANE_SECONDS)
            except (TimeoutError, LivelakeError):
                job.cancel()
            return self.renewals() != renewals
        if not (reads and isinstance(error, SourceError)):
            return False
        for scout in self.scouts.values():  # the old files may be gone because there are new ones
            try:
                scout.look()
            except LivelakeError:
                continue
        return self.renewals() != renewals

    def vouch(self, found: Reads) -> None:
        """Raise `SourceError` if what is to be read comes from a server that has been silent for too long."""
        for name in {table.catalog for table in found.tables} | found.catalogs:
            if name in self.scouts:
                self.scouts[name].vouch()

    def check_files(self) -> None:
        """Raise `LostError` if the file of some catalog is gone, or is another one (2 µs each).

        Asked before anything else: SQLite makes an empty file where it finds none, and a write to a file that was
        taken away is lost.
        """
        for each in self.by_name.values():
            each.check_file()

    def use(self, name: str, session: Session) -> None:
        """Prepare a fresh cursor: names without a catalog mean the one called ``name``."""
        self.check_files()
        session.execute(f"USE {identifier(name)}")

    @property
    def is_restorable(self) -> bool:
        """Whether `restore` brings everything back: not what was only in memory."""
        return all(each.catalog.path or each.catalog.log is not Log.NONE for each in self.by_name.values())

    def restore(self, session: Session) -> None:
        """Attach everything to a new instance of DuckDB."""
        for each in self.by_name.values():
            each.restore(session)

    def folders(self, session: Session) -> list[str] | None:
        """Where the data of all catalogs lie, and what is attached again later: all that has to be read in files.

        None if that cannot be told: PostgreSQL may have to be attached again, which needs more than files.
        """
        if any(each.catalog.log is Log.POSTGRES for each in self.by_name.values()):
            return None
        return sorted({folder for each in self.by_name.values() for folder in each.folders(session)})

    def bounded(self, found: Reads, footprint: Footprint, ttl: float | None, now: datetime) -> Footprint:
        """``footprint``, which is not kept beyond a declared ttl where no validator shows a change."""
        names = {table.catalog for table in found.tables} | found.catalogs
        for name in sorted(names & self.scouts.keys()):
            why_not = self.scouts[name].why_not
            if why_not is None or footprint.why_not is not None:
                continue
            if ttl is None:
                return replace(footprint, why_not=why_not)
            end = now + timedelta(seconds=ttl)
            footprint = replace(footprint, valid_until=min(footprint.valid_until or end, end))
        return footprint

    def keys(self, footprint: Footprint, question: str) -> tuple[SourceKey, ...]:
        """A key for each table that was read: where it came from, at which version, under which question."""
        found: list[SourceKey] = []
        for qualified, version in sorted(footprint.tables.items()):
            name = next((n for n in self.by_name if qualified.startswith(f"{n}.")), "")
            table = qualified.removeprefix(f"{name}.")
            attachment = self.by_name[name]
            if attachment.version is not None:
                found.append(EmbeddedKey(name, attachment.version, table, question))
            else:
                found.append(RemoteKey(attachment.catalog.uri, version, table, question))
        return tuple(found)

    def close(self) -> None:
        close_all(list(self.by_name.values()))
