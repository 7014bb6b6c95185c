"""schema.sql into an empty database, and drift found in any other."""

from __future__ import annotations

import psycopg
import pytest

from livermore_dagster.errors import SchemaDrift
from livermore_dagster.platform import schema

CHANGES = {
    "column exchanges.note is not in schema.sql": "ALTER TABLE exchanges ADD COLUMN note text",
    "column candles.trades is missing": "ALTER TABLE candles DROP COLUMN trades",
    "table series is missing": "DROP TABLE series",
    "table extra is not in schema.sql": "CREATE TABLE extra (id int)",
    "index alert_history_newest is missing": "DROP INDEX alert_history_newest",
    "constraint users.users_role_known is missing": "ALTER TABLE users DROP CONSTRAINT users_role_known",
    "column alert_history.price is": "ALTER TABLE alert_history ALTER COLUMN price TYPE double precision",
    "column candles.rank is": "ALTER TABLE candles ALTER COLUMN rank DROP NOT NULL",
}


@pytest.fixture
def database(database_url: str) -> psycopg.Connection:
    return psycopg.connect(database_url)


def test_what_was_made_from_it_is_in_step(database: psycopg.Connection) -> None:
    assert schema.drift(database) == []
    schema.check_schema(database)


@pytest.mark.parametrize("said", CHANGES)
def test_every_kind_of_drift_is_named(database: psycopg.Connection, said: str) -> None:
    database.execute(CHANGES[said])
    found = schema.drift(database)
    assert len(found) == 1
    assert found[0].startswith(said)
    with pytest.raises(SchemaDrift, match="livermore db apply"):
        schema.check_schema(database)


def test_looking_leaves_nothing_behind(database: psycopg.Connection) -> None:
    schema.drift(database)
    database.commit()
    rows = database.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'livermore%'").fetchall()
    assert rows == []


def test_a_database_in_use_is_left_alone(database: psycopg.Connection) -> None:
    database.execute("ALTER TABLE exchanges ADD COLUMN note text")
    assert schema.apply_to_empty(database) is False
    assert schema.drift(database) == ["column exchanges.note is not in schema.sql"]


def test_a_unique_index_stands_for_a_unique_constraint(database: psycopg.Connection) -> None:
    database.execute("ALTER TABLE exchanges DROP CONSTRAINT exchanges_name_key")
    database.execute("CREATE UNIQUE INDEX exchanges_name_key ON exchanges (name)")
    assert schema.drift(database) == []


def test_an_empty_database_gets_all_of_it(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        assert schema.is_empty(connection)
        assert schema.apply_to_empty(connection) is True
        assert schema.drift(connection) == []
