"""Which of the labels along x are shown, so that none touches another: decided here, for four widths of a panel.

A drawing does not know how wide it will be. CSS hides a label of class ``w26`` in panels of up to 26rem, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

Label = tuple[float, str]
"""A share of the width, and what is written there."""

# Pixels of a plot beside the labels of its y axis, and the class of labels that only wider panels than its have room
# for: panels from 40rem on, from 26, from 18, and a quarter of a small screen.
_WIDEST = 565
_NARROWER = ((350, "tick w40"), (225, "tick w26"), (165, "tick w18"))
_LETTER, _IDEOGRAM, _GAP = 6.7, 12.0, 8.0


def shown(labels: Sequence[Label], start: int = 0) -> list[tuple[Label, str]]:
    """The labels that fit a wide panel, each with its classes; that at `start` is among those never hidden."""
    step = every = _doubled(labels, start, 1, _WIDEST)
    steps = []
    for width, kind in _NARROWER:
        step = _doubled(labels, start, step, width)
        steps.append((step, kind))
    return [
        (label, next((kind for step, kind in steps if (index - start) % step), "tick"))
        for index, label in enumerate(labels)
        if (index - start) % every == 0
    ]


def spacing(labels: Sequence[Label]) -> int:
    """The least distance of labels, in labels, at which they fit a wide panel."""
    return next((step for step in range(1, len(labels)) if _fit(labels[::step], _WIDEST)), max(1, len(labels)))


def anchor(share: float) -> Literal["start", "middle", "end"]:
    """Labels at the ends of an axis do not stand out beyond them."""
    return "start" if share < 0.03 else "end" if share > 0.97 else "middle"


def _doubled(labels: Sequence[Label], start: int, step: int, width: float) -> int:
    # Doubled, since calendars halve: of quarters remain the halves, with January among them, of hours midnight.
    while step < len(labels) and not _fit(labels[start % step :: step], width):
        step *= 2
    return step


def _fit(labels: Sequence[Label], width: float) -> bool:
    extents = (_extent(share, label, width) for share, label in labels)
    return all(right + _GAP <= left for (_, right), (left, _) in pairwise(extents))


def _extent(share: float, label: str, width: float) -> tuple[float, float]:
    wide = sum(_IDEOGRAM if letter >= "\u1100" else _LETTER for letter in label)
    before = {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor(share)] * wide
    return share * width - before, share * width - before + wide
