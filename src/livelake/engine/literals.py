"""Python values as SQL literals of the type that DuckDB gives to a parameter of that value.

For planning only: what runs is always bound. A plan with literals in place of parameters names the same tables,
which a plan with NULLs in their place does not: DuckDB folds ``NULL + (SELECT count(*) FROM t)`` at once, and ``t`` is
gone from the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from livelake.engine.quote import literal


def value_literal(value: Any) -> str | None:
    """The literal, or None for a value of a kind that has none."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return str(value)
        case float():
            return f"{literal(repr(value))}::DOUBLE"
        case Decimal():
            return f"{value:f}" if value.is_finite() else None
        case str():
            return None if "\0" in value else literal(value)
        case bytes():
            return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"
        case datetime():
            return f"{literal(value.isoformat(sep=' '))}::{'TIMESTAMP' if value.tzinfo is None else 'TIMESTAMPTZ'}"
        case date():
            return f"{literal(value.isoformat())}::DATE"
        case time():
            return f"{literal(value.isoformat())}::TIME"
        case timedelta():
            return f"to_microseconds({value // timedelta(microseconds=1)})"
        case UUID():
            return f"{literal(str(value))}::UUID"
        case list() | tuple():
            return _joined("[", [value_literal(item) for item in value], "]")
        case Mapping():
            pairs = [(literal(str(key)), value_literal(item)) for key, item in value.items()]
            return _joined("{", [item and f"{key}: {item}" for key, item in pairs], "}")
        case _:
            return None


def _joined(opening: str, parts: list[str | None], closing: str) -> str | None:
    known = [part for part in parts if part is not None]
    return opening + ", ".join(known) + closing if len(known) == len(parts) else None
