"""Charts: whatever the values, well-formed markup that holds them as text only."""

from __future__ import annotations

import math
import re
import string
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livelake.engine import InfiniteTimestamp
from livelake.web.charts import ChartSpec, Mark, render, values
from livelake.web.charts.formats import Format
from livelake.web.charts.lines import natural
from web.drawing import T0, drawn, parsed, times, words

MARKS: tuple[Mark, ...] = get_args(Mark)
# ---- arbitrary input

ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12)), timezone(timedelta(minutes=7))]
)
TEXTS = st.text(st.characters(exclude_categories=()), max_size=30)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.floats(), st.decimals(), TEXTS,
    st.dates(), st.datetimes(), st.datetimes(timezones=ZONES), st.timedeltas(), st.times(),
    st.binary(max_size=40), st.uuids(),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
COLUMNS = st.sampled_from(
    [SCALARS, VALUES, st.floats(), st.integers(-5, 5), st.datetimes(timezones=ZONES), st.dates(), TEXTS, st.none()]
)
TYPES = st.sampled_from(
    ["BIGINT", "DOUBLE", "DECIMAL(18,3)", "VARCHAR", "TIMESTAMP WITH TIME ZONE", "DATE", "INTEGER[]", "", "?"]
)
FORMATS = st.sampled_from([None, "bytes", "percent", "si", "duration", ",.1f", ".0%", "d", "+.3e", "g", " ,.2f"])


@st.composite
def charts(draw: st.DrawFn) -> tuple[ChartSpec, list[tuple[str, str]], list[dict[str, Any]]]:
    names = draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
    contents = [draw(COLUMNS) for _ in names]
    count = draw(st.integers(0, 12))
    rows = [{name: draw(content) for name, content in zip(names, contents, strict=True)} for _ in range(count)]
    name = st.none() | st.sampled_from(names) | TEXTS.filter(bool)
    lowest = draw(st.none() | st.floats(-1e9, 1e9))
    spec = ChartSpec(
        mark=draw(st.sampled_from(MARKS)), x=draw(name), y=draw(name), color=draw(name),
        title=draw(st.none() | TEXTS), unit=draw(st.none() | TEXTS), format=draw(FORMATS),
        stack=draw(st.booleans()), min=lowest,
    )  # fmt: skip
    return spec, [(one, draw(TYPES)) for one in names], rows


@settings(max_examples=600, deadline=None)
@given(charts())
def test_no_input_raises_or_escapes_its_place(
    chart: tuple[ChartSpec, list[tuple[str, str]], list[dict[str, Any]]],
) -> None:
    parsed(render(*chart))


NUMBERS = st.one_of(
    st.floats(), st.none(), st.integers(-(10**320), 10**320), st.just(1e300), st.just(-1e300), st.just(5e-324)
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(MARKS),
    st.lists(NUMBERS, max_size=20),
    st.booleans(),
    FORMATS,
    st.sampled_from(["number", "time", "text"]),
)
@example("line", [1e16, 1e16 + 2], False, None, "number")
@example("bar", [1.7e308, -1.7e308, 5e-324], False, "si", "text")
def test_any_numbers_are_drawn(mark: Mark, ys: list[Any], is_stacked: bool, written: str | None, kind: str) -> None:
    make = {"number": float, "time": lambda i: T0 + timedelta(days=i**4), "text": lambda i: f"n{i % 3}"}[kind]
    rows = [{"x": make(i), "y": y, "c": f"c{i % 2}"} for i, y in enumerate(ys)]
    for color in (None, "c"):
        spec = ChartSpec(mark=mark, x="x", y="y", color=color, stack=is_stacked, format=written)
        parsed(render(spec, [("x", ""), ("y", "DOUBLE"), ("c", "VARCHAR")], rows))


@pytest.mark.parametrize("mark", MARKS)
def test_hostile_text_is_only_text_in_every_position(mark: Mark, hostile: str) -> None:
    rows = [{hostile: hostile, "n": 1.5, "c": hostile}, {hostile: "b", "n": 2, "c": [hostile, {hostile: hostile}]}]
    columns = [(hostile, hostile), ("n", "DOUBLE"), ("c", "VARCHAR")]
    for x, y in ((hostile, "n"), ("n", hostile), (None, None), ("missing", hostile)):
        spec = ChartSpec(mark=mark, x=x, y=y, color="c", title=hostile, unit=hostile)
        parsed(render(spec, columns, rows))


# ---- the spec


@pytest.mark.parametrize(("mapping", "told"), [
    ({"mrak": "bar"}, r"no key 'mrak' \(did you mean 'mark'\?\); it takes mark, x"),
    ({"mark": "pie"}, "chart.mark is 'pie'; it is one of value, table, bar"),
    ({"mark": ["bar"]}, "chart.mark"),
    ({"x": 3}, "chart.x is 3; it is a text"),
    ({"y": ""}, "chart.y is ''"),
    ({"stack": "yes"}, "chart.stack is 'yes'; it is true or false"),
    ({"min": "0"}, "chart.min is '0'; it is a number"),
    ({"max": math.nan}, "chart.max"),
    ({"min": 2, "max": 1}, "min must be less"),
    ({"format": "1000000000d"}, "chart.format is '1000000000d'; it is bytes, percent"),
    ({"format": "{0.__class__}"}, "chart.format"),
    ({"format": {"a": "pounds"}}, "chart.format is 'pounds'"),
    ({3: 4}, "no key 3"),
])  # fmt: skip
def test_a_wrong_key_is_named_with_what_is_allowed(mapping: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ChartSpec.parse(mapping)


def test_a_spec_parses_into_vega_lites_words() -> None:
    spec = ChartSpec.parse({"mark": "bar", "x": "days", "y": "name", "format": {"days": ",.0f"}, "max": 100})
    assert spec == ChartSpec(mark="bar", x="days", y="name", column_formats=(("days", ",.0f"),), max=100.0)
    assert spec.format_of("days") == ",.0f"
    assert ChartSpec.parse({}) == ChartSpec()
    assert hash(spec)


def test_a_column_that_is_not_there_is_said_in_place() -> None:
    root = drawn({"mark": "bar", "x": "total", "y": "name"}, [{"name": "a", "sum": 1}])
    assert words(root) == "Cannot draw this: the chart needs the column 'total'; the query returns name, sum"


@pytest.mark.parametrize("mark", MARKS)
def test_no_rows_are_said(mark: Mark) -> None:
    assert words(drawn({"mark": mark}, [])) == "No rows"


# ---- bars


def test_bars_lie_when_the_names_are_on_y() -> None:
    root = drawn(
        {"mark": "bar", "x": "days", "y": "name"},
        [{"name": "Kononenko", "days": 1110}, {"name": "Padalka", "days": 555}],
    )
    widths = [one.get("width") for one in root.iter("rect")]
    assert widths == ["100%", "50%"]
    assert "Kononenko: 1,110" in words(root)
    svg = root.find("svg")
    assert svg is not None
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == "days: bar chart of 2 by name; highest Kononenko 1,110, lowest Padalka 555"


def test_bars_stand_when_the_names_are_on_x_and_begin_at_zero() -> None:
    root = drawn({"mark": "bar", "x": "name", "y": "n"}, [{"name": "a", "n": 10}, {"name": "b", "n": -10}])
    up, down = root.iter("rect")
    assert (up.get("y"), up.get("height")) == ("0%", "50%")
    assert (down.get("y"), down.get("height")) == ("50%", "50%")


def test_parts_of_a_bar_are_stacked_by_color_and_same_ones_are_added() -> None:
    rows = [{"d": "x", "k": "a", "n": 1}, {"d": "x", "k": "b", "n": 2}, {"d": "x", "k": "a", "n": 1}]
    root = drawn({"mark": "bar", "x": "d", "y": "n", "color": "k"}, rows)
    assert [(one.get("y"), one.get("height")) for one in root.iter("rect")] == [("50%", "50%"), ("0%", "50%")]


def test_bars_beyond_the_most_are_counted_aloud() -> None:
    root = drawn({"mark": "bar", "x": "n", "y": "name"}, [{"name": f"p{i}", "n": i} for i in range(300)])
    assert len(list(root.iter("rect"))) == 50
    assert "50 of 300 bars" in words(root)


def test_a_number_too_large_to_draw_is_told_beside_its_bar_and_null_is_a_dash() -> None:
    rows = [{"name": "a", "n": -4e300}, {"name": "b", "n": None}, {"name": "c", "n": 2.0}]
    lying = drawn({"mark": "bar", "x": "n", "y": "name"}, rows)
    assert [one.text for one in lying.iter("text") if one.get("class") == "number"] == ["-4e+300", "—", "2"]
    standing = drawn({"mark": "bar", "x": "name", "y": "n"}, rows)
    assert "Cannot be drawn: a: -4e+300" in words(standing)


# ---- lines


def test_each_series_is_one_line_with_its_newest_value_in_the_legend() -> None:
    rows = [
        {"at": T0 + timedelta(seconds=i), "core": f"core {c}", "p": 10.0 * c + i}
        for i in range(10)
        for c in range(12)
    ]
    root = drawn({"mark": "line", "x": "at", "y": "p", "color": "core", "format": "percent"}, rows)
    assert [one.get("class") for one in root.iter("path")] == [f"line c{i}" for i in range(12)]
    names = [item.text for item in root.iter("span")]
    assert names == [f"core {i}" for i in range(12)]  # natural order: core 2 before core 10
    assert [item.text for item in root.iter("b")][:2] == ["9%", "19%"]


def test_more_than_sixteen_series_are_counted_aloud() -> None:
    rows = [{"at": T0 + timedelta(seconds=i), "s": f"s{s}", "n": i} for i in range(2) for s in range(40)]
    root = drawn({"mark": "line", "x": "at", "y": "n", "color": "s"}, rows)
    assert len(list(root.iter("path"))) == 16
    assert "16 of 40 series" in words(root)


def test_what_is_no_number_is_a_gap() -> None:
    ys = [1, 2, None, math.nan, math.inf, 3, None, 4]
    root = drawn({"mark": "line", "x": "at", "y": "n"}, times(8, n=lambda i: ys[i]))
    line, lone = ((path.get("class"), path.get("d", "").count("M")) for path in root.iter("path"))
    assert (line, lone) == (("line c0", 1), ("lone c0", 2))  # lone points are dots


def test_a_long_line_is_thinned_and_keeps_its_spike() -> None:
    root = drawn({"mark": "line", "x": "at", "y": "n"}, times(10_000, n=lambda i: 100.0 if i == 4321 else 0.0))
    path = next(root.iter("path")).get("d", "")
    assert path.count("L") < 700
    assert ",0L" in path


@pytest.mark.parametrize("spec", [{"mark": "line"}, {"mark": "area"}, {"mark": "area", "stack": True}])
def test_a_line_of_one_point_is_a_dot(spec: dict[str, Any]) -> None:
    root = drawn({**spec, "x": "at", "y": "n"}, times(1, n=lambda _: 5))
    assert [path.get("class") for path in root.iter("path")][-1] == "lone c0"


def test_areas_stack_to_their_sum() -> None:
    rows = [{"at": T0 + timedelta(seconds=i), "k": k, "n": n} for i in range(3) for k, n in (("a", 40), ("b", 60))]
    root = drawn({"mark": "area", "x": "at", "y": "n", "color": "k", "stack": True}, rows)
    first, second = (one.get("d", "") for one in root.iter("path"))
    assert "0,600" in first
    assert second.startswith("M0,0L")


def test_unordered_rows_are_drawn_in_order_of_time() -> None:
    rows = times(20, n=float)
    assert render(spec := ChartSpec("line", "at", "n"), c := [("at", ""), ("n", "")], rows[::-1]) == render(
        spec, c, rows
    )


@pytest.mark.parametrize("mark", ["line", "area", "point", "sparkline", "bar"])
@pytest.mark.parametrize("number", [0, 5, -3.5, 1e308, -1e308, 5e-324, 10**15])
def test_one_row_and_equal_values_are_drawn(mark: Mark, number: float) -> None:
    for count in (1, 3):
        root = drawn({"mark": mark, "x": "at", "y": "n"}, times(count, n=lambda _: number))
        assert root.find(".//svg") is not None or "no numbers" in words(root) or "Nothing" in words(root)


# ---- numbers and tables


def test_a_value_shows_its_course_its_comparison_or_its_companions() -> None:
    assert drawn({"mark": "value", "x": "at", "y": "n"}, times(5, n=lambda i: 1.5 * i)).find(".//svg") is not None
    compared = words(drawn({"mark": "value", "y": "now", "x": "before"}, [{"now": 110, "before": 100}]))
    assert "110" in compared
    assert "▲ 10% against before 100" in re.sub(" +", " ", compared)
    listed = drawn({"mark": "value", "format": ".2f"}, [{"load1": 0.5, "load5": 0.25, "load15": 0.125}])
    assert words(listed) == "0.50 load5 0.25 load15 0.12"
    assert drawn({"mark": "value"}, [{"n": 3, "course": [1, None, 3.0]}]).find(".//svg") is not None


def test_a_table_aligns_numbers_dims_null_and_counts_what_it_leaves_out() -> None:
    rows = [{"name": f"p{i}", "pid": 12345, "cpu": 1.5, "user": None} for i in range(300)]
    root = drawn({"mark": "table", "format": {"cpu": "percent"}}, rows, total_rows=5312)
    cells = next(iter(root.iter("tbody")))[0]
    assert [(cell.get("class"), cell.text) for cell in cells] == [
        (None, "p0"),
        ("num", "12345"),
        ("num", "1.50%"),
        ("null", "—"),
    ]
    assert "200 of 5,312 rows" in words(root)
    region = root.find("div")
    assert region is not None
    assert (region.get("role"), region.get("tabindex")) == ("region", "0")


def test_decimals_stand_in_line_in_a_column_of_floats() -> None:
    root = drawn({"mark": "table"}, [{"n": 3.14159}, {"n": 12.0}, {"n": 0.5}, {"n": math.nan}, {"n": math.inf}])
    assert [cell.text for cell in root.iter("td")] == ["3.14", "12.00", "0.50", "NaN", "∞"]


EXACT = [Decimal("455.25"), Decimal("10.20"), None, Decimal("-0.00"), Decimal("1234567.00")]


def test_exact_numbers_are_written_exactly_in_tables_and_as_values() -> None:
    root = drawn({"mark": "table", "y": "n", "unit": "€"}, [{"n": value} for value in EXACT])
    cells = [str(cell.text).replace("\u00a0", " ") for cell in root.iter("td")]
    assert cells == ["455.25 €", "10.20 €", "—", "0.00 €", "1,234,567.00 €"]
    assert words(drawn({"mark": "value"}, [{"n": Decimal("999.99"), "m": Decimal("10.25")}])) == "999.99 m 10.25"
    large = Decimal("123456789012345678901234567890123456.78")
    assert words(drawn({"mark": "value"}, [{"n": large}])) == f"{large:,}"


def test_exact_percentages_are_not_rounded_up_to_all() -> None:
    rows = [{"up": Decimal("99.99")}, {"up": Decimal("100.00")}]
    root = drawn({"mark": "table", "format": "percent"}, rows)
    assert [cell.text for cell in root.iter("td")] == ["99.99%", "100.00%"]
    assert words(drawn({"mark": "value", "format": "percent"}, rows[:1])) == "99.99%"


def test_exact_numbers_too_long_to_write_out_read_like_floats() -> None:
    third = [Decimal(3).scaleb(-1) + Decimal("1e-30"), Decimal(12) + Decimal("1e-25")]
    assert [Format()(value) for value in third] == ["0.3", "12"]
    root = drawn({"mark": "table"}, [{"n": value} for value in third])
    assert [cell.text for cell in root.iter("td")] == ["0.30", "12.00"]
    assert Format()(Decimal("1e200")) == "1e200"


@given(st.lists(st.decimals(-(10**9), 10**9, places=4), min_size=1), st.sampled_from([None, "percent"]))
def test_no_digit_of_an_exact_column_is_lost(column: list[Decimal], name: str | None) -> None:
    written = Format(name).aligned(column, exact=True)
    assert [Decimal(written(value).replace(",", "").rstrip("%")) for value in column] == column


def test_an_interval_is_written_as_a_duration_wherever_it_stands() -> None:
    waited = {"waited": timedelta(seconds=3723), "before": timedelta(seconds=75)}
    assert words(drawn({"mark": "value"}, [waited])) == "1 h 2 min before 1 min 15 s"
    assert words(drawn({"mark": "value", "format": ",.0f"}, [{"waited": waited["waited"]}])) == "3,723"
    lying = drawn({"mark": "bar", "x": "waited", "y": "name"}, [{"name": "a", **waited}])
    assert "a: 1 h 2 min" in words(lying)


@pytest.mark.parametrize(("value", "told"), [
    (None, "—"), (True, "true"), (b"\x01\xff", "0x01ff (2 bytes)"), (date(2024, 1, 5), "2024-01-05"),
    (datetime(2024, 1, 5, tzinfo=UTC), "2024-01-05"),
    (datetime(2024, 1, 5, 3, 4, 5, 500_000, UTC), "2024-01-05 03:04:05.5"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"), ([1, [2, None]], "[1, [2, —]]"),
    ({"a": {"b": 1}}, "{a: {b: 1}}"),
    (Decimal("1.10"), "1.10"), (Decimal("sNaN"), "NaN"), (Decimal("-Infinity"), "-∞"),
    ("x" * 900, "x" * 499 + "…"), (-math.inf, "-∞"),
])  # fmt: skip
def test_any_value_reads_well(value: object, told: str) -> None:
    assert values.text(value) == told


def test_an_integer_too_long_to_write_is_estimated() -> None:
    assert values.text(10**5000) == "≈1e5000"
    assert values.text(-(10**5000)) == "-≈1e5000"


def test_a_value_nested_without_end_is_cut() -> None:
    deep: list[Any] = []
    deep.append(deep)
    assert values.text(deep) == "[[[[[…]]]]]"
    assert len(values.text([list(range(10**6))])) <= 500


def test_a_foreign_value_that_cannot_be_written_is_named() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    assert values.text(Broken()) == "(Broken)"


@given(st.text(alphabet=string.ascii_letters + string.digits + "٣²"), st.text())
def test_natural_order_compares_any_names(first: str, second: str) -> None:
    assert isinstance(natural(first) < natural(second), bool)


def test_an_infinite_moment_is_a_word() -> None:
    assert values.text(InfiniteTimestamp(9999, 12, 31, tzinfo=UTC)) == "infinity"
    assert values.text(InfiniteTimestamp(1, 1, 1)) == "-infinity"
