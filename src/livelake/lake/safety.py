"""What makes a lake's DuckDB safe to leave alone: settings locked, files shut in, databases brought back."""

from __future__ import annotations

from collections.abc import Mapping

from livelake.cache import AnalyticsCache, Change
from livelake.engine import Engine, Limits, Session, Statement, gate, identifier, literal, steers
from livelake.errors import QueryError, UsageError
from livelake.keys import catalog as catalog_key
from livelake.lake.attached import Attached
from livelake.lake.log import NEVER


def engine_for(limits: Limits, workers: int, *, untrusted: bool) -> Engine:
    """An engine that keeps to ``limits``. Secrets that are stored in the owner's home are none of a stranger's."""
    return Engine(
        memory_limit=limits.memory_limit,
        workers=workers,
        max_spill=limits.max_spill,
        caps=limits.caps(),
        grace=limits.grace,
        persistent_secrets=not untrusted,
    )


def checked(session: Session, sql: str) -> Statement:
    """The one SELECT that ``sql`` is, whose parameters anybody may choose; `QueryError` otherwise.

    A parameter that names a file, or becomes SQL, would let whoever fills it in read what this process may read.
    """
    statement = gate(session, sql, reads_only=True)
    steered = sorted(steers(session, sql)) if statement.parameters else []
    if steered:
        raise QueryError(
            f"a parameter goes into {', '.join(steered)}, so whoever fills it in chooses what is read; "
            "write the file or the table out"
        )
    return statement


def lock(engine: Engine, attached: Attached, settings: Mapping[str, str], *, sealed: bool) -> None:
    """Set what was asked for, then lock DuckDB's settings for good.

    ``sealed``: files outside of the lake's own folders are shut as well, for DuckDB as a whole. SQLite's and
    PostgreSQL's extensions open files and connections past that lock: `engine.untrusted` lets no SQL get there. A
    lake with a PostgreSQL catalog is not sealed: when another process has flushed it, it has to be attached again,
    which a sealed DuckDB refuses.
    """
    for name in settings:
        if name.lower() in ("lock_configuration", "enable_external_access", "allowed_directories"):
            raise UsageError(f"settings: {name} is livelake's own; see untrusted=True")
    statements = [f"SET GLOBAL {identifier(name)} = {literal(str(value))}" for name, value in settings.items()]
    if sealed:
        with engine.cursor() as session:
            folders = attached.folders(session)
        if folders is not None:
            listed = ", ".join(map(literal, folders))
            statements += [f"SET allowed_directories = [{listed}]", "SET enable_external_access = false"]
    engine.lock(statements)


def restore(attached: Attached, cache: AnalyticsCache, session: Session) -> None:
    """Attach everything to a new instance of DuckDB, and drop what nothing can vouch for.

    A lake's answers are vouched for by its commit log, which is read on. A plain database has none, and what its last
    statement did before DuckDB gave up is not known: all that was read from it is dropped.
    """
    attached.restore(session)
    plain = [name for name, each in attached.by_name.items() if not each.catalog.is_lake]
    cache.apply_all(Change(catalog_key(name), name, NEVER) for name in plain)
