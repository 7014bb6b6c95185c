"""The notifier killed in the middle of its work, and what it must never write down."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import psutil
import redis

from livermore_dagster.notify.text import BUNDLE_MOST
from tests.integration.notify.conftest import Told, alert, all_in, process
from tests.integration.notify.stand_in import TOKEN


async def test_killed_twice_it_tells_every_alert_and_marks_what_it_repeats(
    told: Told, tmp_path: Path
) -> None:
    await told.user(channels=[told.channel("main", default="slow:0.03")])
    ids = await told.raise_alerts(*(alert(1, f"A{n}USDT") for n in range(40)), publish=False)
    kills = 0
    for reached in (8, 20):
        with process(told, tmp_path / "log") as running:
            await told.services.until(
                lambda reached=reached: len(told.services.alerts("main")) >= reached, 60
            )
            running.send_signal(signal.SIGKILL)
            kills += 1
    with process(told, tmp_path / "log") as running:
        await told.until_rows(all_in("sent"), 60)
        running.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.wait, 60) == 0
    pairs = [pair for one in told.services.received for pair in one.alerts]
    assert sorted({number for number, _ in pairs}) == ids
    repeated = [one for one in told.services.received if any(attempt > 1 for _, attempt in one.alerts)]
    assert len(repeated) <= kills + 1, "what was in flight comes again, in one message or in two"
    assert len(pairs) <= len(ids) + kills * BUNDLE_MOST
    assert len(set(pairs)) == len(pairs), "what is told again carries a higher attempt"


async def test_the_painter_goes_with_a_killed_notifier(told: Told, tmp_path: Path) -> None:
    await told.user(channels=[told.channel("main", chart=True)])
    await told.candles(200)
    await told.raise_alerts(alert(150), publish=False)
    with process(told, tmp_path / "log") as running:
        await told.services.until(lambda: bool(told.services.received), 60)
        (painter,) = psutil.Process(running.pid).children()
        running.send_signal(signal.SIGKILL)
        running.wait()
        await asyncio.to_thread(painter.wait, 60)


async def test_no_address_reaches_log_table_or_redis(told: Told, tmp_path: Path) -> None:
    """Whatever goes wrong: refused with the token in the answer, dropped, no connection, no address."""
    # Bound and never listening: nobody answers there, and no other test gets the port.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        await tell_everywhere(told, tmp_path / "log", closed.getsockname()[1])
    assert b"not_delivered" in (tmp_path / "log").read_bytes()
    assert TOKEN.encode() not in (tmp_path / "log").read_bytes()
    assert TOKEN not in str(await told.rows())
    with redis.Redis.from_url(told.redis_url) as client:
        dumps = [client.dump(key) or b"" for key in client.scan_iter()]
    assert not [dump for dump in dumps if TOKEN.encode() in dump]
    states = {row["channel"]: row["last_error"] for row in await told.rows()}
    assert "no connection" in states["nobody"]
    assert "address is wrong" in states["odd"]


async def tell_everywhere(told: Told, log: Path, nobody: int) -> None:
    """One alert by seven channels; `nobody`: a port that refuses."""
    channels = [
        told.channel("gone", default="404"), told.channel("down", default="500"),
        told.channel("lost", default="drop"), told.channel("good"),
        told.channel("other", kind="apprise"), told.channel("nobody"), told.channel("odd"),
    ]  # fmt: skip
    told.environment["HOOK_NOBODY"] = f"http://127.0.0.1:{nobody}/api/webhooks/1/{TOKEN}"
    told.environment["HOOK_ODD"] = f"http://[{TOKEN}/webhooks/{TOKEN}"
    told.environment["HOOK_OTHER"] = f"json://ann:{TOKEN}@127.0.0.1:{nobody}/{TOKEN}"
    await told.user(channels=channels)
    with process(told, log) as running:
        await told.raise_alerts(alert(1))
        await told.until_rows(lambda rows: len(rows) == 7 and all(row["attempts"] > 0 for row in rows), 60)
        await told.until_rows(lambda rows: all(row["last_error"] or row["receipt"] for row in rows), 60)
        running.send_signal(signal.SIGTERM)
        running.wait()
