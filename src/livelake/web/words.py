"""Words for messages. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def humane(name: str) -> str:
    words = re.sub(r"[_-]+", " ", name).strip() or name
    return words[0].upper() + words[1:]
