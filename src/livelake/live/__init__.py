"""Watched queries: refreshed after every change that matters, and fed to whoever watches."""

from livelake.live.feed import Feed, State, Topic
from livelake.live.page import Frame, Page
from livelake.live.service import LiveLake, open
from livelake.live.updates import Reason, Subscription, Update, Updates

__all__ = [
    "Feed",
    "Frame",
    "LiveLake",
    "Page",
    "Reason",
    "State",
    "Subscription",
    "Topic",
    "Update",
    "Updates",
    "open",
]
