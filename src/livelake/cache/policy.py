"""What a reader may ask for beyond a fresh answer. Pure."""

from __future__ import annotations

from typing import TypedDict


class Policy(TypedDict, total=False):
    """Keywords of `AnalyticsCache.read`, `get_or_compute` and `cached`. Times are float seconds.

    Of several callers who meet in one flight, the policy of the one who leads it decides how its answer is kept.
    """

    time_to_live: float | None
    """How long the answer stays fresh, counted from when its computation began; instead of the cache's."""

    time_to_idle: float | None
    """How long it stays without being read; instead of the cache's."""

    stale_while_revalidate: float | None
    """Take an answer that stopped being fresh at most so long ago, and have it computed in the background."""

    stale_if_error: float | None
    """If the computation fails, take an answer that stopped being fresh at most so long ago."""

    negative_ttl: float | None
    """Remember a failure for so long, or until a change comes: those who ask meanwhile get the same error."""

    fresh: bool
    """Refuse what is kept and what has begun: the answer was computed after the call. It is kept for others."""

    bypass: bool
    """Compute for this caller alone: nothing is looked up, shared or kept."""
