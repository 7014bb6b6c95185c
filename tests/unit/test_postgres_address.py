"""R5: what leaves a machine is encrypted, whatever the address says."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import make_url

from livermore_dagster.errors import BadSetting, TlsRequired
from livermore_dagster.stores.postgres.connect import LIVELINESS, conninfo, sqlalchemy_url

CA = Path("/etc/ca.pem")
SOCKET = "postgresql://anna@/market?host=/run/pg"


def test_a_unix_socket_stays_as_it_is() -> None:
    assert conninfo_to_dict(conninfo(SOCKET, None)) == conninfo_to_dict(SOCKET)
    assert conninfo_to_dict(conninfo("host=/run/pg dbname=x sslmode=disable", None))["host"] == "/run/pg"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:pw@db.example/market",
        "postgresql://db.example",
        "host=db.example dbname=market",
        "hostaddr=10.0.0.1 dbname=market",
        "host=/run/pg hostaddr=10.0.0.1 dbname=market",
        "host=/run/pg,db.example dbname=market",
        "postgresql://[::1]:5433/market",
    ],
)
def test_tcp_is_always_encrypted(url: str) -> None:
    plain = conninfo_to_dict(conninfo(url, None))
    assert plain["sslmode"] == "require"
    assert plain["gssencmode"] == "disable"
    assert (plain["tcp_user_timeout"], plain["keepalives_idle"]) == ("30000", "15")
    checked = conninfo_to_dict(conninfo(url, CA))
    assert (checked["sslmode"], checked["sslrootcert"]) == ("verify-full", str(CA))


def test_an_address_without_a_host_does_not_trust_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert conninfo_to_dict(conninfo("postgresql:///market", None))["sslmode"] == "require"


def test_how_soon_a_dead_server_is_noticed_may_be_said() -> None:
    said = conninfo_to_dict(conninfo("postgresql://db.example/market?tcp_user_timeout=5000", None))
    assert (said["tcp_user_timeout"], said["keepalives_count"]) == ("5000", "3")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_a_weaker_mode_is_refused(mode: str) -> None:
    for build in (conninfo, sqlalchemy_url):
        with pytest.raises(TlsRequired, match=mode) as caught:
            build(f"postgresql://anna:hidden@db.example/market?sslmode={mode}", None)
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(("mode", "kept"), [("require", "require"), ("verify-ca", "verify-ca")])
def test_a_stronger_mode_is_kept(mode: str, kept: str) -> None:
    url = f"postgresql://db.example/market?sslmode={mode}"
    assert conninfo_to_dict(conninfo(url, None))["sslmode"] == kept
    assert conninfo_to_dict(conninfo(url, CA))["sslmode"] == "verify-full"
    with_ca = f"{url}&sslrootcert=/etc/other.pem"
    assert conninfo_to_dict(conninfo(with_ca, None))["sslmode"] == "verify-full"


@pytest.mark.parametrize("url", ["mysql://anna:hidden@x/y", "postgresql://anna:hidden@x:y:z/%zz", "nonsense"])
def test_an_address_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(BadSetting) as caught:
        conninfo(url, None)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_sqlalchemy_gets_the_same_by_psycopg2() -> None:
    url = make_url(sqlalchemy_url("postgresql://an%40na:p%2Fw@db.example:5433/market", CA))
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == (
        "an@na", "p/w", "db.example", 5433, "market"
    )  # fmt: skip
    assert dict(url.query) == {
        "sslmode": "verify-full",
        "sslrootcert": str(CA),
        "gssencmode": "disable",
        **{name: str(value) for name, value in LIVELINESS.items()},
    }
    local = make_url(sqlalchemy_url(SOCKET, None))
    assert (local.username, local.host, local.database) == ("anna", None, "market")
    assert dict(local.query) == {"host": "/run/pg"}
    several = make_url(sqlalchemy_url("postgresql://anna@a,b/market", None))
    assert several.query["host"] == "a,b"
    assert make_url(sqlalchemy_url("postgresql://anna@[::1]/market", None)).host == "::1"
