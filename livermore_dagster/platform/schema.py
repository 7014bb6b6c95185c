"""The database against schema.sql: applied whole to an empty one, compared with any other (R4)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from livermore_dagster.errors import PlatformError, SchemaDrift

__all__ = ["apply_to_empty", "check_schema", "drift", "has_table", "is_empty", "schema_file"]

_COLUMNS = """
SELECT c.relname::text || '.' || a.attname::text,
       format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
       || CASE a.attidentity WHEN '' THEN '' ELSE ' identity ' || a.attidentity::text END
       || COALESCE(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = %s::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
"""
# A UNIQUE constraint and a unique index of one name and columns are the same here: Atlas makes the latter.
_INDEXES = """
SELECT i.relname::text,
       pg_get_indexdef(x.indexrelid) || CASE WHEN x.indisprimary THEN ' primary key' ELSE '' END
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
WHERE i.relnamespace = %s::regnamespace
"""
_CONSTRAINTS = """
SELECT c.conrelid::regclass::text || '.' || c.conname::text, pg_get_constraintdef(c.oid)
FROM pg_constraint c
WHERE c.connamespace = %s::regnamespace AND c.contype IN ('c', 'f')
"""
_TABLES = """
SELECT c.relname::text, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END
FROM pg_class c WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_PARTS: tuple[tuple[str, str], ...] = (
    ("table", _TABLES),
    ("column", _COLUMNS),
    ("index", _INDEXES),
    ("constraint", _CONSTRAINTS),
)
_Shape = dict[tuple[str, str], str]


def schema_file() -> Path:
    """schema.sql at the top of this installation."""
    path = Path(__file__).parents[2] / "schema.sql"
    if not path.is_file():
        raise PlatformError(f"{path} is missing.", "Livermore runs from its own source tree: `make install`.")
    return path


def is_empty(connection: psycopg.Connection) -> bool:
    """No table or view in the schema we use."""
    row = connection.execute(
        "SELECT count(*) FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace"
        " AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    ).fetchone()
    return row is not None and row[0] == 0


def has_table(connection: psycopg.Connection, name: str) -> bool:
    """In the schema we use."""
    row = connection.execute(
        "SELECT to_regclass(quote_ident(current_schema()) || '.' || quote_ident(%s))", [name]
    )
    return row.fetchone() != (None,)


def apply_to_empty(connection: psycopg.Connection) -> bool:
    """Apply schema.sql, whole or not at all, if the database is empty; False when it is not."""
    with connection.transaction():
        # Two starts on one server: the second waits here, and then sees that it has nothing to do.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('livermore schema.sql'))")
        if not is_empty(connection):
            return False
        connection.execute(schema_file().read_bytes())
        return True


def drift(connection: psycopg.Connection, text: str | None = None) -> list[str]:
    """Every difference between the database and schema.sql, in words; empty when there is none.

    schema.sql is built beside the real tables, in a schema of its own and a transaction that is rolled back.
    """
    wanted_text = schema_file().read_text() if text is None else text
    scratch = f"livermore_scratch_{uuid.uuid4().hex[:12]}"
    with connection.transaction(force_rollback=True):
        row = connection.execute("SELECT current_schema()").fetchone()
        real = str(row[0]) if row else "public"
        here = _shape(connection, real)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(scratch)))
        connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(scratch)))
        connection.execute(wanted_text.encode())
        wanted = _shape(connection, scratch)
    return _differences(here, wanted)


def check_schema(connection: psycopg.Connection) -> None:
    """SchemaDrift, naming the first differences, unless the database is what schema.sql says."""
    found = drift(connection)
    if found:
        shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        raise SchemaDrift(
            f"The database is not what schema.sql says: {shown}.",
            "Look at it with `livermore db check`, bring it in step with `livermore db apply`.",
        )


def _shape(connection: psycopg.Connection, schema: str) -> _Shape:
    # Names of the schema itself vanish from the texts, so that the two compare.
    prefix = re.compile(rf'(?<![\w"])"?{re.escape(schema)}"?\.')
    return {
        (kind, prefix.sub("", str(name))): prefix.sub("", str(text))
        for kind, query in _PARTS
        for name, text in connection.execute(query.encode(), [schema]).fetchall()
    }


def _differences(here: Mapping[tuple[str, str], str], wanted: Mapping[tuple[str, str], str]) -> list[str]:
    missing_tables = {name for kind, name in wanted if kind == "table" and (kind, name) not in here}
    extra_tables = {name for kind, name in here if kind == "table" and (kind, name) not in wanted}
    found = [f"table {name} is missing" for name in sorted(missing_tables)]
    found += [f"{here['table', name]} {name} is not in schema.sql" for name in sorted(extra_tables)]
    for key in sorted(wanted.keys() | here.keys()):
        kind, name = key
        table = name.split(".")[0]
        if kind == "table" or table in missing_tables | extra_tables:
            continue
        if key not in here:
            if not any(f" ON {gone} " in wanted[key] for gone in missing_tables):
                found.append(f"{kind} {name} is missing")
        elif key not in wanted:
            if not any(f" ON {extra} " in here[key] for extra in extra_tables):
                found.append(f"{kind} {name} is not in schema.sql")
        elif here[key] != wanted[key]:
            found.append(f"{kind} {name} is {here[key]!r}, schema.sql says {wanted[key]!r}")
    return found
