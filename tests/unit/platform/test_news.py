from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from livermore_dagster.exchanges.rows import ROWS
from livermore_dagster.platform import news
from livermore_dagster.platform.watch import AlertLine, ExchangeView
from livermore_dagster.stores.redis.metrics import Incident

BINANCE = next(row for row in ROWS if row.name == "binance")
IDLE = ExchangeView(BINANCE, "idle", "running")
ALERT = AlertLine("binance", "BTCUSDT", "5m", "level_-150", -153.26, 1_767_657_600_000, False)


class Told:
    """A watch that shows what it is given, and the lines that followed."""

    def __init__(self, monkeypatch, *, chatty: bool = True) -> None:
        monkeypatch.setattr(news, "LOOK_S", -1.0)
        self.incidents: list[Incident] = []
        self.watch = SimpleNamespace(
            exchanges=[IDLE], alerts=[], refresh=lambda: None, new_incidents=lambda: self.incidents
        )
        self.lines: list[str] = []
        self.news = news.News(self.watch, self.lines.append, chatty=chatty)

    def look(self, view: ExchangeView, *alerts: AlertLine) -> list[str]:
        self.watch.exchanges, self.watch.alerts = [view], list(alerts)
        before = len(self.lines)
        self.news.look()
        return self.lines[before:]


def test_a_state_is_told_once(monkeypatch) -> None:
    told = Told(monkeypatch)
    active = replace(IDLE, state="active", symbols=("A", "B"))
    assert told.look(active) == ["binance is active, 2 symbols."]
    assert told.look(active) == []
    assert told.look(replace(active, state="?")) == []
    assert told.look(IDLE) == ["binance is idle."]


def test_that_an_exchange_begins_idle_is_not_news(monkeypatch) -> None:
    told = Told(monkeypatch)
    assert told.look(IDLE) == []
    assert told.look(replace(IDLE, state="starting")) == ["binance is starting."]


def test_more_symbols_are_told(monkeypatch) -> None:
    told = Told(monkeypatch)
    active = replace(IDLE, state="active", symbols=("A", "B"))
    told.look(active)
    assert told.look(replace(active, symbols=())) == []
    assert told.look(replace(active, symbols=("A", "B", "C"))) == [
        "binance monitors 3 symbols now, 2 before."
    ]
    assert told.look(replace(active, symbols=("A", "B", "C"))) == []


def test_an_exchange_nobody_wants_is_not_news(monkeypatch) -> None:
    assert Told(monkeypatch).look(replace(IDLE, desired="-")) == []


def test_why_a_start_fails_is_told_and_not_at_every_look(monkeypatch) -> None:
    told = Told(monkeypatch)
    failing = replace(IDLE, last_error="No reply from the exchange.")
    assert any("could not start: No reply" in line for line in told.look(failing))
    assert told.look(failing) == []
    assert any("HTTP 451" in line for line in told.look(replace(IDLE, last_error="HTTP 451.")))


def test_alerts_since_the_first_look_are_told(monkeypatch) -> None:
    told = Told(monkeypatch)
    told.look(IDLE, ALERT)
    newer = replace(ALERT, label="level_-200", macdv=-204.0)
    assert told.look(IDLE, newer, ALERT) == ["alert: binance BTCUSDT 5m level_-200, MACD-V -204.0"]


def test_the_screen_shows_alerts_itself(monkeypatch) -> None:
    told = Told(monkeypatch, chatty=False)
    told.look(IDLE)
    assert told.look(IDLE, ALERT) == []


def test_incidents_are_told_with_their_exchange_a_few_at_a_time(monkeypatch) -> None:
    told = Told(monkeypatch)
    told.look(IDLE)
    told.incidents = [
        Incident("1-0", "http_429", BINANCE.id, "binance answered 429.", "error", {}),
        Incident("2-0", "repair_given_up", BINANCE.id, "Two candles could not be had.", "warning", {}),
        *[Incident(f"3-{n}", "store_waiting", BINANCE.id, "Closes wait.", "warning", {}) for n in range(5)],
    ]
    assert told.look(IDLE) == [
        "ERROR binance answered 429.",
        "binance: Two candles could not be had.",
        "binance: Closes wait.",
        "… and 4 incidents more.",
    ]
