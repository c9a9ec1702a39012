"""What DuckDB is asked for a plan, and for a syntax tree, as JSON text.

Qualified: after USE of a lake, looking up an unqualified function opens a lake transaction (2 ms each).
"""

from __future__ import annotations

from typing import Final

PLAN: Final = "SELECT system.main.json_serialize_plan(?, optimize := false)"
PLAN_OF_TREE: Final = (
    "SELECT system.main.json_serialize_plan(system.main.json_deserialize_sql(?::JSON), optimize := false)"
)
PARSE: Final = "SELECT system.main.json_serialize_sql(?)"

_SHORT: Final = "skip_null := true, skip_empty := true, skip_default := true"
BOTH: Final = (
    f"SELECT system.main.json_serialize_plan({{0}}, optimize := false, {_SHORT}),"
    f" system.main.json_serialize_sql({{0}}, {_SHORT})"
)
"""Both at once, with the text in place of a parameter and without what is empty: 1.1 ms where the two take 1.7."""
