"""The engine: runs SQL in threads and says what a SQL text reads.

The only package that imports duckdb and nanoarrow. It knows nothing of caches, lakes or events.
"""

from livelake.engine.connection import Engine
from livelake.engine.counters import EngineStats
from livelake.engine.extensions import load
from livelake.engine.pool import Job, Pool
from livelake.engine.quote import identifier, literal
from livelake.engine.reading import FileRef, Reads, TableRef, reads
from livelake.engine.result import ArrowData, Column
from livelake.engine.session import Parameters, Session
from livelake.engine.statement import Statement, gate

__all__ = [
    "ArrowData",
    "Column",
    "Engine",
    "EngineStats",
    "FileRef",
    "Job",
    "Parameters",
    "Pool",
    "Reads",
    "Session",
    "Statement",
    "TableRef",
    "gate",
    "identifier",
    "literal",
    "load",
    "reads",
]
