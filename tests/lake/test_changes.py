"""Commit rows → what changed: every shape that DuckLake writes, and anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.lake.changes import Names, decode

NAMES = Names.of([(1, "main", "orders"), (2, "main", "old"), (2, "main", "new"), (3, 's"x', "a,b")])


@pytest.mark.parametrize(
    "text",
    [
        "inlined_insert:1",
        "inserted_into_table:1",
        "deleted_from_table:1",
        "inlined_delete:1",
        "altered_table:1",
        "dropped_table:1",
    ],
)
def test_a_change_of_a_table_names_it(text: str) -> None:
    assert NAMES.of_commit(decode(7, 1, text)) == {("main", "orders")}


def test_a_commit_of_many_changes_names_all_tables() -> None:
    commit = decode(7, 1, 'created_table:"main"."zz",inlined_insert:1,inlined_insert:3')
    assert NAMES.of_commit(commit) == {("main", "zz"), ("main", "orders"), ('s"x', "a,b")}


def test_names_with_quotes_commas_and_dots_are_read() -> None:
    commit = decode(7, 1, 'created_table:"s""x"."a,b:1.""c""",dropped_table:1')
    assert commit.created == {('s"x', 'a,b:1."c"')}
    assert commit.tables == {1}


def test_a_rename_concerns_the_old_name_too() -> None:
    assert NAMES.of_commit(decode(7, 2, 'created_table:"main"."new"')) == {("main", "new"), ("main", "old")}


@pytest.mark.parametrize(
    "text", ["inline_flush:1", "merge_adjacent:1", "rewrite_delete:1", "inline_flush:1,merge_adjacent:3", "", None]
)
def test_compaction_and_empty_commits_change_nothing(text: str | None) -> None:
    assert decode(7, 1, text).changes_nothing


def test_a_flush_of_inlined_deletes_is_doubtful_not_a_change() -> None:
    commit = decode(7, 1, "inline_flush:1,deleted_from_table:1")
    assert (commit.tables, commit.doubtful, commit.compacts) == (frozenset(), {1}, True)
    assert decode(7, 1, "inline_flush:1,deleted_from_table:1,inlined_insert:1").tables == {1}
    assert decode(7, 1, "inline_flush:1,deleted_from_table:3").tables == {3}


@pytest.mark.parametrize(
    "text",
    [
        'created_view:"main"."v"',
        "dropped_view:3",
        'created_scalar_macro:"main"."f"',
        'created_schema:"s"',
        "something_new:1",
        "inlined_insert:x",
        "garbage",
        'created_table:"main"',
        'created_table:"main"."open',
    ],
)
def test_what_is_not_understood_is_a_change_to_everything(text: str) -> None:
    assert decode(7, 1, text).everything


def test_a_table_that_is_not_known_is_a_change_to_everything() -> None:
    assert NAMES.of_commit(decode(7, 1, "inlined_insert:99")) is None


@given(
    st.text()
    | st.lists(st.sampled_from(["inlined_insert", "created_table", ":", ",", '"', ".", "1", "main"])).map("".join)
)
def test_no_text_makes_it_raise_or_pass_unseen(text: str) -> None:
    commit = decode(7, 1, text)
    assert commit.snapshot == 7
    if commit.changes_nothing:
        assert all(
            part.split(":")[0]
            in ("inline_flush", "flushed_inlined", "merge_adjacent", "rewrite_delete", "compacted_table", "")
            for part in text.split(",")
        )


_identifier = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(_identifier, _identifier, st.integers(0, 10**6))
def test_any_name_survives_the_log(schema: str, table: str, other: int) -> None:
    quoted = ".".join('"' + name.replace('"', '""') + '"' for name in (schema, table))
    commit = decode(7, 1, f"created_table:{quoted},inlined_insert:{other}")
    assert (commit.created, commit.tables, commit.everything) == ({(schema, table)}, {other}, None)
