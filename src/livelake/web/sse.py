"""Server-sent events as bytes: pure framing, no connection.

Follows the `event stream interpretation <https://html.spec.whatwg.org/multipage/server-sent-events.html>`_ of
the HTML standard. Lines are ended by ``\\n`` alone, fields come as event, id, retry, data, and one space
follows each colon. What a client parses equals what was sent, for any text, with two exceptions:

- SSE has no way to carry a carriage return: CR, LF and CRLF are all line ends. In data they all arrive as
  ``\\n``. Our payloads keep theirs: `livelake.web.html` writes ``&#13;`` and JSON writes ``\\r``.
- A lone surrogate is not text and arrives as U+FFFD.

U+2028, U+2029, NEL, VT and FF are ordinary characters here (``str.splitlines`` would break on them).
Callable from anywhere; wrong arguments raise `ValueError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LINE_END = re.compile(r"\r\n?")
_SURROGATE = re.compile("[\ud800-\udfff]")


def frame(
    *,
    event: str | None = None,
    data: Iterable[str] | str,
    id: str | None = None,  # noqa: A002  the field's own name
    retry_ms: int | None = None,
) -> bytes:
    """One event. Several strings of data are its lines; with none at all, only id and retry take effect."""
    fields = []
    if event is not None:
        fields.append(f"event: {_one_line('event', event)}\n")
    if id is not None:
        fields.append(f"id: {_one_line('id', id)}\n")
    if retry_ms is not None:
        if retry_ms < 0:
            raise ValueError(f"retry_ms is {retry_ms}: give milliseconds, 0 or more")
        fields.append(f"retry: {retry_ms:d}\n")
    texts = [data] if isinstance(data, str) else data
    fields.extend([f"data: {_prefixed(text, 'data: ')}\n" for text in texts])
    return encode("".join(fields) + "\n")


def comment(text: str = "") -> bytes:
    """A comment: keeps a connection open; no client shows it to its page."""
    return encode(f": {_prefixed(text, ': ')}\n\n")


def newlines(text: str) -> str:
    """`text` with every CR and CRLF as LF."""
    return _LINE_END.sub("\n", text) if "\r" in text else text


def encode(text: str) -> bytes:
    """UTF-8, total: what is no character becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode()


def _prefixed(text: str, prefix: str) -> str:
    return newlines(text).replace("\n", "\n" + prefix)


def _one_line(field: str, text: str) -> str:
    # A browser ignores an id with NUL, and would then resume from the one before.
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(f"{field} {text!r} contains a line end or NUL: it would end the field early")
    return text
