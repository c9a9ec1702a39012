"""Axes: which labels they have, how these are written, and how the numbers beside them are."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from livelake.web.charts import Mark, labels, ticks, values
from livelake.web.charts.formats import Format, duration
from web.drawing import T0, drawn, words

ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12)), timezone(timedelta(minutes=7))]
)


# ---- labels along x


def along(root: ElementTree.Element) -> list[tuple[str, str]]:
    """Each label under a drawing, after the class that may hide it."""
    return [(str(one.get("class"))[5:], str(one.text)) for one in root.iter("text") if one.get("dy") == "18"]


def named(*names: str) -> ElementTree.Element:
    rows = [{"name": name, "n": index} for index, name in enumerate(names)]
    return drawn({"mark": "bar", "x": "name", "y": "n"}, rows)


def test_labels_that_fit_are_never_hidden() -> None:
    assert along(named("a", "b")) == [("", "a"), ("", "b")]
    assert along(named("Mon", "Tue", "Wed", "Thu")) == [("", "Mon"), ("", "Tue"), ("", "Wed"), ("", "Thu")]


def test_labels_too_long_for_a_small_panel_are_hidden_there_alone() -> None:
    kinds = [kind for kind, _ in along(named("Kononenko", "Padalka", "Malenchenko", "Krikalyov"))]
    assert kinds == ["", "w26", "", "w26"]
    assert [kind for kind, _ in along(named("日本語の名前", "中国", "韓国", "台湾の都市の名前"))][1] != ""


@given(st.lists(st.text("il1mW日 ", min_size=1, max_size=20), min_size=1, max_size=200, unique=True))
def test_labels_that_are_shown_do_not_touch(names: list[str]) -> None:
    placed = [((index + 0.5) / len(names), name) for index, name in enumerate(names)]
    kept = labels.shown(placed[:: labels.spacing(placed)], 0)
    assert kept[0] == ((placed[0][0], placed[0][1]), "tick")
    classes = ["tick", "tick w18", "tick w26", "tick w40"]
    for width, seen in zip((165, 225, 350, 565), range(1, 5), strict=True):
        end = -math.inf
        for (share, name), kind in kept:
            if kind in classes[:seen]:
                wide = sum(12 if letter == "日" else 6.7 for letter in name)
                left = share * width - {"start": 0, "middle": wide / 2, "end": wide}[labels.anchor(share)]
                assert left >= end + 8
                end = left + wide


@pytest.mark.parametrize("count", [3, 12, 60, 200])
def test_long_names_of_many_bars_are_far_apart(count: int) -> None:
    told = along(named(*[f"category {index}" for index in range(count)]))
    assert all("…" not in name for _, name in told)
    assert 1 <= sum(kind == "" for kind, _ in told) <= 2
    assert len(told) <= 7


def test_what_is_left_of_the_labels_of_a_time_axis_tells_the_year_or_day() -> None:
    years = [{"at": date(2023, 6, 20) + timedelta(days=30 * i), "n": i} for i in range(37)]
    root = drawn({"mark": "line", "x": "at", "y": "n"}, years)
    assert [label for _, label in along(root)] == ["Jul", "2024", "Jul", "2025", "Jul", "2026"]
    kinds = [kind for kind, _ in along(root)]
    assert kinds == ["w26", ""] * 3
    days = [{"at": T0 + timedelta(hours=i), "n": i} for i in range(70)]
    root = drawn({"mark": "line", "x": "at", "y": "n"}, days)
    assert along(root) == [
        ("w26", "12:00"), ("", "Mar 2"), ("w26", "12:00"), ("", "Mar 3"), ("w26", "12:00"), ("", "Mar 4"),
    ]  # fmt: skip
    spring = [{"at": date(2024, 2, 10) + timedelta(days=i), "n": i} for i in range(150)]
    assert along(drawn({"mark": "line", "x": "at", "y": "n"}, spring))[0] == ("", "Mar 2024")


def test_bars_of_several_years_have_the_year_in_each_name() -> None:
    rows = [{"at": date(2023 + month // 12, month % 12 + 1, 1), "n": month} for month in range(30)]
    root = drawn({"mark": "bar", "x": "at", "y": "n"}, rows)
    assert along(root)[0] == ("", "Jan 2023")
    assert "Jul 2024: 18" in words(root)
    assert along(drawn({"mark": "bar", "x": "at", "y": "n"}, rows[:3])) == [("", "2023"), ("", "Feb"), ("", "Mar")]


@pytest.mark.parametrize("mark", ["line", "area", "point"])
def test_a_single_date_is_labelled_with_the_date(mark: Mark) -> None:
    for at, told in ((date(2026, 3, 1), "2026-03-01"), (T0, "2026-03-01 12:00:00")):
        root = drawn({"mark": mark, "x": "at", "y": "n"}, [{"at": at, "n": 1}, {"at": at, "n": 2}])
        assert along(root) == [("", told)]


def test_years_have_no_thousands_and_no_fractions() -> None:
    rows = [{"launch_year": 2000 + index, "n": index} for index in range(4)]
    root = drawn({"mark": "line", "x": "launch_year", "y": "n"}, rows)
    assert [label for _, label in along(root)] == ["2000", "2001", "2002", "2003"]
    assert "2002\nn: 2" in words(root)
    one = drawn({"mark": "point", "x": "launch_year", "y": "n"}, rows[:1])
    assert [label for _, label in along(one)] == ["1999", "2000", "2001"]


# ---- formats and ticks


@pytest.mark.parametrize(("name", "unit", "value", "told"), [
    (None, None, 1234567, "1,234,567"), (None, None, 0.000123, "0.000123"), (None, None, 1e21, "1e21"),
    (None, "°C", 21.5, "21.5°C"), (None, "days", 3, "3 days"), (None, None, -0.0, "0"),
    ("bytes", None, 999_999, "1 MB"), ("bytes", "/s", 1_234_567, "1.23 MB/s"), ("bytes", "bytes/s", 0, "0 B/s"),
    ("bytes", None, -2048, "-2.05 kB"), ("bytes", None, 1.5e24, "1,500,000 EB"),
    ("percent", None, 42.25, "42.2%"), (".1%", None, 0.4225, "42.2%"), (",.2f", "€", 1234.5, "1,234.50 €"),
    ("si", None, 0.0031, "3.1m"), ("si", "W", 45_600, "45.6k W"),
    ("d", None, 3.7, "4"), ("d", None, 10**20, "1" + "0" * 20),
    ("duration", None, 75, "1 min 15 s"), ("duration", None, timedelta(days=3, hours=4), "3 d 4 h"),
    ("duration", None, 0.0125, "12.5 ms"), (None, None, math.nan, "NaN"), (None, None, Decimal("1.5"), "1.5"),
])  # fmt: skip
def test_numbers_read_well(name: str | None, unit: str | None, value: Any, told: str) -> None:
    assert Format(name, unit)(value).replace("\u00a0", " ") == told


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_duration_is_short(seconds: float) -> None:
    assert len(duration(seconds)) < 40


ORDINARY = st.floats(-1e299, 1e299)


@given(ORDINARY, ORDINARY)
@example(0.0, 100.0)
@example(1e16, 1e16 + 2)
@example(0.1, 0.3)
def test_ticks_are_few_ordered_and_around_the_data(first: float, second: float) -> None:
    low, high = min(first, second), max(first, second)
    axis = ticks.numbers(low, high)
    assert 1 <= len(axis.places) <= 13
    assert list(axis.places) == sorted(axis.places)
    assert axis.low < axis.high
    slack = (axis.high - axis.low) * 1e-6
    assert axis.low <= low + slack
    assert axis.high >= high - slack


def test_round_numbers_are_chosen() -> None:
    assert ticks.numbers(0, 97).places == (0, 25, 50, 75, 100)
    assert ticks.numbers(0, 10).places == (0, 2, 4, 6, 8, 10)
    assert ticks.numbers(-3, 7).places == (-4, -2, 0, 2, 4, 6, 8)


@pytest.mark.parametrize(("low", "high", "labels"), [
    (0, 9e-9, ["0", "2e-9", "4e-9", "6e-9", "8e-9", "1e-8"]),
    (1e15, 1e15 + 5, ["5e14", "7.5e14", "1e15", "1.25e15", "1.5e15"]),
    (9e12, 9e12 + 400_000_000, ["9e12", "9.0001e12", "9.0002e12", "9.0003e12", "9.0004e12"]),
    (0, 1e9, ["0", "250,000,000", "500,000,000", "750,000,000", "1,000,000,000"]),
    (1, 1 + 8e-10, ["1.0000000000", "1.0000000002", "1.0000000004", "1.0000000006", "1.0000000008"]),
])  # fmt: skip
def test_labels_of_one_axis_are_in_one_notation_and_uncut(low: float, high: float, labels: list[str]) -> None:
    axis = ticks.numbers(low, high)
    assert Format().ticks(axis.places, axis.step) == labels
    rows = [{"x": 0, "n": low}, {"x": 1, "n": high}]
    assert "…" not in words(drawn({"mark": "line", "x": "x", "y": "n"}, rows))


@given(ORDINARY, ORDINARY, st.sampled_from([None, "percent"]))
def test_labels_of_one_axis_differ_and_fit(first: float, second: float, name: str | None) -> None:
    axis = ticks.numbers(min(first, second), max(first, second))
    written = Format(name).ticks(axis.places, axis.step)
    assert len(set(written)) == len(axis.places)
    assert max(map(len, written)) <= 24


def test_a_unit_too_long_for_an_axis_is_left_to_the_tooltips() -> None:
    written = Format(None, "requests per second")
    assert written.ticks([0, 1000], 1000) == ["0", "1,000"]
    assert Format(None, "days").ticks([0, 1000], 1000) == ["0\u00a0days", "1,000\u00a0days"]


@given(st.datetimes(timezones=ZONES), st.floats(0, 3e11), ZONES)
def test_time_ticks_lie_inside_and_have_labels(start: datetime, span: float, zone: timezone) -> None:
    low = values.moment(start)
    assert low is not None
    axis = ticks.moments(low, low + span, zone)
    assert len(axis.places) <= 12
    assert all(axis.low - 1e-6 <= place <= axis.high + 1e-6 for place in axis.places)
    assert all(ticks.moment_label(place, axis.step, zone) for place in axis.places)


@pytest.mark.parametrize(("span", "labels"), [
    (300, ["12:00", "12:01", "12:02", "12:03", "12:04", "12:05"]),
    (30, ["12:00:00", "12:00:05", "12:00:10", "12:00:15", "12:00:20", "12:00:25", "12:00:30"]),
    (86_400, ["12:00", "18:00", "Mar 2", "06:00", "12:00"]),
    (86_400 * 365, ["Apr", "Jul", "Oct", "2027"]),
])  # fmt: skip
def test_time_labels_say_what_changes(span: int, labels: list[str]) -> None:
    axis = ticks.moments(T0.timestamp(), T0.timestamp() + span, UTC)
    assert [ticks.moment_label(place, axis.step, UTC) for place in axis.places] == labels


def test_labels_are_in_the_zone_of_the_data() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    rows = [{"at": (T0 + timedelta(hours=i)).astimezone(zone), "n": i} for i in range(25)]
    root = drawn({"mark": "line", "x": "at", "y": "n"}, rows)
    labels = [str(one.text) for one in root.iter("text") if one.get("dy") == "18"]
    assert labels == ["18:00", "Mar 2", "06:00", "12:00"]
