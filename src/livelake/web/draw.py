"""From the state of a watched query to what its panel shows. Pure, and the place where errors become words."""

from __future__ import annotations

from dataclasses import replace

from livelake.errors import LivelakeError
from livelake.live import State
from livelake.web.charts import ChartSpec, render
from livelake.web.pages import PanelView

_TABLE = ChartSpec(mark="table")


def draw(view: PanelView, spec: ChartSpec | None, state: State) -> PanelView:
    """The view of a panel in ``state``: the result drawn; on failure the message, over the last good result."""
    if state.result is None:
        return replace(view, state="error", message=words(state.error), computed_at=None)
    columns = [(column.name, column.type) for column in state.result.columns]
    body = render(spec or _TABLE, columns, state.result.rows())
    drawn = replace(view, state="fresh", message=None, computed_at=state.result.computed_at, body=body)
    return drawn if state.error is None else replace(drawn, state="stale", message=words(state.error))


def words(error: Exception | None) -> str:
    """An error for the person in front of the page. Our own say what is so; foreign ones stay inside."""
    return str(error) if isinstance(error, LivelakeError) else "this query failed; the server's log says why"
