"""Keeps the answers of a DuckDB or DuckLake database cached, provably fresh, and pushed to whoever is watching.

Importing this starts nothing, and does not import the web part.
"""

from typing import TYPE_CHECKING, Any

from livelake.cache import AnalyticsCache, CacheDependency, CacheStats, Policy, ProactiveRefresh, windows
from livelake.clock import Clock, SystemClock
from livelake.engine import Limits
from livelake.errors import LivelakeError
from livelake.events import Bus, Event, LocalBus
from livelake.invalidation import CacheInvalidator
from livelake.keys import KeyExpr, KeyTree
from livelake.lake import Result, Why
from livelake.live import Feed, LiveLake, Update, open
from livelake.token import Token

if TYPE_CHECKING:
    from livelake.events import ZenohBus

__version__ = "0.1.0.dev0"

__all__ = [
    "AnalyticsCache",
    "Bus",
    "CacheDependency",
    "CacheInvalidator",
    "CacheStats",
    "Clock",
    "Event",
    "Feed",
    "KeyExpr",
    "KeyTree",
    "Limits",
    "LiveLake",
    "LivelakeError",
    "LocalBus",
    "Policy",
    "ProactiveRefresh",
    "Result",
    "SystemClock",
    "Token",
    "Update",
    "Why",
    "ZenohBus",
    "open",
    "windows",
]


def __getattr__(name: str) -> Any:
    if name == "ZenohBus":  # it needs livelake[zenoh]; nobody else shall wait for that import
        from livelake.events import ZenohBus

        return ZenohBus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
