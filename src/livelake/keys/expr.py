"""Key expressions: Zenoh's language for sets of keys, as a canonical, bounded, immutable text.

Two expressions of one set that differ only in spelling (``a/**/*`` and ``a/*/**``) are one `KeyExpr`. The
limits keep every match cheap and every key inside what Zenoh can carry (longer keys kill its link,
unlimited wildcards make its routers' matching exponential). Pure; safe to call from any thread.

The shapes that livelake uses:

    events/{aggregate_type}/{aggregate_id}/{sequence}     something happened
    lake/{catalog}/{schema}/{table}                       a table of a lake
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from livelake.errors import KeyExprError
from livelake.keys import relation

__all__ = [
    "MAX_BYTES",
    "MAX_DEEP",
    "MAX_HOLES",
    "KeyExpr",
    "aggregate",
    "catalog",
    "decode_chunk",
    "encode_chunk",
    "event",
    "instance",
    "table",
]

MAX_BYTES: Final = 1024
"""Longest expression, in bytes of UTF-8, as written and as canonized."""
MAX_HOLES: Final = 2
"""Most ``$*`` in one chunk."""
MAX_DEEP: Final = 3
"""Most ``**`` in one expression."""

# ASCII only, so that characters are bytes; possessive, so that a mismatch is found in one pass.
_is_concrete = re.compile(r"[^/*$#?\x80-\U0010ffff]++(?:/[^/*$#?\x80-\U0010ffff]++)*+").fullmatch
_is_chunk = re.compile(r"\*\*?|(?:[^/*$#?\ud800-\udfff]|\$\*)+").fullmatch
_is_unreserved = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch
_holes = re.compile(r"(?:\$\*){2,}")
_new = str.__new__


class KeyExpr(str):
    """A canonical key expression: a `str` that is known to be one, equal to and hashing as its text.

    ``KeyExpr(text)`` canonizes or raises `KeyExprError`, which names the chunk, the rule and the remedy.
    Cost: under a microsecond for a concrete key of safe characters; other texts are remembered once
    canonized. Operations of `str` return plain `str`.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> KeyExpr:
        if type(text) is str and len(text) <= MAX_BYTES and _is_concrete(text):
            return _new(cls, text)
        if isinstance(text, KeyExpr):
            return text
        if not isinstance(text, str):
            raise KeyExprError(f"a key expression is text, and this is {type(text).__name__}; write it as a str.")
        return _new(cls, _canonical(text))

    @property
    def is_wild(self) -> bool:
        """Whether it can stand for more than one key (wildcard signs in a verbatim chunk are plain text)."""
        if "*" not in self:
            return False
        return any("*" in chunk and chunk[0] != "@" for chunk in self.split("/"))

    def intersects(self, other: str) -> bool:
        """Whether some key belongs to both; see `relation.intersects`."""
        return relation.intersects(self, KeyExpr(other))

    def includes(self, other: str) -> bool:
        """Whether every key of ``other`` belongs to this; sound, not complete: see `relation.includes`."""
        return relation.includes(self, KeyExpr(other))

    def __repr__(self) -> str:
        return f"KeyExpr({super().__repr__()})"


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    """The one spelling of ``text``, or `KeyExprError`. Linear."""
    _check_size(text)
    chunks: list[str] = []
    singles, deep = 0, False  # the run of `*` and `**` that is being read; their order does not matter

    def end_run() -> None:
        chunks.extend(["*"] * singles)
        if deep:
            chunks.append("**")

    for number, written in enumerate(text.split("/"), 1):
        chunk = _holes.sub("$*", written)
        if chunk in ("*", "$*"):
            singles += 1
        elif chunk == "**":
            deep = True
        elif _is_chunk(chunk) and chunk.count("$*") <= MAX_HOLES:
            end_run()
            singles, deep = 0, False
            chunks.append(chunk)
        else:
            raise KeyExprError(f"{_quoted(text)} is no key expression: chunk {number} {_fault(chunk)}.")
    end_run()
    if chunks.count("**") > MAX_DEEP:
        raise KeyExprError(
            f"{_quoted(text)} has {chunks.count('**')} `**`; at most {MAX_DEEP} are allowed."
            " Use `*` where exactly one chunk is meant, or split it into several expressions."
        )
    return "/".join(chunks)


def _check_size(text: str) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise KeyExprError(
            f"{_quoted(text)} has {size:,} bytes; a key expression has at most {MAX_BYTES:,}."
            " Shorten it; a hash stands well for a long id."
        )


def _fault(chunk: str) -> str:
    """What is wrong with a chunk that is wrong, and what to do."""
    if not chunk:
        return "is empty; put one slash between chunks, none at the ends, and write an empty id by encode_chunk"
    shown = f"({_quoted(chunk)}) "
    for sign in "#?":
        if sign in chunk:
            return shown + f"holds `{sign}`, which key expressions reserve; write ids by encode_chunk"
    if re.search(r"[\ud800-\udfff]", chunk):
        return shown + "holds a lone surrogate, which UTF-8 cannot carry; write ids by encode_chunk"
    if "$" in chunk.replace("$*", ""):
        return shown + "holds a `$` that is not followed by `*`; write ids by encode_chunk"
    if "*" in chunk.replace("$*", ""):
        return shown + (
            "has `*` beside other signs; `$*` is any text inside a chunk, `*` one whole chunk,"
            " `**` any number of chunks"
        )
    return shown + f"has more than {MAX_HOLES} `$*`; use fewer, or `*` for the whole chunk"


def _quoted(text: str) -> str:
    return repr(str(text)) if len(text) <= 80 else repr(text[:77]) + "…"


@lru_cache(maxsize=16_384)
def encode_chunk(id: str) -> str:  # noqa: A002 - the domain's word
    """Any text as one plain chunk, one to one: UTF-8 (surrogates let through), percent-encoded; "" is ``%``.

    The result has only ASCII letters, digits and ``_ . - ~ %``: never a wildcard, a slash or a leading ``@``.
    """
    if _is_unreserved(id):
        return id
    return quote(id.encode("utf-8", "surrogatepass"), safe="") or "%"


@lru_cache(maxsize=16_384)
def decode_chunk(chunk: str) -> str:
    """The text that `encode_chunk` made into ``chunk``; `KeyExprError` if it cannot have made it."""
    if _is_unreserved(chunk):
        return chunk
    try:
        text = "" if chunk == "%" else unquote_to_bytes(chunk).decode("utf-8", "surrogatepass")
    except UnicodeError:
        text = None
    if text is None or encode_chunk(text) != chunk:
        raise KeyExprError(f"{_quoted(chunk)} is not an encoded id; chunks are made by encode_chunk.")
    return text


def aggregate(type: str) -> KeyExpr:  # noqa: A002 - the domain's word
    """All events of one aggregate type: ``events/{type}/**``."""
    return _built(f"events/{encode_chunk(type)}/**")


def instance(type: str, id: str) -> KeyExpr:  # noqa: A002 - the domain's words
    """All events of one aggregate: ``events/{type}/{id}/**``."""
    return _built(f"events/{encode_chunk(type)}/{encode_chunk(id)}/**")


def event(type: str, id: str, sequence: int) -> KeyExpr:  # noqa: A002 - the domain's words
    """The key of one event: ``events/{type}/{id}/{sequence}``."""
    return _built(f"events/{encode_chunk(type)}/{encode_chunk(id)}/{sequence:d}")


def table(catalog: str, schema: str, table: str) -> KeyExpr:
    """The key of one table of a lake: ``lake/{catalog}/{schema}/{table}``."""
    return _built(f"lake/{encode_chunk(catalog)}/{encode_chunk(schema)}/{encode_chunk(table)}")


def catalog(name: str) -> KeyExpr:
    """All tables of one lake: ``lake/{name}/**``."""
    return _built(f"lake/{encode_chunk(name)}/**")


def schema(catalog: str) -> KeyExpr:
    """What the views and macros of one lake are: ``lake/{catalog}/schema``. No table has so short a key."""
    return _built(f"lake/{encode_chunk(catalog)}/schema")


def layout(catalog: str) -> KeyExpr:
    """How the rows of one lake are stored: ``lake/{catalog}/layout``. Changes with a compaction, unlike any table."""
    return _built(f"lake/{encode_chunk(catalog)}/layout")


def _built(text: str) -> KeyExpr:
    """An expression of encoded chunks: ASCII and canonical by construction, so that only its size is in doubt."""
    if len(text) > MAX_BYTES:
        _check_size(text)
    return _new(KeyExpr, text)
