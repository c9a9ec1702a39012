"""Events and the buses that carry them. `ZenohBus` is imported when it is asked for; it needs ``livelake[zenoh]``."""

from typing import TYPE_CHECKING, Any

from livelake.events.bus import Bus, BusStats, Handler, Subscription
from livelake.events.event import Change, Doubt, Event, Signal
from livelake.events.local import LocalBus

if TYPE_CHECKING:
    from livelake.events.zenoh import ZenohBus

__all__ = [
    "Bus",
    "BusStats",
    "Change",
    "Doubt",
    "Event",
    "Handler",
    "LocalBus",
    "Signal",
    "Subscription",
    "ZenohBus",
]


def __getattr__(name: str) -> Any:
    if name == "ZenohBus":
        from livelake.events.zenoh import ZenohBus

        return ZenohBus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
