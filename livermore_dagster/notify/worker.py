"""One channel's worker: sends what PostgreSQL says is due to it, notes how that went, waits.

Its queue is the table, so nothing is lost with the process, and one that is slow or down delays no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import psycopg
import structlog
from redis.exceptions import RedisError

from livermore_dagster.accounts.settings_document import AlertSettings, ChannelSettings
from livermore_dagster.clock import Clock, seconds_until
from livermore_dagster.notify import rules
from livermore_dagster.notify.channel import Channel, Refused, Reply, Sent, TryAgain
from livermore_dagster.notify.illustrator import Illustrator
from livermore_dagster.notify.painter import ChartFailed
from livermore_dagster.notify.router import ExchangeClocks
from livermore_dagster.notify.text import BUNDLE_MOST, Notice, alert_notice, bundled, digest_notice
from livermore_dagster.stores.postgres.connect import Pool
from livermore_dagster.stores.postgres.deliveries import (
    Delivery,
    HeardAlert,
    Place,
    begin_deliveries,
    fold_into_digest,
    read_due,
    read_next_due_ms,
    settle_deliveries,
)

__all__ = ["ChannelState", "ChannelWorker", "delay_s"]

_log = structlog.get_logger(__name__)
_SINGLES: Final = 20
_DIGEST_MOST: Final = 5_000
"""Alerts in one digest."""
_TOGETHER_TRIES: Final = 2
"""Tried in vain so often, each goes alone: it may be one of them that is never taken."""
_MANY: Final = 4
"""From so many due on, several go in one message."""
_FIRST_DELAY_S: Final = 1.0
_LONGEST_DELAY_S: Final = 60.0
_REPEAT_PAUSE_S: Final = 5.0
"""A repetition that failed speaks against itself more than against the channel: others wait no longer."""
_LEAST_PAUSE_S: Final = 1.0
_NOTE_AGAIN_S: Final = 0.5
_WORDS_KEPT: Final = 20
_WORD_TRIES: Final = 3
_NOT_WITH_CHART: Final = "without its chart: the service refused it"

Told = tuple[HeardAlert, Notice]
State = Literal["ready", "sending", "waiting", "refused"]


@dataclass(frozen=True, slots=True)
class ChannelState:
    """How a channel fares, for `status`. `failures`: in a row. Times are wall clock."""

    state: State = "ready"
    failures: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None
    last_sent_ms: int | None = None
    retry_ms: int | None = None


def delay_s(failures: int, draw: random.Random) -> float:
    """Seconds before the next attempt after so many failures in a row: jittered, growing, capped."""
    ceiling = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(max(0, failures - 1), 10))
    return float(ceiling * draw.uniform(0.5, 1.0))


class ChannelWorker:
    """Works for one place until cancelled."""

    def __init__(
        self,
        place: Place,
        settings: ChannelSettings,
        wishes: Callable[[], tuple[AlertSettings, ZoneInfo]],
        channel: Channel,
        pool: Pool,
        illustrator: Illustrator,
        page_url: Callable[[str, str], str],
        clocks: ExchangeClocks,
        clock: Clock,
        *,
        simulated: bool,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        """`wishes`: the user's settings and zone as they are now. `page_url(exchange, symbol)`. `told` is
        called when `state` has changed."""
        self.place = place
        self.settings = settings
        self.state = ChannelState()
        self._wishes = wishes
        self._channel = channel
        self._pool = pool
        self._illustrator = illustrator
        self._page_url = page_url
        self._clocks = clocks
        self._clock = clock
        self._simulated = simulated
        self._told = told
        self._wake = asyncio.Event()
        self._leaving = asyncio.Event()
        self._resume_at = 0.0
        self._draw = random.Random()  # noqa: S311 - jitter
        self._words: deque[tuple[Notice, int]] = deque(maxlen=_WORDS_KEPT)

    def wake(self) -> None:
        """Something new may be due."""
        self._wake.set()

    def say(self, notice: Notice) -> None:
        """A word of the platform's own: the newest few are kept, told once where that can be."""
        self._words.append((notice, 0))
        self._wake.set()

    async def run(self) -> None:
        """Until `leave` is called."""
        while not self._leaving.is_set():
            self._wake.clear()
            wait_s = await self._round()
            if wait_s != 0:
                await self._rest(wait_s)

    def leave(self) -> None:
        """Asks it to end, with what it is sending noted."""
        self._leaving.set()
        self._wake.set()

    async def close(self) -> None:
        await self._channel.close()

    async def _rest(self, wait_s: float | None) -> None:
        """Until it is woken, or for `wait_s`. While the channel must be left alone new alerts wake nobody."""
        pause_s = self._pause_s()
        event = self._leaving if pause_s > 0 else self._wake
        tasks = [asyncio.create_task(event.wait())]
        if pause_s > 0 or wait_s is not None:
            # After the pause it looks anew: what came meanwhile may be due before what it waited for.
            tasks.append(asyncio.create_task(self._slept(pause_s if pause_s > 0 else wait_s or 0.0)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _slept(self, seconds: float) -> Literal[True]:
        await self._clock.sleep(seconds)
        return True

    def _pause_s(self) -> float:
        return max(self._channel.wait_s(), self._resume_at - self._clock.monotonic())

    async def _round(self) -> float | None:
        """Sends some of what is due; seconds until the next look, 0 at once, None when woken."""
        if self._pause_s() > 0:
            return self._pause_s()
        if self._words:
            await self._say_next()
            return 0
        async with self._pool.connection() as connection:
            due = await self._read_like(connection)
            if not due:
                next_ms = await read_next_due_ms(connection, self.place)
                # Rounded up: a look just before the time would find nothing and look again.
                return None if next_ms is None else max(0.05, seconds_until(self._clock, next_ms))
        with contextlib.suppress(RedisError):
            await self._clocks.learn(sorted({one.heard.exchange_id for one in due}))
        if due[0].form == "digest":
            await self._send_digest([one.heard for one in due])
        else:
            await self._send_singles([one.heard for one in await self._sift(due)])
        return 0

    async def _read_like(self, connection: psycopg.AsyncConnection[Any]) -> list[Delivery]:
        """What is due next, and what may go with it: a digest's whole exchange, singles tried as often."""
        now_ms = self._clock.now_ms()
        due = await read_due(connection, self.place, now_ms, _SINGLES)
        if not due:
            return []
        first = due[0]
        if first.form == "digest":
            exchange_id = first.heard.exchange_id
            return await read_due(connection, self.place, now_ms, _DIGEST_MOST, digest_of=exchange_id)
        if first.tried >= _TOGETHER_TRIES:
            return [first]
        return [one for one in due if one.form == "single" and one.tried == first.tried]

    async def _sift(self, due: Sequence[Delivery]) -> list[Delivery]:
        """What is still to be told singly: settings may have changed, time has passed."""
        (alerts, zone), kept = self._wishes(), []
        for one in due:
            now_ms = max(self._clocks.now_ms(one.heard.exchange_id), one.heard.alert.triggered_ms)
            against = rules.withheld(alerts, zone, one.heard, now_ms, simulated=self._simulated)
            if against is None and not rules.too_old(one.heard.alert, now_ms):
                kept.append(one)
                continue
            async with self._pool.connection() as connection:
                if against is None:
                    await fold_into_digest(connection, self.place, [one.alert_id])
                else:
                    await settle_deliveries(
                        connection, self.place, [one.alert_id], against.state, reason=against.reason
                    )
        return kept

    async def _send_singles(self, heard: Sequence[HeardAlert]) -> None:
        """One message each, and where many are due a few in one: a service takes only so many messages."""
        at_once = BUNDLE_MOST if len(heard) >= _MANY else 1
        for start in range(0, len(heard), at_once):
            if self._held():
                return
            begun = await self._begin(heard[start : start + at_once])
            notices = await asyncio.gather(*(self._notice(one) for one in begun))
            told, parts = list(zip(begun, notices, strict=True)), []
            for message in bundled(notices):
                parts.append(told[: len(message.embeds)])
                told = told[len(message.embeds) :]
            if not await self._send_all(parts):
                return

    async def _send_all(self, parts: Sequence[Sequence[Told]], *, made: bool = False) -> bool:
        """One message for each part; whether the next may follow. `made`: all have left once, together."""
        for number, part in enumerate(parts):
            held = self._held()
            if held or not await self._send(part):
                left = parts[number if held else number + 1 :]
                await self._put_off([heard for some in left for heard, _ in some], made)
                return False
        return True

    async def _send(self, part: Sequence[Told]) -> bool:
        """One message; what is refused for what is in it goes apart, at last without its chart."""
        heard = [one for one, _ in part]
        (message,) = bundled([notice for _, notice in part])
        reply = await self._deliver(message)
        if isinstance(reply, Refused) and reply.of_message and (len(part) > 1 or message.files):
            _log.warning("sent_apart", alerts=[one.alert.id for one in heard], reason=reply.reason)
            if len(part) > 1:
                return await self._send_all([[one] for one in part], made=True)
            if self._held():
                reply = TryAgain(reply.reason)
            else:
                reply = await self._deliver(self._words_of(heard[0], None, _NOT_WITH_CHART))
        return await self._settle(heard, reply)

    def _held(self) -> bool:
        """Whether nothing may be sent just now."""
        return self._leaving.is_set() or self._pause_s() > 0

    async def _put_off(self, heard: Sequence[HeardAlert], made: bool) -> None:
        """Until the channel is free; with the attempt given back that was counted and not `made`."""
        ids, next_ms = [one.alert.id for one in heard], None
        if made:
            next_ms = self._clock.now_ms() + int(max(0.0, self._pause_s()) * 1000)
        async with self._pool.connection() as connection:
            await settle_deliveries(connection, self.place, ids, "pending", next_ms=next_ms, unmade=not made)

    async def _notice(self, heard: HeardAlert) -> Notice:
        return self._words_of(heard, *await self._chart(heard))

    def _words_of(self, heard: HeardAlert, chart: bytes | None, note: str | None) -> Notice:
        url = self._page_url(heard.exchange, heard.alert.symbol)
        return alert_notice(heard, url, simulated=self._simulated, chart=chart, chart_note=note)

    async def _chart(self, heard: HeardAlert) -> tuple[bytes | None, str | None]:
        if not self.settings.chart:
            return None, None
        try:
            return await self._illustrator.chart(heard), None
        except ChartFailed as error:
            _log.warning("chart_failed", alert=heard.alert.id, error=str(error))
            return None, f"without its chart: {error}"
        except Exception as error:  # noqa: BLE001 - whatever it is, the alert goes without its chart (S9)
            _log.warning("chart_failed", alert=heard.alert.id, exc_info=error)
            return None, f"without its chart: {type(error).__name__}"

    async def _send_digest(self, heard: Sequence[HeardAlert]) -> None:
        """All of one exchange in one message."""
        alerts, zone = self._wishes()
        now_ms = self._clocks.now_ms(heard[0].exchange_id)
        silent = {
            one.alert.id: against
            for one in heard
            if (against := rules.withheld(alerts, zone, one, now_ms, simulated=self._simulated))
        }
        async with self._pool.connection() as connection:
            for alert_id, against in silent.items():
                await settle_deliveries(
                    connection, self.place, [alert_id], against.state, reason=against.reason
                )
        begun = await self._begin([one for one in heard if one.alert.id not in silent])
        if begun:
            notice = digest_notice(begun[0].exchange_title, begun, simulated=self._simulated)
            await self._settle(begun, await self._deliver(notice))

    async def _begin(self, heard: Sequence[HeardAlert]) -> list[HeardAlert]:
        """Those that may leave, each with the number of this attempt, which is durable by now."""
        if not heard:
            return []
        ids = [one.alert.id for one in heard]
        async with self._pool.connection() as connection:
            attempts = await begin_deliveries(connection, self.place, ids)
        return [
            replace(one, alert=replace(one.alert, attempt=attempts[one.alert.id]))
            for one in heard
            if one.alert.id in attempts
        ]

    async def _deliver(self, notice: Notice) -> Reply:
        self._show(state="sending")
        return await self._channel.send(notice)

    async def _settle(self, heard: Sequence[HeardAlert], reply: Reply) -> bool:
        """Notes how it went, and again until that is durable; whether the next may follow."""
        ids, now_ms = [one.alert.id for one in heard], self._clock.now_ms()
        next_ms = self._note(reply, max(one.alert.attempt for one in heard))
        facts: dict[str, Any]
        match reply:
            case Sent(receipt):
                facts = {"state": "sent", "receipt": receipt, "sent_ms": now_ms}
            case Refused(reason):
                facts = {"state": "failed", "error": reason}
            case TryAgain(reason):
                facts = {"state": "pending", "error": reason, "next_ms": next_ms}
        while True:
            try:
                async with self._pool.connection() as connection:
                    await settle_deliveries(connection, self.place, ids, **facts)
                return not isinstance(reply, TryAgain)
            except psycopg.OperationalError as error:
                # Forgotten, it would be sent once more.
                _log.warning("delivery_unnoted", alerts=ids, error=type(error).__name__)
                await self._clock.sleep(_NOTE_AGAIN_S)

    def _note(self, reply: Reply, tried: int = 1) -> int | None:
        """How the channel fares; when, wall clock, what was tried so often is to be tried again."""
        now_ms = self._clock.now_ms()
        if isinstance(reply, Sent):
            self._show(state="ready", failures=0, last_sent_ms=now_ms, retry_ms=None)
            return None
        _log.warning(
            "not_delivered",
            user=self.place.user_id,
            channel=self.place.channel,
            final=isinstance(reply, Refused),
            reason=reply.reason,
        )
        if isinstance(reply, Refused):
            self._show(state="refused", last_error=reply.reason, last_error_ms=now_ms, retry_ms=None)
            return None
        failures = self.state.failures + 1
        pause_s = wait_s = delay_s(tried if tried > 1 else failures, self._draw)
        if reply.after_s is not None:
            # As it says; but one that says "at once" and refuses again is not asked without a pause.
            pause_s = wait_s = max(reply.after_s, min(wait_s, _LEAST_PAUSE_S))
        elif tried > 1:
            pause_s = min(wait_s, _REPEAT_PAUSE_S)
        self._resume_at = self._clock.monotonic() + pause_s
        next_ms = now_ms + int(wait_s * 1000)
        self._show(
            state="waiting",
            failures=failures,
            last_error=reply.reason,
            last_error_ms=now_ms,
            retry_ms=next_ms,
        )
        return next_ms

    async def _say_next(self) -> None:
        notice, tries = self._words.popleft()
        reply = await self._deliver(notice)
        self._note(reply)
        if isinstance(reply, TryAgain) and tries + 1 < _WORD_TRIES:
            self._words.appendleft((notice, tries + 1))

    def _show(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]
        self._told()
