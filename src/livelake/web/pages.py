"""The pages of the server and the panels on them, as markup. Pure: what is shown comes in as arguments.

Descriptions are Markdown, everything else is text.

A panel is one element with a stable id, so that an ``outer`` patch of `panel` brings it up to date. Its
markup does not depend on the time of day: the age is a ``<time>`` that ``livelake.js`` counts, and equal
states give equal bytes. All pages work under ``default-src 'none'; style-src 'self'; script-src 'self'; connect-src
'self'; img-src 'self' data:``: there is no inline script and no style attribute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from livelake.web import markdown
from livelake.web.html import EMPTY, Markup, h, join, raw

State = Literal["fresh", "stale", "error", "loading"]
Span = Literal[1, 2, 3, 4, "full"]

_SPANS = (1, 2, 3, 4, "full")
_STATE_WORDS = {"fresh": "", "stale": "Stale", "error": "Error", "loading": "Loading"}
_UNSAFE_IN_ID = re.compile(r"[^A-Za-z0-9-]")
_DOCTYPE = raw("<!doctype html>\n")


@dataclass(frozen=True, slots=True)
class PanelView:
    """One panel as it stands. `body` is the last good result, if any; `message` says what is wrong."""

    id: str
    name: str
    title: str
    description: str | None = None
    span: Span = 1
    state: State = "fresh"
    computed_at: datetime | None = None
    message: str | None = None
    body: Markup = EMPTY
    why_url: str | None = None
    """Where it is told what the result depends on."""


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of the navigation."""

    title: str
    url: str
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """What all pages share: where the assets lie (`version` busts caches), the name, and the way home."""

    name: str = "livelake"
    home_url: str = "/"
    static_url: str = "/static"
    version: str = ""
    language: str = "en"
    logout_url: str | None = None
    """Where to log out; None for who has no session."""


@dataclass(frozen=True, slots=True)
class DashboardCard:
    """A dashboard in the list of all."""

    title: str
    url: str
    description: str | None = None
    panel_titles: tuple[str, ...] = field(default=())


DEFAULT_SITE = Site()


def element_id(panel_id: str) -> str:
    """The id of a panel's element, for any panel id: distinct ids give distinct elements, plain in CSS."""
    return "panel-" + _UNSAFE_IN_ID.sub(lambda match: f"_{ord(match[0]):x}_", panel_id)


def panel(view: PanelView) -> Markup:
    """The panel's element. A stale one keeps its last good body, dimmed, under a badge and the reason."""
    if view.span not in _SPANS:
        raise ValueError(f"span {view.span!r} is not one of {', '.join(map(str, _SPANS))}")
    own = element_id(view.id)
    heading = h("h2", {"id": f"{own}-title"}, view.title)
    attributes = {
        "id": own,
        "class": f"panel span-{view.span}",
        "data-state": view.state,
        "aria-labelledby": f"{own}-title",
        "aria-busy": "true" if view.state == "loading" else None,
    }
    about = h("div", {"class": "about"}, markdown.render(view.description)) if view.description else None
    header = h("header", {}, heading, _badge(view.state), _age(view.computed_at), _why(view))
    return h("section", attributes, header, about, _message(view), _body(view))


def notice(text: str | None) -> Markup:
    """What stands above a page that follows its files: why the newest are not served. Empty, it is not seen."""
    return h("div", {"id": "notice", "class": "notice", "role": "alert"}, h("p", {}, text) if text else None)


def dashboard_page(
    title: str,
    description: str | None,
    panels: Iterable[PanelView],
    live_url: str | None,
    *,
    nav: Sequence[Link] = (),
    controls: Markup = EMPTY,
    notice: Markup = EMPTY,
    site: Site = DEFAULT_SITE,
) -> str:
    """A live page: the panels as they stand, and where their changes come from (None: a still page)."""
    about = h("div", {"class": "lead"}, markdown.render(description)) if description else None
    intro = h("div", {"class": "intro"}, h("h1", {}, title), about, controls)
    drawn = [panel(view) for view in panels]
    grid = h("div", {"class": "grid"}, *drawn) if drawn else h("p", {"class": "empty"}, "No panels yet")
    return _page(title, join([notice, intro, grid]), site=site, nav=nav, live_url=live_url)


def index_page(dashboards: Iterable[DashboardCard], *, site: Site = DEFAULT_SITE) -> str:
    """All dashboards, each a link."""
    cards = [_card(card) for card in dashboards]
    listed = h("ul", {"class": "cards"}, *cards) if cards else h("p", {"class": "empty"}, "No dashboards yet")
    intro = h("div", {"class": "intro"}, h("h1", {}, "Dashboards"))
    return _page("Dashboards", join([intro, listed]), site=site)


def error_page(status: int, title: str, detail: str, *, site: Site = DEFAULT_SITE) -> str:
    """What went wrong, as a page."""
    back = h("p", {}, h("a", {"href": site.home_url}, "Back to the dashboards"))
    text = [
        h("p", {"class": "status"}, str(status)),
        h("h1", {}, title),
        h("p", {"class": "detail"}, detail),
        back,
    ]
    return _page(f"{status} {title}", h("div", {"class": "failure"}, *text), site=site)


def login_page(action: str, back: str, message: str | None = None, *, site: Site = DEFAULT_SITE) -> str:
    """The way in: a token is typed once. ``back`` is where to go then, ``message`` what was wrong just now."""
    wrong = h("p", {"class": "wrong", "id": "wrong", "role": "alert"}, message) if message else None
    told = h("p", {"class": "detail", "id": "told"}, "Whoever runs this server has given you a token. Type it once.")
    field = h(
        "input",
        {
            "id": "token",
            "name": "token",
            "type": "password",
            "autocomplete": "current-password",
            "maxlength": 1_024,
            "required": True,
            "aria-describedby": "wrong" if message else "told",
            "aria-invalid": "true" if message else None,
        },
    )
    form = h(
        "form",
        {"method": "post", "action": action},
        h("input", {"type": "hidden", "name": "next", "value": back}),
        h("label", {"for": "token"}, "Token"),
        field,
        wrong,
        h("button", {"type": "submit"}, "Log in"),
    )
    return _page("Log in", h("div", {"class": "login"}, h("h1", {}, "Log in"), told, form), site=site)


def _page(title: str, content: Markup, *, site: Site, nav: Sequence[Link] = (), live_url: str | None = None) -> str:
    version = f"?v={site.version}" if site.version else ""
    head = h(
        "head",
        {},
        h("meta", {"charset": "utf-8"}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("meta", {"name": "color-scheme", "content": "light dark"}),
        h("title", {}, title if title == site.name else f"{title} · {site.name}"),
        h("link", {"rel": "icon", "href": f"{site.static_url}/icon.svg{version}", "type": "image/svg+xml"}),
        h("link", {"rel": "stylesheet", "href": f"{site.static_url}/livelake.css{version}"}),
        # At once: a page that is dark by choice must not flash up in white.
        h("script", {"src": f"{site.static_url}/theme.js{version}"}),
        h("script", {"src": f"{site.static_url}/livelake.js{version}", "defer": True}),
        h("script", {"src": f"{site.static_url}/page.js{version}", "defer": True}),
    )
    skip = h("a", {"class": "skip", "href": "#content"}, "Skip to content")
    main = h("main", {"id": "content", "tabindex": -1}, content)
    body = h("body", {"data-live": live_url}, skip, _bar(site, nav, live_url), main)
    return _DOCTYPE + h("html", {"lang": site.language}, head, body)


def _bar(site: Site, nav: Sequence[Link], live_url: str | None) -> Markup:
    home = h("a", {"class": "home", "href": site.home_url}, h("i", {"class": "logo"}), site.name)
    links = [
        h(
            "li",
            {},
            h("a", {"href": link.url, "aria-current": "page" if link.is_current else None}, link.title),
        )
        for link in nav
    ]
    menu = h("nav", {"aria-label": "Dashboards"}, h("ul", {}, *links)) if links else None
    return h("header", {"class": "bar"}, home, menu, _connection() if live_url else None, _logout(site))


def _logout(site: Site) -> Markup | None:
    if site.logout_url is None:
        return None
    return h(
        "form",
        {"class": "logout", "method": "post", "action": site.logout_url},
        h("button", {"type": "submit"}, "Log out"),
    )


def _connection() -> Markup:
    """Filled by the client. The text changes with the state only, as screen readers announce it."""
    said = {"id": "connection", "class": "connection", "role": "status", "data-state": "connecting"}
    scriptless = h("noscript", {}, h("p", {"class": "connection"}, "Scripts are off: reload for newer data"))
    return join([h("p", said), scriptless])


def _badge(state: State) -> Markup | None:
    word = _STATE_WORDS[state]
    return h("span", {"class": f"badge {state}"}, word) if word else None


def _age(computed_at: datetime | None) -> Markup | None:
    if computed_at is None:
        return None
    utc = computed_at.astimezone(UTC)
    exact = utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    # Without scripts the reader sees the clock; with them, the age.
    return h("time", {"datetime": exact, "data-age": "", "title": exact}, f"{utc:%H:%M:%S} UTC")


def _why(view: PanelView) -> Markup | None:
    """Without scripts a link to the text; with them, the text over the page."""
    if view.why_url is None:
        return None
    asked = {"class": "why", "href": view.why_url, "aria-label": f"Why does {view.title} show this?"}
    return h("a", asked, "why")


def _message(view: PanelView) -> Markup | None:
    if view.state == "fresh" or not view.message:
        return None
    kept = view.state == "stale" and view.body
    lead = h("strong", {}, "Showing the last good result: ") if kept else None
    return h("p", {"class": "message"}, lead, view.message)


def _body(view: PanelView) -> Markup:
    if view.state == "loading" and not view.body:
        return h("div", {"class": "body skeleton"}, h("i", {}), h("i", {}), h("i", {}))
    if view.state == "error":
        told = None if view.message else h("p", {"class": "empty"}, "No result")
        return h("div", {"class": "body"}, told)
    return h("div", {"class": "body"}, view.body)


def _card(card: DashboardCard) -> Markup:
    about = h("p", {}, markdown.plain(card.description)) if card.description else None  # a link holds no other
    shown = ", ".join(card.panel_titles[:6]) + (", …" if len(card.panel_titles) > 6 else "")
    inside = h("p", {"class": "panels"}, shown) if shown else None
    return h("li", {}, h("a", {"href": card.url}, h("h2", {}, card.title), about, inside))
