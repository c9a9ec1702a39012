"""Key expressions: canonical text, the algebra of their sets, and a tree from expressions to values. Pure."""

from livelake.keys.expr import (
    MAX_BYTES,
    MAX_DEEP,
    MAX_HOLES,
    KeyExpr,
    aggregate,
    catalog,
    decode_chunk,
    encode_chunk,
    event,
    instance,
    layout,
    schema,
    table,
)
from livelake.keys.relation import includes, intersects
from livelake.keys.tree import KeyTree

__all__ = [
    "MAX_BYTES",
    "MAX_DEEP",
    "MAX_HOLES",
    "KeyExpr",
    "KeyTree",
    "aggregate",
    "catalog",
    "decode_chunk",
    "encode_chunk",
    "event",
    "includes",
    "instance",
    "intersects",
    "layout",
    "schema",
    "table",
]
