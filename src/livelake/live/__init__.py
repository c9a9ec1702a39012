"""Watched queries: refreshed after every change that matters, and fed to whoever watches."""

from livelake.live.feed import Feed, State, Topic
from livelake.live.refresh import Loaded, Refresher, Watched
from livelake.live.service import LiveLake, open

__all__ = ["Feed", "LiveLake", "Loaded", "Refresher", "State", "Topic", "Watched", "open"]
