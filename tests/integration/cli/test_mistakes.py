"""Arguments that cannot be meant are named, before any server is asked."""

from __future__ import annotations

import pytest

from .conftest import Command

pytestmark = pytest.mark.usefixtures("filled")
ESTIMATE = ("fees", "estimate", "BTCUSDT", "--exchange", "binance", "--user", "ana")


def test_amounts_and_rates_are_money(command: Command) -> None:
    for amount in ("abc", "0", "NaN", "inf", "1e400", "1e-400", "-5"):
        done = command(*ESTIMATE, "--", amount)
        assert (done.code, f"{amount!r} is not an amount." in done.err) == (2, True), amount
    for rate in ("EUR", "EUR=", "=1", "EUR=0", "EUR=1e400", "EUR=much"):
        done = command("fees", "report", "binance", "--user", "ana", "--in", "USD", "--rate", rate)
        assert (done.code, f"--rate {rate!r} is not a rate." in done.err) == (2, True), rate


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("command", "dance", "-e", "binance"), "Unknown command 'dance'. There are: start,"),
        (("command", "pause", "-e", "nasdaq"), "Unknown exchange 'nasdaq'."),
        (("command", "pause", "-e", "binance", "--priority", "urgent"), "Unknown priority 'urgent'."),
        (("command", "add-symbol", "-e", "binance", "--payload", "{"), "--payload is not JSON"),
        (("command", "add-symbol", "-e", "binance", "--payload", "[1]"), "is no JSON object"),
        (("commands", "--exchange", "nasdaq"), "Unknown exchange 'nasdaq'."),
        (("network", "log", "--exchange", "nasdaq"), "Unknown exchange 'nasdaq'."),
        (("board", "nasdaq"), "Unknown exchange 'nasdaq'."),
        (("near-alerts", "nasdaq"), "Unknown exchange 'nasdaq'."),
        (("explain", "binance", "NOPE", "1h"), "Unknown symbol 'NOPE' on binance."),
        (("audit", "binance", "--since", "yesterday"), "--since 'yesterday' is not a time."),
        (("audit", "nasdaq"), "Unknown exchange 'nasdaq'."),
        (("retention", "set", "7m", "30"), "Unknown timeframe '7m'."),
        (("fees", "report", "binance", "--by", "luck"), "--by 'luck' is unknown."),
        (("fees", "report", "binance", "--since", "2026-05-01", "--until", "2026-01-01"), "not before"),
        (("portfolio", "--method", "lifo"), "Unknown method 'lifo'. Methods: fifo, average."),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_named(command: Command, arguments: tuple[str, ...], words: str) -> None:
    done = command(*arguments, LIVERMORE_USER="ana")
    assert done.code == 2
    assert words in done.err.replace("\n", " ")
    assert "Traceback" not in done.err
