from __future__ import annotations

import psycopg
import redis


def test_servers_are_real(redis_url: str, database_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM candles").fetchone()
        assert row == (0,)
