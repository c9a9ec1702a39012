"""Real DuckDB, real DuckLake. The engine is shared by a module, the lakes are each test's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from livelake.engine import Engine, Reads, Session, identifier, literal, reads
from livelake.errors import QueryError

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[Engine]:
    with Engine(workers=2) as engine:
        engine.load_extension("ducklake")
        engine.load_extension("sqlite")
        yield engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(workers=2) as engine:
        yield engine


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with engine.cursor() as session:
        yield session


def with_an_escape(tree: str) -> str:
    """The same syntax tree with a text in it that needs an escape: it cannot be read without walking it."""
    return '{"escaped":"\\\\",' + tree.removeprefix("{")


@dataclass
class Lake:
    """An attached DuckLake catalog; ``session`` has it in use."""

    name: str
    session: Session

    def head(self) -> int:
        row = self.session.fetchone(f"SELECT id FROM {identifier(self.name)}.current_snapshot()")
        assert row is not None
        return int(row[0])

    def reads(self, sql: str) -> Reads:
        with self.session.transaction():
            heads = {self.name: self.head()}
            plan, tree = self.session.plan(sql, self.values(sql)), self.session.parse(sql)
            found = reads(plan, tree, heads=heads)
            assert reads(plan, with_an_escape(tree), heads=heads) == found, "walking the tree finds something else"
            return found

    def values(self, sql: str) -> dict[str, object] | list[object] | None:
        """Some value for every parameter of a statement: a list for ``$ids``, else 1."""
        try:
            names = self.session.statements(sql)[0].named_parameters
        except (QueryError, IndexError):
            return None
        if all(name.isdigit() for name in names):
            return [1] * len(names)
        return {name: [1] if name == "ids" else 1 for name in names}


def attach(session: Session, kind: str, folder: Path) -> Lake:
    name = f"lake{next(_NUMBERS)}"
    prefix, file, options = {
        "sqlite": ("ducklake:sqlite:", "meta.sqlite", ", META_JOURNAL_MODE 'WAL'"),
        "duckdb": ("ducklake:", "meta.ducklake", ""),
    }[kind]
    session.execute(
        f"ATTACH {literal(prefix + str(folder / file))} AS {name} "
        f"(DATA_PATH {literal(str(folder / 'data') + '/')}, OVERRIDE_DATA_PATH true{options})"
    )
    session.execute(f"USE {name}")
    return Lake(name, session)


@pytest.fixture(params=["sqlite", "duckdb"])
def lake(request: pytest.FixtureRequest, shared_engine: Engine, tmp_path: Path) -> Iterator[Lake]:
    with shared_engine.cursor() as session:
        lake = attach(session, request.param, tmp_path)
        yield lake
        session.execute("USE memory")
        session.execute(f"DETACH {lake.name}")
