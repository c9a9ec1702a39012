"""Watched queries: refreshed after every change that matters, and fed to whoever watches."""

from livelake.live.feed import Feed, State, Topic
from livelake.live.service import LiveLake, open

__all__ = ["Feed", "LiveLake", "State", "Topic", "open"]
