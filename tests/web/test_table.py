"""Tables that are sorted and paged: on the server, and with the orders that a script sorts by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.web.charts import ChartSpec, TableView, render

PLAIN = TableView("people")


def drawn(rows: list[dict[str, Any]], view: TableView | None = PLAIN, **more: Any) -> ElementTree.Element:
    total = more.pop("total_rows", None)
    spec = ChartSpec.parse({"mark": "table", **more})
    columns = [(name, "") for name in rows[0]]
    return ElementTree.fromstring(f"<root>{render(replace(spec, view=view), columns, rows, total_rows=total)}</root>")


def column(root: ElementTree.Element, at: int = 0) -> list[str | None]:
    return [row[at].text for row in root.iter("tr") if row[0].tag == "td"]


def heads(root: ElementTree.Element) -> list[ElementTree.Element]:
    return list(root.iter("th"))


def said(root: ElementTree.Element) -> str:
    return " ".join(text for each in root if each.tag in ("p", "nav") for text in each.itertext())


def numbers(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"n": value} for value in values]


def test_heads_are_buttons_that_ask_for_rising_then_falling_then_the_own_order() -> None:
    asked = []
    for sort in ("", "n", "-n"):
        (head,) = heads(drawn(numbers([2, 1]), replace(PLAIN, sort=sort)))
        (button,) = head
        assert (button.tag, button.get("type"), button.get("form"), button.text) == (
            "button",
            "submit",
            "controls",
            "n",
        )
        asked.append((head.get("aria-sort"), button.get("name"), button.get("value")))
    names = ["people.sort"] * 3
    assert asked == list(zip([None, "ascending", "descending"], names, ["n", "-n", ""], strict=True))


def test_without_a_reader_there_are_no_buttons() -> None:
    root = drawn(numbers(range(30)), None, page_size=10)
    assert list(root.iter("button")) == []
    assert "10 of 30 rows" in said(root)


def test_rows_are_sorted_with_null_last_either_way() -> None:
    rows = numbers([3, None, 1, 2, None])
    assert column(drawn(rows, replace(PLAIN, sort="n"))) == ["1", "2", "3", "—", "—"]
    assert column(drawn(rows, replace(PLAIN, sort="-n"))) == ["3", "2", "1", "—", "—"]
    assert column(drawn(rows)) == ["3", "—", "1", "2", "—"]


@pytest.mark.parametrize("ordered", [
    [2**63, 2**63 + 1, 2**64 - 1],  # no float tells the first two apart
    [-math.inf, -1.5, Decimal("0.1"), 2, math.inf],
    ["ä", "Z", "ß", "ℵ"], ["a", "B", "c"], [False, True],
    [date(2024, 1, 5), date(2024, 2, 1)],
    [datetime(2024, 1, 5, tzinfo=UTC), datetime(2024, 1, 5, 1, tzinfo=UTC)],
    [timedelta(seconds=5), timedelta(days=1)],
    [[1], [2], [3]],
], ids=repr)  # fmt: skip
def test_each_kind_of_value_has_its_order(ordered: list[Any]) -> None:
    if ordered[0] == "ä":
        ordered = sorted(ordered, key=lambda text: (text.casefold(), text))
    expected = column(drawn(numbers(ordered)))
    for shuffled in (ordered[::-1], ordered[1:] + ordered[:1]):
        assert column(drawn(numbers(shuffled), replace(PLAIN, sort="n"))) == expected


@pytest.mark.parametrize("sort", ["other", "-other", "--n", "-", "N", "n; DROP TABLE n", "<img>"])
def test_a_column_that_is_none_sorts_nothing(sort: str) -> None:
    root = drawn(numbers([2, 1]), replace(PLAIN, sort=sort))
    assert column(root) == ["2", "1"]
    assert [head.get("aria-sort") for head in heads(root)] == [None]


def test_a_column_whose_name_begins_with_a_dash_can_be_sorted() -> None:
    rows = [{"-n": 2}, {"-n": 1}]
    assert column(drawn(rows, replace(PLAIN, sort="-n"))) == ["1", "2"]
    assert column(drawn(rows, replace(PLAIN, sort="--n"))) == ["2", "1"]


CELLS = st.none() | st.integers() | st.floats() | st.decimals() | st.text(max_size=5) | st.booleans() | st.dates()


@given(st.lists(CELLS, min_size=2, max_size=30), st.sampled_from(["", "n", "-n"]))
def test_any_values_are_sorted_and_none_is_lost(values: list[Any], sort: str) -> None:
    rows = [{"n": value, "at": f"r{index}"} for index, value in enumerate(values)]
    assert sorted(filter(None, column(drawn(rows, replace(PLAIN, sort=sort)), 1))) == sorted(
        row["at"] for row in rows
    )


@given(st.lists(st.none() | st.integers(-5, 5), min_size=2, max_size=30))
def test_the_orders_for_scripts_give_what_the_server_gives(values: list[int | None]) -> None:
    root = drawn(numbers(values))
    (head,) = heads(root)
    order = [int(index) for index in (head.get("data-order") or "").split()]
    shown = column(root)
    rising = [shown[index] for index in order]
    assert rising == column(drawn(numbers(values), replace(PLAIN, sort="n")))
    count = sum(value is not None for value in values)  # as page.js turns it round
    assert rising[:count][::-1] + rising[count:] == column(drawn(numbers(values), replace(PLAIN, sort="-n")))


def test_a_large_table_comes_in_pages_that_say_where_they_are() -> None:
    rows = numbers(range(25))
    for page, first, last in ((1, "0", "9"), (2, "10", "19"), (3, "20", "24")):
        root = drawn(rows, replace(PLAIN, page=page), page_size=10)
        shown = column(root)
        assert (shown[0], shown[-1]) == (first, last)
        assert f"{int(first) + 1}–{int(last) + 1} of 25 rows" in said(root)
        assert f"{page} / 3" in said(root)
        ways = {
            one.get("aria-label"): (one.get("value"), one.get("aria-disabled"))
            for one in root.iter("button")
            if one.get("aria-label")
        }
        assert ways == {
            "Previous page": (str(max(1, page - 1)), "true" if page == 1 else None),
            "Next page": (str(min(3, page + 1)), "true" if page == 3 else None),
        }
        assert not [head for head in heads(root) if head.get("data-order")]  # a script has but one page
    assert column(drawn(rows, replace(PLAIN, page=999), page_size=10))[0] == "20"
    assert column(drawn(rows, replace(PLAIN, sort="-n", page=2), page_size=10))[0] == "14"


def test_rows_are_counted_where_they_are_not_seen_at_a_glance() -> None:
    assert said(drawn(numbers(range(3)))) == ""
    assert said(drawn(numbers(range(11)))) == "11 rows"
    assert "1–200 of 1,234 rows" in said(drawn(numbers(range(1_234))))
    root = drawn(numbers(range(20_000)), total_rows=50_000)
    assert "1–200 of the first 20,000 of 50,000 rows" in said(root)
    region = root.find("div[@role='region']")
    assert region is not None
    assert region.get("aria-label") == "Table, 50,000 rows"


@pytest.mark.parametrize("size", [0, -1, 1_001, 2.5, True, "10"])
def test_a_page_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="page_size"):
        ChartSpec.parse({"page_size": size})


def test_hostile_text_is_only_text_in_cells_names_and_buttons(hostile: str) -> None:
    rows = [{hostile: hostile, "n": number} for number in range(30)]
    for view in (replace(PLAIN, sort=hostile), replace(PLAIN, sort="-" + hostile)):
        root = drawn(rows, view, page_size=10, title=hostile)
        tags = {each.tag for each in root.iter()} - {"root"}
        assert tags == {"div", "table", "thead", "tbody", "tr", "th", "td", "button", "nav", "span"}
