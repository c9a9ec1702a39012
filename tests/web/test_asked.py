"""What a URL asks of a dashboard, and the form that it is shown in."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.errors import ConfigError, ParameterError
from livelake.web.asked import Asked, read, shared_parameters, spelled_out, waits_for
from livelake.web.charts import TableView
from livelake.web.controls import MOST_OFFERS, Offer, Offers, controls, offers_of
from livelake.web.folder import Dashboard, Query
from livelake.web.parameters import Parameter, Value, spelled


def parameter(name: str, kind: str, **more: Any) -> Parameter:
    return Parameter(name=name, type=kind, **{"title": name.title(), **more})  # type: ignore[arg-type]


def query(name: str, *params: Parameter, **more: Any) -> Query:
    return Query(name=name, sql="", title=name, params={p.name: p for p in params}, file=Path(f"{name}.sql"), **more)


def dashboard(*queries: Query) -> Dashboard:
    return Dashboard(name="shop", title="Shop", queries={each.name: each for each in queries}, path=Path())


def asked(text: str, *queries: Query) -> Asked:
    return read(dashboard(*queries), parse_qsl(text, keep_blank_values=True))


LIMIT = parameter("limit", "integer", default=10, min=1, max=100)
SINCE = parameter("since", "date")
BAR = {"mark": "bar"}


# -- reading -------------------------------------------------------------------------------------------


def test_each_query_gets_its_own_values_and_defaults() -> None:
    found = asked("since=2024-01-15", query("a", LIMIT), query("b", LIMIT, SINCE), query("c"))
    assert found.bound() == {"a": {"limit": 10}, "b": {"limit": 10, "since": date(2024, 1, 15)}, "c": {}}
    assert [field.shown for field in found.fields] == ["10", "2024-01-15"]
    assert found.query_string == "since=2024-01-15"


def test_a_field_that_a_form_left_empty_is_not_given_unless_it_is_a_text() -> None:
    text = parameter("text", "string", default="x")
    found = asked("limit=&text=&since=", query("a", LIMIT, text))
    assert found.values["a"] == {"limit": 10, "text": ""}
    assert found.strays  # since is nobody's


@pytest.mark.parametrize(("given", "problem"), [
    ("limit=many", "'many' was given; it must be a whole number, such as 42"),
    ("limit=0", "'0' was given; it must be at least 1"),
    ("limit=5&limit=6", "it was given twice; say it once"),
])  # fmt: skip
def test_a_bad_value_is_kept_beside_its_reason(given: str, problem: str) -> None:
    found = asked(given, query("a", LIMIT), query("b"))
    (field,) = found.fields
    assert (field.given, field.problem) == (given.split("&")[0].partition("=")[2], problem)
    assert found.values == {"b": {}}
    assert not found.is_waiting
    with pytest.raises(ParameterError, match="parameter 'limit'"):
        found.bound()


def test_a_value_that_is_missing_is_waited_for() -> None:
    one, other = query("a", SINCE), query("b", LIMIT)
    found = asked("", one, other)
    assert found.is_waiting
    assert found.values == {"b": {"limit": 10}}
    assert (waits_for(one, found), waits_for(other, found)) == ("Since", "")
    with pytest.raises(ParameterError, match="'since' is missing"):
        found.bound()


def test_what_nobody_takes_is_told_and_what_a_stream_adds_is_not() -> None:
    found = asked("colour=red&last_event_id=x&datastar=%7B%7D", query("a", LIMIT))
    assert found.strays == ("dashboard 'shop' has no parameter 'colour'; it takes limit",)
    assert found.given == (("colour", "red"),)
    assert asked("last_event_id=x", query("a")).wrong is None


def test_tables_alone_are_sorted_and_paged() -> None:
    found = asked("t.sort=-name&t.page=3", query("t"), query("u"))
    assert found.wrong is None
    assert found.views == {"t": TableView("t", "-name", 3), "u": TableView("u")}
    assert asked("t.sort=x", query("t", chart=BAR)).strays
    assert asked("other.page=2", query("t")).strays
    assert asked("t.size=2", query("t")).strays


@pytest.mark.parametrize("page", ["", "0", "-1", "x", "²", "٣", "9" * 40, "1.5"])
def test_a_page_that_is_none_is_the_first(page: str) -> None:
    assert read(dashboard(query("t")), [("t.page", page)]).views["t"].page == 1


def test_the_last_of_several_looks_counts_because_a_form_sends_its_button_last() -> None:
    found = asked("t.sort=a&t.sort=-b&t.page=2&t.page=3", query("t"))
    assert found.views["t"] == TableView("t", "-b", 3)
    assert asked("t.sort=" + "x" * 300, query("t")).views["t"].sort == ""


@given(
    st.lists(st.tuples(st.sampled_from(["limit", "since", "t.sort", "t.page", "x", "", "."]), st.text(max_size=20)))
)
def test_reading_never_raises_and_says_of_each_query_what_it_has(pairs: list[tuple[str, str]]) -> None:
    found = read(dashboard(query("t", LIMIT), query("u", SINCE)), pairs)
    assert (found.wrong is None) == (set(found.values) == {"t", "u"} and not found.strays)
    controls(found, {})


# -- one control for several queries -------------------------------------------------------------------


def test_a_shared_name_has_the_narrowest_bounds_and_a_default_only_if_all_agree() -> None:
    one = parameter("n", "integer", default=5, min=1, max=50)
    other = parameter("n", "integer", default=7, min=3, max=90)
    field = shared_parameters(dashboard(query("a", one), query("b", other)))["n"]
    assert (field.parameter.min, field.parameter.max, field.parameter.default) == (3, 50, None)
    assert not field.required  # each panel has its own
    assert asked("", query("a", one), query("b", other)).bound() == {"a": {"n": 5}, "b": {"n": 7}}
    # What only one of them takes is told.
    assert (
        asked("n=70", query("a", one), query("b", other)).fields[0].problem == "'70' was given; it must be at most 50"
    )


def test_a_shared_name_that_cannot_be_one_control_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"b\.sql:1: params\.n is date here and integer in another"):
        shared_parameters(dashboard(query("a", parameter("n", "integer")), query("b", parameter("n", "date"))))
    choices = [parameter("n", "choice", choices=(each,)) for each in "xy"]
    with pytest.raises(ConfigError, match="no choice in common"):
        shared_parameters(dashboard(query("a", choices[0]), query("b", choices[1])))


def test_a_choice_from_rows_may_be_a_plain_text_elsewhere() -> None:
    one = parameter("region", "choice", source="SELECT 1")
    found = asked("region=x", query("a", parameter("region", "string")), query("b", one))
    assert found.fields[0].parameter.source == "SELECT 1"
    assert found.bound() == {"a": {"region": "x"}, "b": {"region": "x"}}


VALUES: list[tuple[str, Value]] = [
    ("integer", 5), ("number", 2.5), ("number", 1e300), ("string", "ä &=\n"), ("boolean", True), ("boolean", False),
    ("date", date(2024, 1, 15)), ("timestamp", datetime(2024, 1, 15, 12, 30)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_what_is_spelled_is_read_as_it_was(kind: str, value: Value) -> None:
    assert parameter("p", kind).parse(spelled(value)) == value
    assert parse_qsl(spelled_out({"p": value}), keep_blank_values=True) == [("p", spelled(value))]


# -- controls ------------------------------------------------------------------------------------------


def form(found: Asked, **offers: Offers) -> ElementTree.Element:
    # The form is well-formed but for bare attributes.
    text = controls(found, offers)
    for bare in ("required", "selected", "hidden"):
        text = text.replace(f" {bare}>", f' {bare}="">').replace(f" {bare}/>", f' {bare}=""/>')  # type: ignore[assignment]
        text = text.replace(f" {bare} ", f' {bare}="" ')  # type: ignore[assignment]
    return ElementTree.fromstring(text)


def control(found: Asked, **offers: Offers) -> ElementTree.Element:
    (one,) = [
        each
        for each in form(found, **offers).iter()
        if (each.get("id") or "").startswith("control-") and each.tag != "p" and each.tag != "datalist"
    ]
    return one


@pytest.mark.parametrize(("made", "attributes"), [
    (LIMIT, {"type": "number", "min": "1", "max": "100", "step": "1", "value": "10", "inputmode": "numeric"}),
    (parameter("n", "integer", min=-(2**63), max=2**63 - 1), {"type": "number", "min": None, "max": None}),
    (parameter("n", "number", step=0.5, min=0.0), {"type": "number", "step": "0.5", "min": "0", "required": ""}),
    (parameter("n", "number"), {"type": "number", "step": "any"}),
    (parameter("d", "date", default=date(2024, 1, 2)), {"type": "date", "value": "2024-01-02"}),
    (parameter("t", "timestamp", default=datetime(2024, 1, 2, 3, 4)),
     {"type": "datetime-local", "data-default": "2024-01-02T03:04"}),
    (parameter("t", "timestamp", default=datetime(2024, 1, 2, 3, 4, tzinfo=UTC)),
     {"type": "text", "value": "2024-01-02T03:04:00Z"}),
    (parameter("s", "string", min=2, max=9, default="ab"), {"type": "text", "minlength": "2", "maxlength": "9"}),
])  # fmt: skip
def test_each_type_has_its_control(made: Parameter, attributes: dict[str, str | None]) -> None:
    found = control(asked("", query("a", made)))
    assert {name: found.get(name) for name in attributes} == attributes
    assert found.get("name") == made.name


def test_a_label_and_a_note_belong_to_every_control() -> None:
    root = form(asked("limit=0", query("a", LIMIT, SINCE)))
    labels = {label.get("for"): label.text for label in root.iter("label")}
    assert labels == {"control-limit": "Limit", "control-since": "Since"}
    ids = {each.get("id") for each in root.iter()}
    for each in root.iter("input"):
        assert each.get("aria-describedby") in ids
    (problem,) = [each for each in root.iter("p") if each.get("class") == "problem"]
    assert problem.text == "'0' was given; it must be at least 1"


@pytest.mark.parametrize(
    ("kind", "given"), [("integer", "many"), ("number", "1,5"), ("date", "soon"), ("timestamp", "now")]
)
def test_a_value_that_its_control_could_not_hold_stays_as_text(kind: str, given: str) -> None:
    found = control(asked(f"p={given}", query("a", parameter("p", kind))))
    assert (found.get("type"), found.get("value"), found.get("aria-invalid")) == ("text", given, "true")


def options(found: Asked, **offers: Offers) -> list[tuple[str | None, str | None, bool]]:
    return [
        (each.get("value"), each.text, "selected" in each.attrib) for each in control(found, **offers).iter("option")
    ]


def test_choices_and_booleans_are_lists() -> None:
    made = parameter("c", "choice", choices=(2023, 2024), default=2024)
    assert options(asked("", query("a", made))) == [("2023", "2023", False), ("2024", "2024", True)]
    assert options(asked("c=1999", query("a", made)))[0] == ("1999", "1999 (not offered)", True)
    switch = parameter("b", "boolean")
    assert options(asked("b=false", query("a", switch))) == [
        ("", "Choose…", False),
        ("true", "Yes", False),
        ("false", "No", True),
    ]


def test_rows_are_offered_with_their_labels_and_a_link_to_what_is_gone_still_works() -> None:
    made = parameter("r", "choice", source="SELECT …", default="n")
    offers = Offers((Offer("n", "North"), Offer("s", "South")))
    assert options(asked("", query("a", made)), r=offers) == [("n", "North", True), ("s", "South", False)]
    found = asked("r=Atlantis", query("a", made))
    assert found.bound() == {"a": {"r": "Atlantis"}}
    assert options(found, r=offers)[0] == ("Atlantis", "Atlantis (not offered)", True)


def test_rows_that_cannot_be_read_leave_a_field_to_type_in_and_say_why() -> None:
    made = parameter("r", "choice", source="SELECT …", default="n")
    root = form(asked("", query("a", made)), r=Offers(problem="The choices cannot be read: gone"))
    assert root.find(".//input[@type='text']") is not None
    assert [p.text for p in root.iter("p")] == ["The choices cannot be read: gone"]


def test_many_rows_are_searched_by_typing() -> None:
    made = parameter("r", "choice", source="SELECT …", default="n")
    offers = Offers(tuple(Offer(str(i), f"<{i}>") for i in range(101)))
    root = form(asked("", query("a", made)), r=offers)
    box, listed = root.find(".//input[@name='r']"), root.find(".//datalist")
    assert box is not None
    assert listed is not None
    assert box.get("list") == listed.get("id")
    assert [(each.get("value"), each.text) for each in listed][:2] == [("0", "<0>"), ("1", "<1>")]


def test_offers_are_the_first_two_columns_each_once_and_not_null() -> None:
    rows: list[dict[str, object]] = [
        {"id": 1, "name": "one"},
        {"id": None, "name": "x"},
        {"id": 1, "name": "again"},
        {"id": 2.0, "name": None},
    ]
    assert offers_of(rows).offers == (Offer("1", "one"), Offer("2", "2"))
    assert offers_of([{"d": date(2024, 1, 5)}, {"d": Decimal("1E+2")}]).offers == (
        Offer("2024-01-05", "2024-01-05"),
        Offer("100", "100"),
    )
    many = offers_of({"n": i} for i in range(MOST_OFFERS + 1))
    assert (len(many.offers), many.problem) == (MOST_OFFERS, "Only the first 1,000 are offered")
    assert offers_of([]) == Offers()


def test_a_page_without_parameters_has_the_form_that_its_tables_need() -> None:
    root = form(asked("t.sort=-a", query("t")))
    assert (root.get("id"), root.get("class")) == ("controls", "controls bare")
    assert [(each.get("name"), each.get("value")) for each in root.iter("input")] == [("t.sort", "-a")]


def test_the_way_back_to_the_defaults_is_there_once_something_differs() -> None:
    def reset(text: str) -> bool:
        (link,) = form(asked(text, query("a", LIMIT))).iter("a")
        return "hidden" not in link.attrib

    assert not reset("")
    assert not reset("limit=10")
    assert reset("limit=11")
    assert reset("limit=x")


def test_hostile_text_is_only_text_in_every_control(hostile: str) -> None:
    made = [
        parameter("a", "string", title=hostile, default=hostile),
        parameter("b", "choice", choices=(hostile, "x"), default=hostile),
        parameter("c", "choice", source="x"),
        parameter("e", "choice", source="x"),
    ]
    offers = Offers((Offer(hostile, hostile),), hostile)
    many = Offers(tuple(Offer(f"{hostile}{i}", hostile) for i in range(200)), hostile)
    found = read(dashboard(query("q", *made)), [(name, hostile) for name in ("a", "b", "c", "e", hostile)])
    root = form(found, c=offers, e=many)
    allowed = {"form", "div", "label", "input", "select", "option", "datalist", "p", "noscript", "button", "a"}
    assert {each.tag for each in root.iter()} == allowed
    assert [link.get("href") for link in root.iter("a")] == ["?"]
