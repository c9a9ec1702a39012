"""The seed's keys as structures: what differs prints differently, and a print can be read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import livelake
from livelake import catalogs
from livelake.catalogs import EmbeddedKey, RemoteKey, SourceKey
from livelake.errors import UsageError

NAMES = st.text(alphabet=st.one_of(st.sampled_from(":%/. é\n"), st.characters(exclude_categories=["Cs"])), max_size=6)
KEYS: st.SearchStrategy[SourceKey] = st.one_of(
    st.builds(EmbeddedKey, NAMES, NAMES, NAMES, NAMES), st.builds(RemoteKey, NAMES, st.integers(), NAMES, NAMES)
)


@given(KEYS, KEYS)
def test_keys_never_collide(one: SourceKey, other: SourceKey) -> None:
    assert (str(one) == str(other)) == (one == other)
    assert catalogs.parse_key(str(one)) == one
    assert str(one).isprintable()


def test_keys_read_as_in_the_seed() -> None:
    assert str(EmbeddedKey("space", "7-ab", "main.astronauts", "9f")) == "embedded:space:7-ab:main.astronauts:9f"
    assert str(RemoteKey("ducklake:a", 7, "main.t", "9f")) == "remote:ducklake%3Aa:7:main.t:9f"


@pytest.mark.parametrize(
    "text", ["", "remote:a:b:c:d", "embedded:a:b:c", "other:a:b:c:d", "remote:a:٣:c:d", "embedded:a:%:b:c"]
)
def test_what_no_key_prints_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not the key"):
        catalogs.parse_key(text)


async def test_an_answer_s_keys_name_its_tables_at_their_versions(tmp_path: Path) -> None:
    others = {"b": f"ducklake:{tmp_path}/b.ducklake"}
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/a.sqlite", attach=others) as lake:
        await lake.execute("CREATE TABLE t AS SELECT 1 AS i")
        await lake.execute("CREATE TABLE b.t AS SELECT 2 AS i")
        await lake.execute("CREATE TABLE b.u AS SELECT 2 AS i")
        sql = "SELECT * FROM t, b.t AS other"
        one, two = catalogs.keys(lake, await lake.query(sql), sql)
        assert isinstance(one, RemoteKey)
        assert isinstance(two, RemoteKey)
        assert (one.table, one.snapshot, two.table, two.snapshot) == ("main.t", 1, "main.t", 1)
        assert one.source == f"ducklake:sqlite:{tmp_path}/a.sqlite"
        assert two.source == others["b"]
        await lake.execute("INSERT INTO b.t VALUES (3)")
        again = catalogs.keys(lake, await lake.query(sql), sql)
        assert (again[0] == one, again[1] == two) == (True, False)
