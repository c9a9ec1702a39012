"""Keeps the answers of a DuckDB or DuckLake database cached, provably fresh, and pushed to whoever is watching.

Importing this starts nothing, and does not import the web part.
"""

from livelake.cache import AnalyticsCache, CacheDependency, CacheStats, Policy, ProactiveRefresh, windows
from livelake.clock import Clock, SystemClock
from livelake.errors import LivelakeError
from livelake.events import Bus, Event, LocalBus
from livelake.invalidation import CacheInvalidator
from livelake.keys import KeyExpr, KeyTree
from livelake.lake import Result, Why
from livelake.live import Feed, LiveLake, open
from livelake.token import Token

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
    "LiveLake",
    "LivelakeError",
    "LocalBus",
    "Policy",
    "ProactiveRefresh",
    "Result",
    "SystemClock",
    "Token",
    "Why",
    "open",
    "windows",
]
