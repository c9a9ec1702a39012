"""The freshness core: a cache whose entries know what they depend on. Knows no engine and no bus."""

from livelake.cache.analytics_cache import AnalyticsCache
from livelake.cache.dependencies import CacheDependency
from livelake.cache.flight import Flight
from livelake.cache.policy import Policy
from livelake.cache.proactive import ProactiveRefresh
from livelake.cache.read import CacheStats, Explanation, Read, Status
from livelake.cache.refresh import Loaded, Refresher, Watched
from livelake.cache.slot import SEVERAL, Change, Slot

__all__ = [
    "SEVERAL",
    "AnalyticsCache",
    "CacheDependency",
    "CacheStats",
    "Change",
    "Explanation",
    "Flight",
    "Loaded",
    "Policy",
    "ProactiveRefresh",
    "Read",
    "Refresher",
    "Slot",
    "Status",
    "Watched",
]
