"""The parameters of a page as a form. Pure; works without scripts, and ``page.js`` makes it immediate.

A plain GET form: what it sends is the URL that shows the same page, so links can be shared. A value that is
refused stays where it was typed, with the reason beneath; a control that cannot hold such a text (a number field
drops ``many``) becomes a text field.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from livelake.web.asked import Asked, Field
from livelake.web.charts.table import FORM
from livelake.web.html import Attribute, Markup, h, join
from livelake.web.parameters import LONGEST_TEXT, Parameter, spelled

MOST_OFFERS = 1_000
_MOST_IN_A_LIST = 100
"""More are searched by typing."""
# What Enter in a control presses: the first button of the form, which would be a table's head. Not `hidden`: WebKit
# presses only what it lays out.
_ENTERED = h("button", {"type": "submit", "class": "unseen", "tabindex": -1, "aria-hidden": "true"})


@dataclass(frozen=True, slots=True)
class Offer:
    """A value as a URL spells it, and what people call it."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Offers:
    """What the rows of a query offer for a parameter; ``problem`` says why there are none, or not all."""

    offers: tuple[Offer, ...] = ()
    problem: str | None = None


def offers_of(rows: Iterable[Mapping[str, object]]) -> Offers:
    """The first column as values, the second, if there is one, as labels. NULL is no value; each is offered once."""
    found: dict[str, Offer] = {}
    for row in rows:
        value, label = [*row.values(), None][:2]
        if value is None:
            continue
        if len(found) == MOST_OFFERS:
            return Offers(tuple(found.values()), f"Only the first {MOST_OFFERS:,} are offered")
        text = spelled(value) if isinstance(value, int | float | str | date) else _plain(value)
        found.setdefault(text, Offer(text, text if label is None else str(label)))
    return Offers(tuple(found.values()))


def controls(asked: Asked, offers: Mapping[str, Offers]) -> Markup:
    """The form, also where there is nothing to fill in: the buttons of tables belong to it."""
    drawn = [_field(field, offers.get(field.parameter.name)) for field in asked.fields]
    strays = [h("p", {"class": "problem", "role": "alert"}, text) for text in asked.strays]
    # Without scripts, a form that is sent keeps how the tables are looked at.
    hidden = [
        h("input", {"type": "hidden", "name": f"{view.panel}.{what}", "value": value})
        for view in asked.views.values()
        for what, value in (("sort", view.sort), ("page", view.page if view.page > 1 else ""))
        if value
    ]
    is_changed = any(field.given is not None and field.given != field.default for field in asked.fields)
    buttons = []
    if drawn:
        buttons.append(h("noscript", {}, h("button", {"type": "submit"}, "Show")))
        buttons.append(h("a", {"class": "reset", "href": "?", "hidden": not (is_changed or strays)}, "Reset"))
    kind = "controls" if drawn or strays else "controls bare"
    label = "Parameters" if drawn else None
    entered = _ENTERED if drawn else None
    return h("form", {"id": FORM, "class": kind, "aria-label": label}, entered, *strays, *drawn, *hidden, *buttons)


def _field(field: Field, offers: Offers | None) -> Markup:
    parameter = field.parameter
    own = f"control-{parameter.name}"
    said = field.problem or (offers.problem if offers else None)
    attributes: dict[str, Attribute] = {
        "id": own,
        "name": parameter.name,
        "required": field.required,
        "autocomplete": "off",
        "aria-invalid": "true" if field.problem else None,
        "aria-describedby": f"{own}-said",
    }
    kind = "problem" if field.problem else "hint"
    # There from the beginning, so that a script can fill it and screen readers hear of it.
    note = h("p", {"id": f"{own}-said", "class": kind, "hidden": not said}, said)
    label = h("label", {"for": own}, parameter.title or parameter.name)
    return h("div", {"class": "field"}, label, _control(field, attributes, offers), note)


def _control(field: Field, attributes: Mapping[str, Attribute], offers: Offers | None) -> Markup:
    parameter = field.parameter
    offered = _offered(parameter, offers)
    if offered and len(offered) <= _MOST_IN_A_LIST:
        return _select(field, attributes, offered)
    if offered:
        return _searched(field, attributes, offered)
    value = field.shown
    match parameter.type:
        case "integer" | "number" if _is_number(value):
            return _input(field, attributes, "number", **_number_bounds(parameter))
        case "date" if value == "" or _is_date(value):
            return _input(field, attributes, "date", **_bounds(parameter))
        case "timestamp" if _is_local(parameter, value):
            return _input(field, attributes, "datetime-local", step=1, **_bounds(parameter))
        case "timestamp":
            return _input(field, attributes, "text", placeholder="2024-01-15T12:30:00Z")
        case "string" | "choice":
            return _input(field, attributes, "text", **_lengths(parameter))
        case _:
            return _input(field, attributes, "text")


def _offered(parameter: Parameter, offers: Offers | None) -> Sequence[Offer]:
    if parameter.type == "boolean":
        return (Offer("true", "Yes"), Offer("false", "No"))
    if parameter.choices:
        return [Offer(str(choice), str(choice)) for choice in parameter.choices]
    return offers.offers if offers else ()


def _select(field: Field, attributes: Mapping[str, Attribute], offered: Sequence[Offer]) -> Markup:
    shown = field.shown
    options = []
    if field.parameter.default is None and not any(offer.value == "" for offer in offered):
        options.append(_option(Offer("", "Choose…" if field.required else "As each panel has it"), shown))
    if shown and all(offer.value != shown for offer in offered):
        options.append(_option(Offer(shown, f"{shown} (not offered)"), shown))
    options += [_option(offer, shown) for offer in offered]
    return h("select", {**attributes, "data-default": field.default}, *options)


def _option(offer: Offer, shown: str) -> Markup:
    return h("option", {"value": offer.value, "selected": offer.value == shown}, offer.label or "(empty)")


def _searched(field: Field, attributes: Mapping[str, Attribute], offered: Sequence[Offer]) -> Markup:
    own = f"{attributes['id']}-offers"
    box = _input(field, {**attributes, "list": own}, "text")
    listed = [
        h("option", {"value": each.value}, None if each.label == each.value else each.label) for each in offered
    ]
    return join([box, h("datalist", {"id": own}, *listed)])


def _input(field: Field, attributes: Mapping[str, Attribute], kind: str, **more: Attribute) -> Markup:
    default = field.default
    if kind == "datetime-local" and len(default) == 19:
        default = default.removesuffix(":00")  # as the browser spells it
    given: dict[str, Attribute] = {"type": kind, "value": field.shown, "data-default": default}
    return h("input", {**attributes, **given, **more})


def _bounds(parameter: Parameter) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {"min": parameter.low, "max": parameter.high}  # type: ignore[dict-item]
    return {name: spelled(bound) for name, bound in found.items() if bound is not None}


def _number_bounds(parameter: Parameter) -> dict[str, Attribute]:
    step = "any" if parameter.type == "number" else "1"
    found = {**_bounds(parameter), "step": spelled(parameter.step) if parameter.step else step}
    return {**found, "inputmode": "numeric" if parameter.type == "integer" else "decimal"}


def _lengths(parameter: Parameter) -> dict[str, Attribute]:
    most, least = parameter.max, parameter.min
    return {
        "maxlength": int(str(most)) if most not in (None, LONGEST_TEXT) else None,
        "minlength": int(str(least)) if least else None,
    }


def _is_number(text: str) -> bool:
    try:
        return text == "" or math.isfinite(float(text))
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_local(parameter: Parameter, text: str) -> bool:
    """Whether a wall clock can hold it: a moment with an offset would lose that."""
    known = (parameter.default, parameter.min, parameter.max)
    if any(isinstance(each, datetime) and each.tzinfo is not None for each in known):
        return False
    try:
        return text == "" or datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


def _plain(value: object) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)
