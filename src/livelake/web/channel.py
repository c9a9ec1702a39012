"""A channel: one dashboard with one set of parameters, rendered once for everybody who looks at it.

It follows a `livelake.live.Page`. When the page has a new frame, the panels that moved are drawn once, off the event
loop, and shown at one stroke to whoever follows the channel's broadcast (`livelake.web.fanout`): what a viewer sees
together is of one snapshot (I7).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from livelake.errors import BusyError, ClosedError, LivelakeError, QueryError, SourceError
from livelake.live import Frame, LiveLake, State
from livelake.web.charts import ChartSpec, TableView
from livelake.web.datastar import patch_elements
from livelake.web.draw import blank, draw
from livelake.web.fanout import Broadcast
from livelake.web.folder import Dashboard, Query
from livelake.web.html import Markup
from livelake.web.pages import PanelView, notice, panel
from livelake.web.parameters import Value

log = logging.getLogger("livelake.web")

# Seconds for which a channel stays warm after its last viewer has left: a reload finds everything drawn.
_LINGER = 5.0
# Channels at once: anybody can make up parameters, and each has its queries watched.
_MOST = 500


class Panel:
    """One panel of a channel: what it shows now, as a view and as a frame."""

    def __init__(self, query: Query, values: Mapping[str, Value], looked_at: TableView, details: bool) -> None:
        self.query = query
        self._details = details
        self.view = blank(query, values)
        self.frame = b""
        self.is_eager = query.refresh == "eager"
        spec = ChartSpec.parse(query.chart or {})
        self._spec = replace(spec, view=looked_at, title=spec.title or query.title)

    def draw(self, state: State, late: bool) -> PanelView:
        """How it looks in ``state``. Any thread."""
        error = state.error
        if error is not None and not isinstance(error, LivelakeError):
            log.error("query %s failed", self.query.name, exc_info=error)
        elif isinstance(error, QueryError | SourceError) and not self._details:
            log.warning("query %s failed: %s", self.query.name, error)
        try:
            return draw(self.view, self._spec, state, late=late, details=self._details)
        except Exception as error:  # a result that a chart cannot draw is this panel's trouble only
            log.exception("panel %s cannot be drawn", self.query.name)
            return replace(self.view, state="error", message=f"this result cannot be drawn: {error}")


class Channel:
    """See the module. Lives on the event loop of the lake."""

    def __init__(
        self,
        lake: LiveLake,
        dashboard: Dashboard,
        values: Mapping[str, Mapping[str, Value]],
        views: Mapping[str, TableView],
        details: bool,
    ) -> None:
        self.dashboard = dashboard
        loop = asyncio.get_running_loop()
        self.broadcast = Broadcast(loop.call_soon)
        self.viewers = 0
        queries = dashboard.queries
        self.panels = [
            Panel(each, values[name], views.get(name) or TableView(name), details) for name, each in queries.items()
        ]
        self._page = lake.page(
            [lake.ask(each.sql, values[name], depends_on=each.depends_on) for name, each in queries.items()],
            eager=[each.is_eager for each in self.panels],
        )
        self._drawn = Frame(panels=self._page.frame.panels)
        self._task = loop.create_task(self._follow())

    @property
    def is_overtaken(self) -> bool:
        """Whether a lazy panel shows data that has changed: whoever comes now gets a channel of today."""
        return any(not each.is_eager and each.view.state == "stale" for each in self.panels)

    @property
    def closed(self) -> bool:
        return self.broadcast.closed

    async def _follow(self) -> None:
        """Draw each newest frame, until cancelled."""
        moved = asyncio.Event()
        unlisten = self._page.listen(moved.set)
        try:
            while not self._page.closed:
                moved.clear()
                frame = self._page.frame
                if frame.number > self._drawn.number:
                    views = await asyncio.to_thread(self._draw, frame)
                    self._drawn = frame
                    self._show(views)
                    continue  # it may have moved while it was drawn
                await moved.wait()
        finally:
            unlisten()

    def _draw(self, frame: Frame) -> dict[Panel, PanelView]:
        """The views of the panels that look different in ``frame``."""
        drawn = self._drawn
        return {
            each: each.draw(frame.panels[at], at in frame.late)
            for at, each in enumerate(self.panels)
            if frame.panels[at].number > 0
            and (frame.panels[at] is not drawn.panels[at] or (at in frame.late) is not (at in drawn.late))
        }

    def _show(self, views: Mapping[Panel, PanelView]) -> None:
        """Panels have new views, all at once."""
        for each, view in views.items():
            each.view = view
            each.frame = patch_elements(panel(view))
        self.broadcast.show({each.query.name: each.frame for each in views})

    def announce(self, notice: Markup) -> None:
        """Show ``notice``, an element that the page has, to every viewer and to those who come later."""
        self.broadcast.show({"": patch_elements(notice)})  # no query has this name

    async def ready(self, timeout: float) -> None:
        """Wait until every panel has something to show, or ``timeout`` seconds are over."""
        news = asyncio.Event()
        unlisten = self.broadcast.listen(news.set)
        try:
            async with asyncio.timeout(timeout):
                while any(not each.frame for each in self.panels):
                    news.clear()
                    await news.wait()
        except TimeoutError:
            pass
        finally:
            unlisten()

    async def close(self) -> None:
        """Stop following and tell the viewers. Closing twice is fine."""
        if self.closed:
            return
        self.broadcast.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._page.close()


class Channels:
    """All open channels of one server. A channel lives while somebody looks, and a moment longer."""

    def __init__(self, lake: LiveLake, *, details: bool = True) -> None:
        """``details``: whether pages say what is wrong with a query; else the log does."""
        self._lake = lake
        self._details = details
        self._living: set[Channel] = set()  # also those that newcomers no longer enter
        self._open: dict[tuple[object, ...], Channel] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.notice = notice(None)

    def enter(
        self,
        dashboard: Dashboard,
        values: Mapping[str, Mapping[str, Value]],
        views: Mapping[str, TableView] = MappingProxyType({}),
    ) -> Channel:
        """The channel for these values, to be left with `leave`. Raises `BusyError`, `ClosedError`.

        Whoever looks at a table in the same way shares the drawing of it, too.
        """
        if self._closed:  # a stream that began now would never be told to end
            raise ClosedError("the server is stopping")
        looks = tuple(view for name, view in views.items() if view != TableView(name))
        key = (dashboard.name, *((name, tuple(bound.items())) for name, bound in values.items()), looks)
        channel = self._open.get(key)
        if channel is None or channel.is_overtaken:
            if len(self._living) >= _MOST:
                raise BusyError(f"{_MOST} pages with different parameters are open; try again later")
            self._open[key] = channel = Channel(self._lake, dashboard, values, views, self._details)
            self._living.add(channel)
            if self.notice != notice(None):
                channel.announce(self.notice)
        channel.viewers += 1
        return channel

    def leave(self, channel: Channel) -> None:
        """One viewer less."""
        channel.viewers -= 1
        if channel.viewers == 0 and not channel.closed:
            asyncio.get_running_loop().call_later(_LINGER, self._forsake, channel)

    def announce(self, text: str | None) -> None:
        """Say ``text`` above every page, now and from now on; None takes it away."""
        if self.notice == notice(text):
            return
        self.notice = notice(text)
        for channel in self._living:
            channel.announce(self.notice)

    async def end(self, which: Callable[[Channel], bool]) -> None:
        """End the streams of some channels; whoever comes for them again gets new ones."""
        ended = [channel for channel in self._living if which(channel)]
        self._living.difference_update(ended)
        self._open = {key: each for key, each in self._open.items() if each not in ended}
        for channel in ended:
            await channel.close()

    @property
    def viewers(self) -> int:
        return sum(channel.viewers for channel in self._living)

    def _forsake(self, channel: Channel) -> None:
        if channel.viewers == 0 and not channel.closed:
            self._open = {key: each for key, each in self._open.items() if each is not channel}
            self._living.discard(channel)
            task = asyncio.get_running_loop().create_task(channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End every stream, and begin no other. Closing twice is fine."""
        self._closed = True
        self._open.clear()
        while self._living:
            await self._living.pop().close()
        await asyncio.gather(*self._closing, return_exceptions=True)
