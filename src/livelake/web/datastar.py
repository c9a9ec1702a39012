"""The two events of Datastar 1.0 as bytes, and livelake's heartbeat. Pure.

Byte for byte what ``datastar-py`` 1.0 writes for ordinary input; where it splits data on Unicode line breaks
or lets a newline in a selector inject fields, this does not. Datastar's own client and ``livelake.js`` both
read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

from livelake.web import sse

Mode = Literal["outer", "inner", "replace", "prepend", "append", "before", "after", "remove"]
_MODES = frozenset(get_args(Mode))

TICK_EVENT = "livelake-tick"
ANEW_EVENT = "livelake-anew"
RELOAD = sse.frame(event="livelake-reload", data="")
"""The page is not what is served any more: `livelake.js` loads it again. Datastar's client takes no notice."""


def patch_elements(
    html: str,
    *,
    selector: str | None = None,
    mode: Mode = "outer",
    id: str | None = None,  # noqa: A002  the field's own name
) -> bytes:
    """Put `html` into the page. Outer and replace find their target by the elements' own ids; the other modes
    need a selector, as Datastar has it. Mode remove takes no html.
    """
    if mode not in _MODES:
        raise ValueError(f"mode {mode!r} is unknown; use one of {', '.join(sorted(_MODES))}")
    if mode not in ("outer", "replace") and not selector:
        raise ValueError(f"mode {mode!r} needs a selector; only outer and replace find their target by id")
    lines = []
    if mode != "outer":
        lines.append(f"mode {mode}")
    if selector:
        if "\n" in selector or "\r" in selector:
            raise ValueError(f"selector {selector!r} contains a line end: it would inject a data line")
        lines.append(f"selector {selector}")
    if html:
        lines.append("elements " + sse.newlines(html).replace("\n", "\nelements "))
    return sse.frame(event="datastar-patch-elements", id=id, data=lines)


def patch_signals(
    signals: Mapping[str, Any],
    *,
    only_if_missing: bool = False,
    id: str | None = None,  # noqa: A002  the field's own name
) -> bytes:
    """Merge `signals`, JSON values only, into the page's; a null removes one. NaN raises `ValueError`."""
    lines = ["onlyIfMissing true"] if only_if_missing else []
    lines.append("signals " + json.dumps(dict(signals), separators=(",", ":"), allow_nan=False))
    return sse.frame(event="datastar-patch-signals", id=id, data=lines)


def heartbeat(now: datetime) -> bytes:
    """A comment for proxies and a ``livelake-tick`` for the page: EventSource hides comments from scripts.

    The tick's data is the server's `now` in milliseconds since 1970, so that ages are right on a machine
    whose clock is wrong. It carries no id: the last one stays. Send it first and then every 15 s; a page
    that hears nothing for 40 s reconnects.
    """
    return sse.comment("tick") + sse.frame(event=TICK_EVENT, data=str(round(now.timestamp() * 1000)))


def anew() -> bytes:
    """For a stream that resumes nothing: a ``livelake-anew``, after which the page counts no panel as fresh until it
    comes. It is of another server, or from before the connection was lost for long."""
    return sse.frame(event=ANEW_EVENT, data="all")
