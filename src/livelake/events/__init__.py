"""Events and the buses that carry them."""

from livelake.events.bus import Bus, BusStats, Handler, Subscription
from livelake.events.event import Change, Doubt, Event, Signal
from livelake.events.local import LocalBus

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
]
