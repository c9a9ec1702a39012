"""From the state of a watched query to what its panel shows. Pure, and the place where errors become words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from livelake.errors import LivelakeError, QueryError, SourceError
from livelake.live import State
from livelake.web.asked import Asked, spelled_out, waits_for
from livelake.web.charts import ChartSpec, render
from livelake.web.folder import Dashboard, Query
from livelake.web.html import h
from livelake.web.pages import PanelView, Span
from livelake.web.parameters import Value

_TABLE = ChartSpec(mark="table")


def blank(query: Query, values: Mapping[str, Value] | None = None) -> PanelView:
    """The view of a panel that has nothing to show yet; without values nobody can tell why.

    What is said of who asks stays out of the link: an address that gives it is refused.
    """
    given = {name: values[name] for name in query.open_params} if values else {}
    asked = f"?{spelled_out(given)}" if given else ""
    return PanelView(
        id=query.name,
        name=query.name,
        title=query.title,
        description=query.description or None,
        span=cast("Span", query.span),
        state="loading",
        why_url=None if values is None else f"../why/{query.name}{asked}",
    )


def waiting(dashboard: Dashboard, asked: Asked) -> list[PanelView]:
    """The panels of a page that lacks values, or has wrong ones: each says what it waits for."""
    return [
        replace(blank(query), state="fresh", body=h("p", {"class": "empty"}, _waits(query, asked)))
        for query in dashboard.queries.values()
    ]


def _waits(query: Query, asked: Asked) -> str:
    lacking = waits_for(query, asked)
    return f"Waits for: {lacking}" if lacking else "Waits until all that is asked above is right"


_LATE = "this is of an earlier state of the data than the other panels; its own is being computed"


def draw(
    view: PanelView, spec: ChartSpec | None, state: State, *, late: bool = False, details: bool = True
) -> PanelView:
    """The view of a panel in ``state``: the result drawn; on failure the message, over the last good result.

    ``late``: what there is does not belong to what the other panels show (I7), and says so.
    """
    if state.result is None:
        return replace(view, state="error", message=words(state.error, details), computed_at=None)
    columns = [(column.name, column.type) for column in state.result.columns]
    body = render(spec or _TABLE, columns, state.result.rows())
    drawn = replace(view, state="fresh", message=None, computed_at=state.result.computed_at, body=body)
    if state.error is None and not late:
        return drawn
    return replace(drawn, state="stale", message=_LATE if state.error is None else words(state.error, details))


def words(error: Exception | None, details: bool) -> str:
    """An error for the person in front of the page. Our own say what is so; foreign ones stay inside.

    Without ``details`` what DuckDB says of SQL and files stays inside, too.
    """
    told = isinstance(error, LivelakeError) and (details or not isinstance(error, QueryError | SourceError))
    return str(error) if told else "this query failed; the server's log says why"
