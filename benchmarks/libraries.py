"""The other caches, each used as its own documentation says, behind one small face.

A `Library` makes a `Cached`: how to read one key through a computation, and how to invalidate it. Libraries that
are not installed raise ImportError when made; whoever asks shows that as a row. Coroutine libraries get ``compute``
as a coroutine function; those for threads get a plain function and are read in threads.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.harness import installed

OURS = "livelake"
_number = itertools.count()


class Cached(NamedTuple):
    """One key of one cache."""

    read: Callable[[], Awaitable[Any]]
    invalidate: Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Library:
    """``make(compute)`` may be called any number of times; each has a cache of its own. ``how`` names the calls."""

    name: str
    package: str
    how: str
    make: Callable[[Callable[..., Any]], Cached]
    threads: bool = False

    @property
    def version(self) -> str | None:
        return installed(self.package)

    @property
    def label(self) -> str:
        return f"{self.name} {self.version or '(not installed)'}"


# -------------------------------------------------------------------- ours


def _livelake(compute: Callable[..., Any]) -> Cached:
    from livelake import AnalyticsCache

    cache = AnalyticsCache()

    async def invalidate() -> None:
        cache.apply("events/Todo/42/7")

    return Cached(lambda: cache.get_or_compute("key", compute, depends_on=_EVENTS), invalidate)


_EVENTS = ("events/Todo/**",)

# -------------------------------------------------------------------- for coroutines


def _cashews(**options: Any) -> Callable[[Callable[..., Any]], Cached]:
    def make(compute: Callable[..., Any]) -> Cached:
        from cashews import Cache

        cache = Cache()
        cache.setup("mem://")
        strategy = options.get("strategy", "")
        decorate = getattr(cache, strategy) if strategy else cache
        settings = {name: value for name, value in options.items() if name != "strategy"}

        @decorate(ttl="10m", key="key", tags=["tag"], **settings)
        async def read() -> Any:
            return await compute()

        return Cached(read, lambda: cache.delete_tags("tag"))

    return make


def _aiocache(*, stampede: bool) -> Callable[[Callable[..., Any]], Cached]:
    def make(compute: Callable[..., Any]) -> Cached:
        from aiocache import cached, cached_stampede

        key = f"key{next(_number)}"  # its locks are global
        decorate = cached_stampede(lease=60, key=key) if stampede else cached(key=key)

        @decorate
        async def read() -> Any:
            return await compute()

        return Cached(read, lambda: read.cache.delete(key))

    return make


def _async_lru(compute: Callable[..., Any]) -> Cached:
    from async_lru import alru_cache

    @alru_cache(maxsize=128)
    async def read() -> Any:
        return await compute()

    async def invalidate() -> None:
        read.cache_invalidate()

    return Cached(read, invalidate)


def _cachetools_async(compute: Callable[..., Any]) -> Cached:
    from cachetools import TTLCache
    from cachetools_async import cached

    store: Any = TTLCache(128, 600)

    @cached(store)
    async def read() -> Any:
        return await compute()

    async def invalidate() -> None:
        store.pop(read.cache_key(), None)

    return Cached(read, invalidate)


def _moka_async(compute: Callable[..., Any]) -> Cached:
    from moka_py import cached

    @cached(wait_concurrent=True)
    async def read() -> Any:
        return await compute()

    async def invalidate() -> None:
        read.cache_clear()  # it offers nothing finer

    return Cached(read, invalidate)


def _theine(compute: Callable[..., Any]) -> Cached:
    from theine import Memoize

    @Memoize(128, None)
    async def read() -> Any:
        return await compute()

    read.key(lambda: "key")

    async def invalidate() -> None:
        read._cache.delete("key")  # there is no documented way

    return Cached(read, invalidate)


# -------------------------------------------------------------------- for threads

THREADS = 64


@contextmanager
def reader_threads() -> Iterator[None]:
    """Give the running loop's `asyncio.to_thread` enough threads; `asyncio.run` ends them."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    yield


def _dogpile(compute: Callable[..., Any]) -> Cached:
    from dogpile.cache import make_region

    region = make_region().configure("dogpile.cache.memory")

    async def read() -> Any:
        return await asyncio.to_thread(region.get_or_create, "key", compute)

    async def invalidate() -> None:
        region.delete("key")

    return Cached(read, invalidate)


def _moka_threads(compute: Callable[..., Any]) -> Cached:
    from moka_py import Moka

    cache: Any = Moka(128)

    async def read() -> Any:
        return await asyncio.to_thread(cache.get_with, "key", compute)

    async def invalidate() -> None:
        cache.remove("key")

    return Cached(read, invalidate)


LIBRARIES = (
    Library(OURS, "livelake", "get_or_compute, apply", _livelake),
    Library("cashews", "cashews", "@cache(ttl), delete_tags", _cashews()),
    Library("cashews lock", "cashews", "@cache(ttl, lock=True), delete_tags", _cashews(lock=True)),
    Library("cashews early", "cashews", "@cache.early(ttl), delete_tags", _cashews(strategy="early")),
    Library("aiocache", "aiocache", "@cached, cache.delete", _aiocache(stampede=False)),
    Library("aiocache lease", "aiocache", "@cached_stampede, cache.delete", _aiocache(stampede=True)),
    Library("async-lru", "async-lru", "@alru_cache, cache_invalidate", _async_lru),
    Library("cachetools-async", "cachetools-async", "@cached(TTLCache), cache.pop", _cachetools_async),
    Library("theine", "theine", "@Memoize, its cache's delete", _theine),
    Library("moka-py async", "moka-py", "@cached(wait_concurrent=True), cache_clear", _moka_async),
    Library("moka-py threads", "moka-py", "get_with, remove", _moka_threads, threads=True),
    Library("dogpile.cache", "dogpile.cache", "region.get_or_create, delete", _dogpile, threads=True),
)
