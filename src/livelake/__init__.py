"""Keeps the answers of a DuckDB or DuckLake database cached, provably fresh, and pushed to whoever watches."""

__version__ = "0.1.0.dev0"
