"""From a DuckDB relation to bytes: drained fully, named uniquely, and canonical.

*Canonical*: DuckDB leaves garbage under NULLs and after the last bit of a bitmap, so that two runs of one
deterministic query gave 33 different byte strings in 60 (measured). What is not data is set to zero here, so that
equal answers are equal bytes and share one ETag. It costs tens of microseconds a column, and only where there are
NULLs or booleans.

The relation's stream is bound to its cursor: whoever calls `drain` owns the cursor until it returns.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from typing import Any, Final

import duckdb
import nanoarrow
from nanoarrow import ipc
from nanoarrow.c_array_stream import CArrayStream

from livelake.engine.limits import Caps
from livelake.engine.logical import portable
from livelake.engine.quote import identifier
from livelake.engine.result import ArrowData, Column

_ALL: Final = bytes([0]) + bytes([255]) * 255
"""Translation of unpacked bits into byte masks."""


def drain(
    pieces: Iterable[duckdb.DuckDBPyRelation], caps: Caps, rename: Callable[[str], str] | None = None
) -> ArrowData:
    """Everything that relations of the same columns yield, one after the other; at least one.

    Raises DuckDB's and nanoarrow's errors as they come, and `TooLargeError` as soon as the answer passes its caps.
    ``rename``: see `Session.read`.
    """
    out, rows, columns = io.BytesIO(), 0, tuple[Column, ...]()
    with contextlib.ExitStack() as stack:
        writer: Any = None
        for relation in pieces:
            described, projected = _described(relation, rename)
            stream = nanoarrow.c_array_stream(projected)
            if writer is None:
                writer, columns = stack.enter_context(ipc.StreamWriter.from_writable(out)), described
                # A stream of no batches still writes the schema.
                writer.write_stream(CArrayStream.from_c_arrays([], stream.get_schema()))
            for array in stream:
                rows += len(array)
                caps.check(rows)
                writer.write_array(_canonical(array.view(), array.schema))
                caps.check(rows, out.tell())
    return ArrowData(out.getvalue(), rows, columns)


def _described(
    relation: duckdb.DuckDBPyRelation, rename: Callable[[str], str] | None
) -> tuple[tuple[Column, ...], duckdb.DuckDBPyRelation]:
    """The columns as DuckDB types them, and the relation with names and types that Arrow's stream can carry."""
    names = unique(relation.columns if rename is None else [rename(name) for name in relation.columns])
    types = [str(kind) for kind in relation.types]
    if names != relation.columns or any(map(portable, types)):
        relation = relation.project(", ".join(map(_projected, range(len(names)), names, types)))
    return tuple(Column(name, kind) for name, kind in zip(names, types, strict=True)), relation


def unique(names: list[str]) -> list[str]:
    """The names, each made unique without regard to case, as DuckDB does for a subquery: a, a_1, A_2."""
    counts: dict[str, int] = {}
    found = []
    for name in names:
        key, candidate = name.lower(), name
        if key in counts:
            candidate = f"{name}_{counts[key]}"
            while candidate.lower() in counts:
                counts[key] += 1
                candidate = f"{name}_{counts[key]}"
        counts[candidate.lower()] = 1
        found.append(candidate)
    return found


def _projected(index: int, name: str, kind: str) -> str:
    target = portable(kind)
    value = f"#{index + 1}" if target is None else f"CAST(#{index + 1} AS {target})"
    return f"{value} AS {identifier(name)}"


def _canonical(view: Any, schema: Any, outer: bytes | None = None) -> Any:
    """The array with zeros under its NULLs; ``outer`` is 1 for each row that the enclosing struct has."""
    length = view.length
    valid, buffers = _validity(view, outer)
    if view.storage_type == "bool":
        bits = _unpacked(view.buffer(1), length)
        buffers.append(packed(bits if valid is None else _and(bits, valid)))
    elif view.buffer_type(view.n_buffers - 1) == "data" and view.n_buffers == 2:
        buffers.append(_data(view.buffer(1), length, valid))
    else:
        first = 1 if view.buffer_type(0) == "validity" else 0
        buffers.extend(view.buffer(index) for index in range(first, view.n_buffers))
    below = _below(view, valid)
    children = [_canonical(child, schema.child(index), below) for index, child in enumerate(view.children)]
    return nanoarrow.c_array_from_buffers(
        schema, length, buffers, null_count=_nulls(valid), children=children, validation_level="none"
    )


def _validity(view: Any, outer: bytes | None) -> tuple[bytes | None, list[Any]]:
    """(1 for each row that is not NULL, or None if all are; the buffers so far)."""
    if not view.n_buffers or view.buffer_type(0) != "validity":
        return None, []
    valid = outer
    if view.null_count:
        own = _unpacked(view.buffer(0), view.length)
        valid = own if outer is None else _and(own, outer)
    return valid, [None if valid is None else packed(valid)]


def _nulls(valid: bytes | None) -> int:
    return 0 if valid is None else valid.count(0)


def _below(view: Any, valid: bytes | None) -> bytes | None:
    """What the children of a struct or a fixed-size list must take for NULL."""
    if valid is None or not view.n_children:
        return None
    if view.storage_type == "struct":
        return valid
    if view.storage_type == "fixed_size_list":
        return _repeated(valid, view.layout.child_size_elements)
    return None


def _data(buffer: Any, length: int, valid: bytes | None) -> Any:
    width = buffer.itemsize
    if valid is None:
        return buffer
    mask = int.from_bytes(_repeated(valid.translate(_ALL), width), "little")
    data = int.from_bytes(memoryview(buffer).cast("B")[: width * length], "little")
    return (data & mask).to_bytes(width * length, "little")


def _unpacked(buffer: Any, length: int) -> bytes:
    return bytes(buffer.unpack_bits())[:length]


def packed(bits: bytes) -> bytes:
    """Eight rows a byte, the first in the lowest bit."""
    padded = bits + bytes(-len(bits) % 8)
    total = 0
    for bit in range(8):
        total |= int.from_bytes(padded[bit::8], "little") << bit
    return total.to_bytes(len(padded) // 8, "little")


def _repeated(values: bytes, times: int) -> bytes:
    out = bytearray(len(values) * times)
    for index in range(times):
        out[index::times] = values
    return bytes(out)


def _and(left: bytes, right: bytes) -> bytes:
    both = int.from_bytes(left, "little") & int.from_bytes(right, "little")
    return both.to_bytes(len(left), "little")
