"""The engine: runs SQL in threads and says what a SQL text reads.

The only package that imports duckdb and nanoarrow. It knows nothing of caches, lakes or events.
"""

from livelake.engine.answering import UnkeepableError
from livelake.engine.connection import Engine
from livelake.engine.counters import EngineStats
from livelake.engine.decode import InfiniteDate, InfiniteTimestamp
from livelake.engine.definitions import Definitions
from livelake.engine.extensions import load
from livelake.engine.filenames import masked
from livelake.engine.intake import MisfitError, lay, stream, table
from livelake.engine.limits import Caps, Limits, check_caps, check_seconds
from livelake.engine.logical import parse as parse_type
from livelake.engine.moments import Step
from livelake.engine.parameters import Parameters
from livelake.engine.past import travelled, untravelled
from livelake.engine.pool import WORKER_NAME, Job, Pool
from livelake.engine.quote import identifier, literal
from livelake.engine.reading import Hidden, Reads, TableRef, past_state, reads
from livelake.engine.reshape import parquet, sliced
from livelake.engine.result import ArrowData, Column
from livelake.engine.runner import Runner
from livelake.engine.session import Session
from livelake.engine.statement import Statement, check_text, gate, makes_temporary, steers
from livelake.engine.untrusted import Realm, guard, refuse
from livelake.engine.written import FileRef
from livelake.engine.zone import Zone, Zones

__all__ = [
    "WORKER_NAME",
    "ArrowData",
    "Caps",
    "Column",
    "Definitions",
    "Engine",
    "EngineStats",
    "FileRef",
    "Hidden",
    "InfiniteDate",
    "InfiniteTimestamp",
    "Job",
    "Limits",
    "MisfitError",
    "Parameters",
    "Pool",
    "Reads",
    "Realm",
    "Runner",
    "Session",
    "Statement",
    "Step",
    "TableRef",
    "UnkeepableError",
    "Zone",
    "Zones",
    "check_caps",
    "check_seconds",
    "check_text",
    "gate",
    "guard",
    "identifier",
    "lay",
    "literal",
    "load",
    "makes_temporary",
    "masked",
    "parquet",
    "parse_type",
    "past_state",
    "reads",
    "refuse",
    "sliced",
    "steers",
    "stream",
    "table",
    "travelled",
    "untravelled",
]
