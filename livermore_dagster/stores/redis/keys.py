"""Names of every Redis key, stream and channel. Nothing else spells one out (X4)."""

from __future__ import annotations

from livermore_dagster.market.timeframe import Timeframe

MACDV = "macd-v"

PROVENANCE = "livermore:provenance"
INCIDENTS = "livermore:incidents"
"""Stream: what went wrong and was survived, one entry each."""
INCIDENT_COUNTS = "livermore:incident-counts"
"""Hash, "exchange id:name" -> how often that incident was told."""

CHANNEL_SETTINGS = "livermore:settings"
"""Channel: a user or his settings changed, JSON {user_id, sub, revision}; revision null: the user himself."""

CHANNEL_SYMBOLS = "livermore:symbols"
"""Channel: an exchange's product list was read anew, JSON {exchange_id, exchange, listed, delisted, halted,
resumed}, or what an account holds there {exchange_id, exchange, account}."""

CHANNEL_ALERTS_ALL = "channel:alerts:*"
"""Pattern: the alerts of every exchange."""
CHANNEL_ALERTS_AGAIN = "livermore:alerts-again"
"""Channel: a revision may have brought alerts back, which are not published again, JSON {exchange_id}."""

NOTIFIER = "livermore:notify:status"
"""String (JSON, TTL 45 s): the notifier's process and its channels."""
NOTIFIER_INCIDENT = "livermore:notify:incident"
"""String: id of the newest incident the notifier has looked at."""

ORCHESTRATOR = "livermore:orchestrator"
"""String (JSON, TTL 15 s): the home that runs Dagster's daemon, one of all that share this Redis."""
HOMES = "livermore:homes"
"""Sorted set (TTL): tokens of the homes whose platform is up, by when they came."""

CLOSES_GROUP_SIGNALS = "signals"
CLOSES_GROUP_STORE = "store"


def candles(exchange_id: int, symbol: str, timeframe: Timeframe) -> str:
    """Sorted set, score = candle open in ms, newest 1,000 (P5)."""
    return f"candles:{exchange_id}:{symbol}:{timeframe.value}"


def user_candles(user_id: int, exchange_id: int, symbol: str, timeframe: Timeframe) -> str:
    """As `candles`, of a symbol that is only there because users want it (X3, Tier 2); TTL 24 h."""
    return f"usercandles:{user_id}:{exchange_id}:{symbol}:{timeframe.value}"


def candle_owners(exchange_id: int) -> str:
    """Hash, symbol -> ids of the users in whose keys its candles live, with commas; others are shared."""
    return f"exchange:{exchange_id}:candle-owners"


def symbols_gone(exchange_id: int) -> str:
    """Set: symbols that were monitored and are not any more; nothing writes candles or indicators of them."""
    return f"exchange:{exchange_id}:symbols-gone"


def indicator(exchange_id: int, symbol: str, timeframe: Timeframe, kind: str = MACDV) -> str:
    return f"indicator:{exchange_id}:{symbol}:{timeframe.value}:{kind}"


def indicator_state(exchange_id: int, symbol: str, timeframe: Timeframe, kind: str = MACDV) -> str:
    """String (JSON): what the live fold needs to go on after a restart (states, rules, watermark)."""
    return f"{indicator(exchange_id, symbol, timeframe, kind)}:state"


def ticker(exchange_id: int, symbol: str) -> str:
    return f"ticker:{exchange_id}:{symbol}"


def closes(exchange_id: int) -> str:
    """Stream: every candle that became final or was revised; the write-ahead log of signals and store."""
    return f"closes:{exchange_id}"


def boundaries(exchange_id: int) -> str:
    """Stream: one entry per 15m boundary of the exchange's clock, ever (P8)."""
    return f"boundaries:{exchange_id}"


def boundary_guard(exchange_id: int) -> str:
    """String: newest boundary raised, epoch ms."""
    return f"exchange:{exchange_id}:boundary:last"


def boundary_done(exchange_id: int) -> str:
    """Hash, boundary ms -> JSON {state: started|finished, by, at_ms}: who fetches it, whether it is done."""
    return f"exchange:{exchange_id}:boundary:handled"


def boundary_run(exchange_id: int) -> str:
    """String that expires: the boundary (ms) a run is at work on, whoever fetches it."""
    return f"exchange:{exchange_id}:boundary:run"


def status(exchange_id: int) -> str:
    """String (JSON, TTL 45 s): the instance's claim and public facts (N1, N3)."""
    return f"exchange:{exchange_id}:status"


def last_status(exchange_id: int) -> str:
    """String (JSON, no TTL): the newest status ever written; what a dead instance last was (N6)."""
    return f"exchange:{exchange_id}:status:last"


def offline(exchange_id: int) -> str:
    """String (JSON): what was told of the newest instance that ended without a word, so it is told once."""
    return f"exchange:{exchange_id}:offline"


def standbys(exchange_id: int) -> str:
    """Sorted set (TTL): tokens of the instances that wait for the exchange, by when they came."""
    return f"exchange:{exchange_id}:standbys"


def standby(exchange_id: int, token: str) -> str:
    """String (JSON, TTL 45 s): one that waits, with the facts its claim will begin with."""
    return f"exchange:{exchange_id}:standby:{token}"


def home(token: str) -> str:
    """String (JSON, TTL 15 s): one home whose platform is up."""
    return f"livermore:home:{token}"


def desired(exchange_id: int) -> str:
    """String (JSON): what the exchange's instance shall be: running or stopped, with which symbols."""
    return f"exchange:{exchange_id}:desired"


def warmup_schedule(exchange_id: int) -> str:
    return f"exchange:{exchange_id}:warm-up-schedule:symbols"


def warmup_stats(exchange_id: int) -> str:
    return f"exchange:{exchange_id}:warm-up-schedule:stats"


def product_list_refused(exchange_id: int) -> str:
    """String (JSON): the newest reading of the product list that was not believed."""
    return f"exchange:{exchange_id}:product-list-refused"


def warming(exchange_id: int) -> str:
    """Set: monitored symbols whose history is not there yet."""
    return f"exchange:{exchange_id}:warming"


def warmed(exchange_id: int) -> str:
    """Hash: symbol → exchange ms when its history was there for the first time."""
    return f"exchange:{exchange_id}:warmed"


def computed(exchange_id: int) -> str:
    """Hash: timeframe → exchange ms since when signals are computed of it."""
    return f"exchange:{exchange_id}:computed"


def monitored(exchange_id: int) -> str:
    """String (JSON list): symbols the running instance monitors, in rank order."""
    return f"exchange:{exchange_id}:monitored"


def product_list(exchange_id: int) -> str:
    """String (JSON {made_ms, at_ms}): when the stored product list was read, and when it was last in use."""
    return f"exchange:{exchange_id}:product-list"


def symbol_events(exchange_id: int) -> str:
    """Stream: why the exchange's product list is worth another look: a start, a request, a doubt."""
    return f"symbol-events:{exchange_id}"


def symbol_doubted(exchange_id: int, symbol: str) -> str:
    """String with TTL: the product list was asked to be looked at because of this symbol."""
    return f"exchange:{exchange_id}:symbol-doubted:{symbol}"


def settled(exchange_id: int) -> str:
    """String: exchange-clock ms up to which every monitored series is final, proven absent or given up on."""
    return f"exchange:{exchange_id}:settled"


def audited(exchange_id: int) -> str:
    """Hash, timeframe -> open (ms) of the first candle that no completed audit has compared yet."""
    return f"exchange:{exchange_id}:audited"


def auditing(exchange_id: int, timeframe: str) -> str:
    """String, a lock: somebody compares the hour just now."""
    return f"exchange:{exchange_id}:auditing:{timeframe}"


def counters(exchange_id: int) -> str:
    """Hash of monotonic counters."""
    return f"exchange:{exchange_id}:counters"


def latency(name: str) -> str:
    """Hash: log-bucket histogram of a latency in ms."""
    return f"livermore:latency:{name}"


def budget(exchange_id: int, credential: str = "public") -> str:
    return f"budget:{exchange_id}:{credential}"


def upgrades_refused(exchange_id: int) -> str:
    """String with TTL: the status (429, 418) of a refused WebSocket upgrade; nobody connects while it is."""
    return f"exchange:{exchange_id}:upgrades-refused"


def account_events(exchange_id: int) -> str:
    """Stream: what happened to accounts of this exchange: registered, or a fill or order changed."""
    return f"account-events:{exchange_id}"


def account_channels(exchange_id: int) -> str:
    """Hash, account key -> JSON {state, reason, since_ms}: the user channels the instance holds open."""
    return f"exchange:{exchange_id}:account-channels"


def command_queue(exchange_id: int, lane: str) -> str:
    """Sorted set: commands (`command_of`) taken and not yet run, by rank and order of arrival."""
    return f"exchange:{exchange_id}:commands:{lane}"


def command_bodies(exchange_id: int) -> str:
    """Hash, `command_of` -> command as JSON, of those queued and those running."""
    return f"exchange:{exchange_id}:commands:bodies"


def command_running(exchange_id: int) -> str:
    """Hash, `command_of` -> token of the claim under which it runs."""
    return f"exchange:{exchange_id}:commands:running"


def command_sequence(exchange_id: int) -> str:
    """String: counts commands taken, for their order."""
    return f"exchange:{exchange_id}:commands:sequence"


def command_of(correlation_id: str, sub: str) -> str:
    """A command among those of its exchange; an id holds no slash, a sub may hold anything."""
    return f"{correlation_id}/{sub}"


def command_seen(correlation_id: str, sub: str) -> str:
    """String with TTL: this user's command of this id was taken."""
    return f"livermore:command:{command_of(correlation_id, sub)}:seen"


def command_reply(correlation_id: str, sub: str) -> str:
    """String (JSON, TTL): the newest reply to a command, for a sender that missed it."""
    return f"livermore:command:{command_of(correlation_id, sub)}:reply"


def malformed_seen(digest: str) -> str:
    """String with TTL: this malformed message has been answered by one of the instances that heard it."""
    return f"livermore:command:malformed:{digest}"


def channel_commands(sub: str) -> str:
    """Commands of the user `sub`; '*' for the pattern of all users' (C1)."""
    return f"livermore:commands:{sub}"


def channel_responses(sub: str) -> str:
    return f"livermore:responses:{sub}"


def home_exchanges(home: str) -> str:
    """Set: ids of the exchanges this home (`control.process.home_name`) was told to run."""
    return f"livermore:home-exchanges:{home}"


def run_process(task_id: str) -> str:
    """String (JSON): the process that works on the Dagster run of this Celery task."""
    return f"livermore:run-process:{task_id}"


def network_log(exchange_name: str) -> str:
    return f"logs:network:{exchange_name}"


def channel_indicator(exchange_id: int, symbol: str, timeframe: Timeframe, kind: str = MACDV) -> str:
    return f"channel:indicator:{exchange_id}:{symbol}:{timeframe.value}:{kind}"


def channel_close(exchange_id: int, symbol: str, timeframe: Timeframe) -> str:
    return f"channel:exchange:{exchange_id}:candle:close:{symbol}:{timeframe.value}"


def channel_ticker(exchange_id: int, symbol: str) -> str:
    return f"channel:ticker:{exchange_id}:{symbol}"


def channel_alerts(exchange_id: int) -> str:
    return f"channel:alerts:{exchange_id}"
