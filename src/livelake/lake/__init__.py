"""Lakes: attached databases whose commits can be seen, and queries that know what they read."""

from livelake.lake.answer import Answer, Result
from livelake.lake.catalog import Catalog
from livelake.lake.footprint import Footprint
from livelake.lake.joint import Joint
from livelake.lake.lake import Lake
from livelake.lake.parameters import Parameters
from livelake.lake.question import Query
from livelake.lake.transaction import Transaction
from livelake.lake.upkeep import Done, Upkeep
from livelake.lake.why import Why

__all__ = [
    "Answer",
    "Catalog",
    "Done",
    "Footprint",
    "Joint",
    "Lake",
    "Parameters",
    "Query",
    "Result",
    "Transaction",
    "Upkeep",
    "Why",
]
