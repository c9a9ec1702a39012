"""Receipts: whether a commit whose answer was lost has happened, from the log itself.

Between us and a PostgreSQL catalog there is a wire. When it breaks while COMMIT is under way, nobody here knows
whether the server carried it out. So each transaction signs its commit (the log's ``commit_extra_info``, which
says nothing else), and after such an error the log is asked for the signature. Catalogs in files need none: there
a commit that fails has not happened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from livelake.engine import Engine, Session, identifier, literal
from livelake.errors import ConflictError, LivelakeError, QueryError, SourceError
from livelake.lake.attached import Attached
from livelake.lake.catalog import Log
from livelake.token import Token

_ASK_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.1
# The server may still be at it when the wire has broken; it has not been for as many looks.
_LOOKS: Final = 3


@dataclass
class Receipt:
    """Of one transaction. ``found``: the snapshots that only the log could tell of."""

    signature: str = field(default_factory=lambda: f"livelake:{uuid4().hex}")
    found: Token = field(default_factory=Token)


class Receipts:
    """Signs transactions and finds them again. Used on the writer's lane."""

    def __init__(self, engine: Engine, attached: Attached) -> None:
        self._engine = engine
        self._attached = attached
        self._names = [
            name
            for name, each in attached.by_name.items()
            if each.catalog.log is Log.POSTGRES and not each.is_read_only
        ]

    @contextmanager
    def transaction(self, session: Session) -> Iterator[Receipt]:
        """`Session.transaction`, whose end is certain: it was committed, or an error says that it was not.

        Where the log cannot be read either, the `SourceError` says that nobody knows, and what to look for.
        """
        receipt, reached_commit = Receipt(), False
        try:
            with session.transaction():
                for name in self._names:
                    session.execute(
                        f"CALL {identifier(name)}.set_commit_message(NULL, NULL, "
                        f"extra_info => {literal(receipt.signature)})"
                    )
                yield receipt
                reached_commit = True
        except (SourceError, QueryError) as error:
            if not reached_commit or isinstance(error, ConflictError) or not self._names:
                raise
            receipt.found = self._found(receipt.signature, error)
            if not receipt.found:
                raise SourceError(f"{error}; the commit did not reach the catalog, nothing was written") from error

    def _found(self, signature: str, lost: LivelakeError) -> Token:
        """The snapshots with this signature. Blocks until the log can be read, 10 s at most."""
        deadline, looks = time.monotonic() + _ASK_SECONDS, 0
        while True:
            try:
                versions = self._look(signature)
                looks += 1
            except LivelakeError as error:
                if time.monotonic() > deadline:
                    raise SourceError(
                        f"it is not known whether the transaction was committed: {lost}; its log cannot be read "
                        f"either: {error}. Look for commit_extra_info = '{signature}' in the lake's snapshots"
                    ) from lost
            else:
                if versions or looks == _LOOKS:
                    return Token(versions)
            time.sleep(_PAUSE_SECONDS)

    def _look(self, signature: str) -> dict[str, int]:
        versions: dict[str, int] = {}
        for name in self._names:
            with self._engine.cursor() as session:
                row = session.fetchone(
                    f"SELECT max(snapshot_id) FROM {self._attached.by_name[name].metadata}.ducklake_snapshot_changes"
                    " WHERE commit_extra_info = ?",
                    [signature],
                )
            if row and row[0] is not None:
                versions[name] = int(row[0])
        return versions
