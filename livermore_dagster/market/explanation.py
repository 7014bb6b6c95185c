"""Why a series has, or has not, a value or an alert: from its facts to plain sentences. Pure.

A sentence is one finding. Its `tone`: 'good' as it should be, 'wait' comes by itself, 'bad' needs somebody,
'plain' is information.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from livermore_dagster.market.alert_rules import COOLDOWN_MS, EXTREME, OVERBOUGHT_SHARE, OVERSOLD_SHARE
from livermore_dagster.market.board import is_stale
from livermore_dagster.market.known_series import AlertFacts, KnownSeries
from livermore_dagster.market.macdv_fold import ATR, LOW_ACTIVITY, NO_MOVEMENT, PUBLISH_FROM, SETTLED_FROM
from livermore_dagster.market.moments import utc_text
from livermore_dagster.market.nearness import nearness_of, next_levels
from livermore_dagster.market.timeframe import Timeframe

__all__ = ["Section", "Sentence", "explain", "span_text", "time_text"]

Tone = Literal["good", "wait", "bad", "plain"]
_GRACE_MS: Final = 15_000
"""A close may take so long from its end until it is proven and folded."""


@dataclass(frozen=True, slots=True)
class Sentence:
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Section:
    """`title`: candles, value, alerts, next."""

    title: str
    sentences: tuple[Sentence, ...]


def explain(facts: KnownSeries) -> list[Section]:
    """The findings, in the order in which one depends on the other."""
    return [
        Section("source", tuple(_source(facts))),
        Section("candles", tuple(_candles(facts))),
        Section("value", tuple(_value(facts))),
        Section("alerts", tuple(_alerts(facts))),
        Section("next", tuple(_next(facts))),
    ]


# --- source ------------------------------------------------------------------------------------------------
def _source(facts: KnownSeries) -> list[Sentence]:
    name = facts.exchange
    found = [_instance(facts)]
    if _running(facts) and not facts.monitored:
        found.append(
            Sentence(
                f"{facts.symbol} is not among the symbols {name} monitors: nothing of it comes live.", "bad"
            )
        )
    if not facts.live:
        text = (
            f"{name} does not stream {facts.timeframe.value}, nor is it fetched at boundaries: no live value."
        )
        found.append(Sentence(text, "bad"))
    elif facts.streamed:
        found.append(Sentence(f"{facts.timeframe.value} candles are streamed by {name}."))
    else:
        found.append(
            Sentence(
                f"{facts.timeframe.value} candles are fetched by REST when one has closed (it streams none)."
            )
        )
    if facts.live and not facts.computed:
        found.append(Sentence(_not_computed(facts), "bad"))
    return found


def _instance(facts: KnownSeries) -> Sentence:
    state, name = facts.instance_state, facts.exchange
    if not _running(facts):
        error = f" Its last error: {facts.instance_error}" if facts.instance_error else ""
        return Sentence(f"{name} is {state}, so nothing comes in.{error}", "bad")
    if facts.paused:
        return Sentence(f"{name} is paused: its sockets are closed, and nothing comes in.", "bad")
    if state == "active":
        return Sentence(f"{name} is active.", "good")
    return Sentence(f"{name} is {state}: candles are still being fetched.", "wait")


def _running(facts: KnownSeries) -> bool:
    return facts.instance_state in ("starting", "warming", "active")


def _judges(facts: KnownSeries) -> bool:
    """MACD-V of it is computed as it closes."""
    return facts.live and facts.computed


def _not_computed(facts: KnownSeries) -> str:
    return (
        f"MACD-V and alerts of {facts.timeframe.value} are not computed: no active user wants them here "
        "(runtime.timeframes). Its candles are kept."
    )


# --- candles -----------------------------------------------------------------------------------------------
def _candles(facts: KnownSeries) -> list[Sentence]:
    if not facts.cached and not facts.stored:
        return [Sentence("No candle of it is here, in the cache or in PostgreSQL.", "bad")]
    found = [Sentence(_coverage(facts), "plain")]
    if facts.gaps:
        bars = sum(_bars(span, facts.timeframe) for span in facts.gaps)
        first = facts.gaps[0]
        where = f"the first from {time_text(first[0])} to {time_text(first[1])}"
        text = (
            f"{bars} bars are missing in {_count(len(facts.gaps), 'gap')}, {where}; they are being asked for."
        )
        found.append(Sentence(text, "wait" if facts.instance_state == "active" else "bad"))
    else:
        found.append(
            Sentence("There is no gap: each bar is there, or the exchange said that it has none.", "good")
        )
    if facts.absent:
        bars = sum(_bars(span, facts.timeframe) for span in facts.absent)
        newest = facts.absent[-1]
        found.append(
            Sentence(
                f"{_count(bars, 'bar')} had no trades, so the exchange has no candle for them; "
                f"the newest such span ends {time_text(newest[1])}. They are not asked for again."
            )
        )
    if facts.first_ms is not None:
        found.append(Sentence(f"The exchange's own history of it begins {time_text(facts.first_ms)}."))
    return found


def _coverage(facts: KnownSeries) -> str:
    parts = [f"{_count(facts.cached, 'final candle')} in the cache"]
    if facts.stored and facts.stored_from_ms is not None and facts.stored_to_ms is not None:
        many = "10,000 or more" if facts.stored >= 10_000 else f"{facts.stored:,}"
        end = facts.stored_to_ms + facts.timeframe.ms
        parts.append(f"{many} in PostgreSQL, {time_text(facts.stored_from_ms)} to {time_text(end)}")
    return f"There are {'; '.join(parts)}."


# --- value -------------------------------------------------------------------------------------------------
def _value(facts: KnownSeries) -> list[Sentence]:
    if facts.value_open_ms is None and not _judges(facts):
        return [Sentence("No MACD-V of it is computed.")]
    if facts.value_open_ms is None:
        return [
            Sentence("No MACD-V has been computed yet: no candle has closed while it was watched.", "wait")
        ]
    end = facts.value_open_ms + facts.timeframe.ms
    age = max(0, facts.now_ms - end)
    found = []
    if facts.value is None:
        found.append(Sentence(f"There is no MACD-V at {time_text(end)}: {_why_none(facts)}", "wait"))
    else:
        signal = "no signal line yet" if facts.signal is None else f"signal {facts.signal:+.2f}"
        histogram = "" if facts.histogram is None else f", histogram {facts.histogram:+.2f}"
        text = f"MACD-V {facts.value:+.2f}, {signal}{histogram}: {facts.stage}, as of {time_text(end)}."
        found.append(Sentence(text, "good"))
    if is_stale(facts.timeframe, age):
        due = " Newer candles should have come." if _judges(facts) and not facts.paused else ""
        found.append(Sentence(f"That is {span_text(age)} old: stale.{due}", "bad" if due else "plain"))
    found.append(_ripeness(facts))
    if facts.unknown_bars:
        found.append(
            Sentence(
                f"{_count(facts.unknown_bars, 'bar')} stayed unknown after 10 s of waiting, and counted as "
                "bars without trades.", "bad",
            )
        )  # fmt: skip
    return found


def _why_none(facts: KnownSeries) -> str:
    if facts.reason == LOW_ACTIVITY:
        return f"{LOW_ACTIVITY}: the ATR needs {ATR} bars with trades, {facts.n_eff} have come."
    if facts.reason == NO_MOVEMENT:
        return f"{NO_MOVEMENT}: the ATR is practically zero, there is no range to measure with."
    if facts.n_eff < PUBLISH_FROM:
        return f"{PUBLISH_FROM} bars with trades are needed before a value is shown, {facts.n_eff} have come."
    return f"{facts.reason or 'no reason is known'}."


def _ripeness(facts: KnownSeries) -> Sentence:
    empty = facts.span_bars - facts.n_eff
    counted = f"It rests on {_count(facts.n_eff, 'bar')} with trades" + (
        f" ({empty} of {facts.span_bars} bars had none)" if empty > 0 else ""
    )
    if facts.n_eff >= SETTLED_FROM:
        return Sentence(f"{counted}: settled.", "good")
    missing = SETTLED_FROM - facts.n_eff
    if facts.n_eff < PUBLISH_FROM:
        return Sentence(
            f"{counted}; a value is shown from {PUBLISH_FROM} and settled from {SETTLED_FROM}.", "wait"
        )
    effect = "it alerts all the same, since the exchange has no older candles"
    if not facts.whole_history:
        effect = "no alert is raised until then, unless the exchange has no older candles"
    left = f"{_count(missing, 'more bar')} until it is settled; {effect}."
    return Sentence(f"{counted}: warming, the start still moves it. {left}", "wait")


# --- alerts ------------------------------------------------------------------------------------------------
def _alerts(facts: KnownSeries) -> list[Sentence]:
    found = [_watermark(facts)] if _judges(facts) else [Sentence("No alert of it can come.")]
    if facts.value is not None and _judges(facts):
        found += _levels(facts, facts.value)
        found.append(_reversal(facts, facts.value))
    for label, end_ms in facts.cooldowns:
        left = end_ms + COOLDOWN_MS - facts.now_ms
        if left > 0:
            found.append(
                Sentence(f"{label} is cooling down for another {span_text(left)} of market time.", "wait")
            )
    found += [Sentence(f"Notifications are silenced: {mute}.", "bad") for mute in facts.mutes]
    if not facts.alerts:
        found.append(Sentence("No alert of it is stored."))
    found += [_alert(alert) for alert in facts.alerts]
    return found


def _watermark(facts: KnownSeries) -> Sentence:
    if not facts.judged or facts.watermark_ms is None:
        return Sentence(
            "No candle has been judged yet: only history has come. The next live close begins it.", "wait"
        )
    tf, watermark = facts.timeframe, facts.watermark_ms
    newest = tf.open_of(watermark)
    if newest != watermark:  # a new series': the moment before the first candle that is judged
        first = time_text(newest + tf.ms)
        return Sentence(f"Candles are judged for alerts from the one opening {first} on.", "good")
    return Sentence(
        f"Candles are judged for alerts; all up to the one opening {time_text(newest)} have been.", "good"
    )


def _levels(facts: KnownSeries, value: float) -> list[Sentence]:
    sides = {"up": "above", "down": "below"}
    words = [
        f"{sides[one.direction]} {one.level:+d} ({one.distance:.1f} points away)"
        for one in next_levels(value)
    ]
    found = [Sentence(f"A level alert comes when a candle closes with MACD-V {', or '.join(words)}.")]
    if facts.previous is not None:
        near = nearness_of(value, *facts.previous)
        if near.bars is not None:
            found.append(
                Sentence(
                    f"It moves {near.speed:+.1f} points a candle towards {near.level:+d}: "
                    f"{_count(max(1, round(near.bars)), 'candle')} at that speed."
                )
            )
        else:
            away = round(-(near.speed or 0.0), 1)
            moves = f"It moves {away:.1f} points a candle away from {near.level:+d}."
            found.append(Sentence(moves if away else "It moves by less than 0.1 points a candle."))
    return found


def _reversal(facts: KnownSeries, value: float) -> Sentence:
    if abs(value) <= EXTREME:
        return Sentence(f"No reversal can come: MACD-V lies within ±{EXTREME:.0f}.")
    side = "oversold" if value < 0 else "overbought"
    if not facts.armed:
        return Sentence(
            f"reversal_{side} has fired in this move; a new level crossing arms it again.", "wait"
        )
    share = OVERSOLD_SHARE if value < 0 else OVERBOUGHT_SHARE
    wanted = share * abs(value) if value < 0 else -share * abs(value)
    now = "unknown" if facts.histogram is None else f"{facts.histogram:+.2f}"
    relation = "above" if value < 0 else "below"
    return Sentence(
        f"reversal_{side} is armed: it comes with a histogram {relation} {wanted:+.2f} (now {now})."
    )


def _alert(alert: AlertFacts) -> Sentence:
    marks = [name for name in ("late", "revised", "withdrawn") if getattr(alert, name)]
    shown = f" ({', '.join(marks)})" if marks else ""
    text = f"{alert.label} at {time_text(alert.candle_end_ms)}, MACD-V {alert.macdv:+.2f}{shown}: "
    if not alert.published:
        return Sentence(f"{text}stored, not yet published.", "wait")
    if alert.deliveries:
        told = [
            f"{channel} {state}{f' ({error})' if error else ''}" for channel, state, error in alert.deliveries
        ]
        failed = any(state == "failed" for _, state, _ in alert.deliveries)
        return Sentence(f"{text}published; {'; '.join(told)}.", "bad" if failed else "plain")
    return Sentence(f"{text}published; nobody is notified of it.")


# --- next --------------------------------------------------------------------------------------------------
def _next(facts: KnownSeries) -> list[Sentence]:
    if not facts.live:
        command = f"livermore backfill {facts.exchange} --timeframes {facts.timeframe.value}"
        return [Sentence(f"Nothing comes by itself. For its history: {command}", "bad")]
    what = _to_do(facts)
    if what is not None:
        return [what]
    tf = facts.timeframe
    newest = facts.value_open_ms if facts.value_open_ms is not None else facts.stored_to_ms
    current = tf.open_of(facts.now_ms)
    found = []
    late = newest is not None and newest < current - tf.ms and facts.now_ms - current > _GRACE_MS
    if late and facts.computed:
        missing = time_text(current - tf.ms)
        found.append(
            Sentence(
                f"The candle opening {missing} has closed and is not folded: no trades, or on its way.",
                "wait",
            )
        )
    end = current + tf.ms
    found.append(
        Sentence(f"The next close is expected at {time_text(end)}, in {span_text(end - facts.now_ms)}.")
    )
    if not facts.computed:
        words = f"Only its candle comes. For its MACD-V add {tf.value} to runtime.timeframes"
        found.append(Sentence(f"{words}: livermore settings get runtime.timeframes", "bad"))
    return found


def _to_do(facts: KnownSeries) -> Sentence | None:
    """What somebody has to do, or waits for, before anything of it comes; None where it comes by itself."""
    name = facts.exchange
    if not _running(facts):
        if facts.wanted:
            return Sentence(f"{name} is started again by itself while its platform runs.", "wait")
        return Sentence(f"Nothing comes by itself. Start it: livermore start {name}", "bad")
    if not facts.monitored:
        command = f"livermore symbols add {name} {facts.symbol}"
        if facts.mode == "position-monitor":
            command += f" (and switch {name} from position-monitor, which has only what is held)"
        return Sentence(f"Nothing comes by itself. Add it: {command}", "bad")
    if facts.paused:
        return Sentence(f"Nothing comes by itself. Go on: livermore command resume -e {name}", "bad")
    return None


# --- words -------------------------------------------------------------------------------------------------
def time_text(at_ms: int) -> str:
    """'2026-01-05 23:30 UTC', with seconds where they are not zero."""
    return f"{utc_text(at_ms)} UTC"


def span_text(ms: int) -> str:
    """'45 s', '12 min', '3 h 20 min', '2 days'."""
    seconds = max(0, ms) // 1000
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 120:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} days"


def _bars(span: tuple[int, int], timeframe: Timeframe) -> int:
    return max(0, (span[1] - span[0]) // timeframe.ms)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
