"""Users' callables as the cache runs them, and the decorator that keeps a function's answers."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from livelake.cache.arguments import key_of
from livelake.cache.flight import Flight, Run
from livelake.cache.policy import Policy
from livelake.errors import UsageError
from livelake.keys import KeyExpr

if TYPE_CHECKING:
    from livelake.cache.analytics_cache import AnalyticsCache

P = ParamSpec("P")
T = TypeVar("T")


def decorator(
    cache: AnalyticsCache,
    depends_on: frozenset[KeyExpr],
    key: Callable[..., Hashable] | None,
    policy: Policy,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """See `AnalyticsCache.cached`."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        def cache_key(*args: P.args, **kwargs: P.kwargs) -> Hashable:
            if key is not None:
                return (function.__qualname__, key(*args, **kwargs))
            return key_of(function, signature, args, kwargs)

        @functools.wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            call = functools.partial(function, *args, **kwargs)
            return await cache.get_or_compute(cache_key(*args, **kwargs), call, depends_on=depends_on, **policy)

        @functools.wraps(function)
        def plain(*args: P.args, **kwargs: P.kwargs) -> Any:
            call = functools.partial(function, *args, **kwargs)
            return cache.get_or_compute_sync(cache_key(*args, **kwargs), call, depends_on=depends_on, **policy)

        wrapper: Any = awaited if inspect.iscoroutinefunction(function) else plain
        wrapper.cache_key = cache_key
        return cast("Callable[P, T]", wrapper)

    return decorate


def plain(compute: Callable[[], Any]) -> Run[Any]:
    """A user's ``compute`` as a run: coroutine functions on the loop, others in a thread."""

    async def run(_flight: Flight[Any]) -> Any:
        if inspect.iscoroutinefunction(compute):
            return await compute()
        value = await asyncio.to_thread(compute)
        return await value if inspect.isawaitable(value) else value

    return run


def timestamp(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise UsageError(f"valid_until={moment!r} has no time zone; give an aware datetime")
    return moment.timestamp()


def has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
