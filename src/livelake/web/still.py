"""A static picture of a dashboard: one HTML file that needs nothing else and runs nothing.

The panels are those of the live page, all read at one state of the data (I7). The file holds its style and icon, no
script, and says so to the browser by a content security policy that allows none.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from importlib.resources import files

from livelake.errors import LivelakeError, QueryError
from livelake.lake import Result
from livelake.live import LiveLake, State
from livelake.web.charts import ChartSpec
from livelake.web.draw import blank, draw
from livelake.web.folder import Dashboard, Query
from livelake.web.html import h
from livelake.web.pages import PanelView, dashboard_page
from livelake.web.parameters import Value

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_WHOLE = "\n.scroll { max-height: none; }\n"  # on paper nobody scrolls: tables are as long as they are
_ICON = re.compile(r'<link rel="icon"[^>]*>')
_STYLE = re.compile(r'<link rel="stylesheet"[^>]*>')
_SCRIPT = re.compile(r"<script\b[^>]*>.*?</script>", re.DOTALL)
_BAR = re.compile(r'<header class="bar">.*?</header>', re.DOTALL)  # navigation: there is nowhere to go


async def still(
    lake: LiveLake, dashboard: Dashboard, values: Mapping[str, Mapping[str, Value]], now: datetime
) -> str:
    """The picture as HTML. ``values`` are for each query; ``now`` is written on it.

    Raises what a query raises, with its file's name.
    """
    results = await at_one_state(lake, dashboard, values)
    views = [_view(query, results[name]) for name, query in dashboard.queries.items()]
    as_of = {catalog: at for result in results.values() for catalog, at in sorted(result.as_of.items())}
    newest = {catalog: max(result.as_of.get(catalog, 0) for result in results.values()) for catalog in as_of}
    told = ", ".join([f"{catalog} {version}" for catalog, version in sorted(newest.items())])
    line = f"{now:%Y-%m-%d %H:%M:%S %Z}" + (f" · as of {told}" if told else "")
    page = dashboard_page(
        dashboard.title, dashboard.description or None, views, None, controls=h("p", {"class": "note"}, line)
    )
    static = files("livelake.web") / "static"
    css, icon = (static / "livelake.css").read_text("utf-8"), (static / "icon.svg").read_bytes()
    return inlined(page, css, icon)


async def at_one_state(
    lake: LiveLake, dashboard: Dashboard, values: Mapping[str, Mapping[str, Value]]
) -> dict[str, Result]:
    """The results of a dashboard, all of one snapshot. Raises what a query raises, with its file's name."""
    questions = [
        lake.ask(each.sql, values[name], depends_on=each.depends_on) for name, each in dashboard.queries.items()
    ]
    page, moved = lake.page(questions), asyncio.Event()
    page.listen(moved.set)
    try:
        while True:
            moved.clear()
            frame = page.frame
            for query, state in zip(dashboard.queries.values(), frame.panels, strict=True):
                if isinstance(state.error, QueryError):
                    raise QueryError(f"{query.file}:{query.line}: {state.error}") from state.error
                if state.error is not None:
                    raise state.error
            results = [state.result for state in frame.panels if state.result is not None]
            if len(results) == len(questions) and not frame.late:
                return dict(zip(dashboard.queries, results, strict=True))
            await moved.wait()
    finally:
        await page.close()


def _view(query: Query, result: Result) -> PanelView:
    view, chart = blank(query), ChartSpec.parse(query.chart or {})
    try:
        return draw(view, replace(chart, view=None, title=chart.title or query.title), State(1, result))
    except LivelakeError:
        raise
    except Exception as error:  # as on the live page: a result that a chart cannot draw is this panel's trouble only
        return replace(view, state="error", message=f"this result cannot be drawn: {error}")


def inlined(page: str, css: str, icon: bytes) -> str:
    """``page``, one of ours, with its style and icon inside, and without its scripts. Pure."""
    picture = f"data:image/svg+xml;base64,{base64.b64encode(icon).decode()}"
    assert "</" not in css, "the style would end early"
    style = css.replace('url("icon.svg")', f'url("{picture}")') + _WHOLE
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>'
    page = _SCRIPT.sub("", page)
    page = _ICON.sub(lambda _: f'{policy}<link rel="icon" href="{picture}"/>', page, count=1)
    page = _STYLE.sub(lambda _: f"<style>{style}</style>", page, count=1)
    return _BAR.sub("", page, count=1)
