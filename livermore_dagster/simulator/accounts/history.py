"""An account's history: its orders and fills with what each cost, and the transfers that made them possible.

Exact throughout: prices in ticks, sizes in lots, values in ticks × lots, fees in whole units of 10**-places.
Volume counts in millionths of a USD; a stable coin counts as one USD, EUR and BTC at the market's price then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from livermore_dagster.simulator.accounts.draw import OPEN, Drawn, Ints, Sizes, draw_trades
from livermore_dagster.simulator.accounts.tiers import BNB_DISCOUNT_PERCENT, TIERS, WINDOW_MS
from livermore_dagster.simulator.market import MINUTE_MS
from livermore_dagster.simulator.noise import draw, key_of
from livermore_dagster.simulator.universe import Listing
from livermore_dagster.simulator.venue import Venue

__all__ = ["Charges", "History", "Pricing", "Transfer", "draw_history", "fee_places", "traded"]

STABLE = frozenset({"USD", "USDC", "USDT", "FDUSD"})
_PROXIES = {
    "coinbase": {"EUR": "EURC-USDC", "BTC": "BTC-USD"},
    "binance": {"EUR": "EURUSDT", "BTC": "BTCUSDT"},
    "binance_us": {"EUR": "EURUSDT", "BTC": "BTCUSDT"},
}
_BNB = {"binance": "BNBUSDT", "binance_us": "BNBUSDT"}
FEE_DECIMALS = 8
"""Binance charges in whole units of 10**-8 of any asset, rounded down."""
_STABLE_MAKER_PPM = -50
"""A liquidity programme's rebate on Coinbase's stable pairs."""
_STABLE_TAKER_PPM = 10


@dataclass(frozen=True, slots=True)
class Transfer:
    """A deposit, or a withdrawal where `amount` is below 0."""

    currency: str
    amount: Decimal
    at_ms: int


@dataclass(slots=True)
class Charges:
    """What fills cost: rate in parts per million before any discount, fee in units of its places."""

    ppm: Ints
    fee: Ints
    asset: Ints
    """Index into History.assets."""
    micro_usd: Ints


@dataclass(slots=True)
class History:
    """Columns of orders (by creation) and fills (by time)."""

    listings: list[Listing]
    assets: list[str]
    orders: Drawn
    charges: Charges
    transfers: list[Transfer]


def fee_places(venue: Venue, item: Listing) -> int:
    """Decimals of a fill's fee: Coinbase states value × rate unrounded."""
    if venue.name == "coinbase":
        return item.plan.price_decimals + item.plan.lot_decimals + 6
    return FEE_DECIMALS


def draw_history(venue: Venue, account: str, sizes: Sizes) -> History:
    """The history of an account up to the market time at which the run began."""
    market = Pricing(venue, account)
    listings = traded(venue, sizes.symbols)
    drawn = draw_trades(venue, account, sizes, listings, market.rough_prices(listings))
    order = np.lexsort((drawn.fill_order, drawn.fill_at))
    for name in ("fill_order", "fill_at", "fill_ticks", "fill_lots", "fill_maker"):
        setattr(drawn, name, getattr(drawn, name)[order])
    by_creation = np.argsort(drawn.created, kind="stable")
    place = np.empty_like(by_creation)
    place[by_creation] = np.arange(len(by_creation))
    for name in ("symbol", "sell", "kind", "status", "created", "updated", "lots", "limit"):
        setattr(drawn, name, getattr(drawn, name)[by_creation])
    drawn.fill_order = place[drawn.fill_order]
    assets = sorted({side for item in listings for side in (item.base, item.quote)} | {"BNB"})
    charges = market.charges(drawn, listings, assets)
    transfers = _transfers(venue, listings, assets, drawn, charges, sizes.days)
    return History(listings, assets, drawn, charges, transfers)


def traded(venue: Venue, count: int) -> list[Listing]:
    """The first `count` products an account trades: main products, every fourth an alias or other quote."""
    known = STABLE | {"EUR", "BTC"}
    latest = venue.clock.origin_ms - 3 * 86_400_000
    able = [
        item
        for item in venue.listings.values()
        if item.trading and item.quote in known and item.plan.listed_ms < latest
        # A recorded series has no market to have traded in.
        if venue.canonical_symbol(item.symbol) not in venue.recorded
    ]
    quote = able[0].quote if able else ""
    main = [item for item in able if item.quote == quote and item.base not in STABLE]
    extra = [item for item in able if item not in main]
    # From the end of the list too: other quotes stand behind a row of aliases.
    extra = [extra[i // 2 if i % 2 == 0 else -1 - i // 2] for i in range(len(extra))]
    chosen: list[Listing] = []
    while main or extra:
        chosen += [*main[:3], *extra[:1]]
        main, extra = main[3:], extra[1:]
    return chosen[:count]


class Pricing:
    """Fees as the exchange charges them, and what amounts were worth in USD at their time."""

    def __init__(self, venue: Venue, account: str) -> None:
        self.venue, self.account = venue, account

    def rough_prices(self, listings: Iterable[Listing]) -> dict[str, float]:
        rough = dict.fromkeys(STABLE, 1.0)
        for quote, proxy in _PROXIES[self.venue.name].items():
            found = self.venue.listings.get(proxy)
            rough[quote] = found.plan.price if found else 1.0
        return rough

    def price_at(self, symbol: str, at: Ints) -> tuple[Ints, int]:
        """First traded price of each minute in ticks, and the ticks' decimals."""
        item = self.venue.listings[symbol]
        prints = self.venue.market(symbol).prints_at(at // MINUTE_MS)
        first = prints.price[np.arange(len(at)), prints.has.argmax(axis=1)]
        return np.where(prints.has.any(axis=1), first, int(item.plan.price * 10**item.plan.price_decimals)), (
            item.plan.price_decimals
        )

    def micro_usd(self, item: Listing, value: Ints, at: Ints) -> Ints:
        """What a value in the item's quote was worth."""
        places = item.plan.price_decimals + item.plan.lot_decimals
        proxy = _PROXIES[self.venue.name].get(item.quote)
        if proxy is None or proxy not in self.venue.listings:
            return _scaled(value, places, 6)
        ticks, more = self.price_at(proxy, at)
        return _scaled(value * ticks, places + more, 6)

    def charges(self, drawn: Drawn, listings: list[Listing], assets: list[str]) -> Charges:
        at, owner = drawn.fill_at, drawn.fill_order
        symbol, sell = drawn.symbol[owner], drawn.sell[owner]
        value = drawn.fill_ticks * drawn.fill_lots
        micro = np.zeros(len(at), dtype=np.int64)
        for index, item in enumerate(listings):
            mine = np.flatnonzero(symbol == index)
            micro[mine] = self.micro_usd(item, value[mine], at[mine])
        maker_ppm, taker_ppm = self._tier_rates(at, micro)
        ppm = np.where(drawn.fill_maker, maker_ppm, taker_ppm)
        for index, item in enumerate(listings):
            special = self.special_ppm(item)
            if special is not None:
                mine = np.flatnonzero(symbol == index)
                ppm[mine] = np.where(drawn.fill_maker[mine], *special)
        fee, asset = np.zeros(len(at), dtype=np.int64), np.zeros(len(at), dtype=np.int64)
        for index, item in enumerate(listings):
            mine = np.flatnonzero(symbol == index)
            base, quote = assets.index(item.base), assets.index(item.quote)
            received = np.where(sell[mine], quote, base)
            if self.venue.name == "coinbase":
                fee[mine], asset[mine] = value[mine] * ppm[mine], quote
                continue
            fee[mine] = self.received_fee(item, sell[mine], drawn.fill_lots[mine], value[mine], ppm[mine])
            asset[mine] = received
        if _BNB.get(self.venue.name) in self.venue.listings:
            paying = np.flatnonzero(self._pays_in_bnb(at))
            fee[paying] = self.bnb_fee(micro[paying], ppm[paying], at[paying])
            asset[paying] = assets.index("BNB")
        return Charges(ppm, fee, asset, micro)

    def _tier_rates(self, at: Ints, micro: Ints) -> tuple[Ints, Ints]:
        """Maker and taker rate of each fill: by the volume of the 30 days before it, itself left out."""
        tiers = TIERS[self.venue.name]
        total = np.concatenate(([0], np.cumsum(micro)))
        volume = total[np.searchsorted(at, at)] - total[np.searchsorted(at, at - WINDOW_MS)]
        found = np.searchsorted([tier.from_usd * 10**6 for tier in tiers], volume, side="right") - 1
        maker, taker = (np.array([getattr(t, name) for t in tiers]) for name in ("maker_ppm", "taker_ppm"))
        return maker[found], taker[found]

    def special_ppm(self, item: Listing) -> tuple[int, int] | None:
        """(maker, taker) of a product outside the tiers."""
        if self.venue.name == "coinbase" and item.base in {"USDT", "EURC"}:
            return _STABLE_MAKER_PPM, _STABLE_TAKER_PPM
        return (0, 0) if item.quote == "FDUSD" or item.base in {"FDUSD", "USDC"} else None

    def received_fee(
        self, item: Listing, sell: NDArray[np.bool_], lots: Ints, value: Ints, ppm: Ints
    ) -> Ints:
        """Binance takes its fee from what is received: base of a buy, quote of a sale; rounded down."""
        of_base = _scaled(lots * ppm, item.plan.lot_decimals + 6, FEE_DECIMALS)
        places = item.plan.price_decimals + item.plan.lot_decimals
        return np.where(sell, _scaled(value * ppm, places + 6, FEE_DECIMALS), of_base)

    def bnb_fee(self, micro: Ints, ppm: Ints, at: Ints) -> Ints:
        ticks, decimals = self.price_at(_BNB[self.venue.name], at)
        due = 100 - BNB_DISCOUNT_PERCENT[self.venue.name]
        return np.asarray(micro * ppm // 10**4 * due * 10**decimals // (ticks * 10**2), dtype=np.int64)

    def _pays_in_bnb(self, at: Ints) -> NDArray[np.bool_]:
        """Two months of three the account paid in BNB, unless it had none left just then."""
        drawn = draw(key_of(self.venue.seed, "bnb", self.venue.name, self.account), 0, len(at))
        month = at // (30 * 86_400_000)
        return np.asarray((month % 3 != 0) & ((drawn >> np.uint64(40)) % np.uint64(100) < 92), dtype=np.bool_)


def _scaled(units: Ints, places: int, wanted: int) -> Ints:
    """Units of 10**-places as whole units of 10**-wanted, rounded down."""
    if wanted >= places:
        return np.asarray(units * 10 ** (wanted - places), dtype=np.int64)
    return np.asarray(units // 10 ** (places - wanted), dtype=np.int64)


# --- transfers ------------------------------------------------------------------------------------------


def _transfers(
    venue: Venue, listings: list[Listing], assets: list[str], drawn: Drawn, charges: Charges, days: int
) -> list[Transfer]:
    """Deposits that keep every balance above zero at every moment, and some beyond that; withdrawals."""
    begin = min((venue.clock.origin_ms - days * 86_400_000, *drawn.created[:1].tolist())) - 3_600_000
    middle = venue.clock.origin_ms - days * 43_200_000
    lowest, final = _course(venue, listings, assets, drawn, charges)
    transfers = []
    for index, asset in enumerate(assets):
        stable = asset in STABLE or asset == "EUR"
        need = -float(lowest[index]) * 1.02
        if stable and need > 0:
            need += 250.0
        if need > 0:
            transfers.append(Transfer(asset, _round_up(need, 2 if stable else 6), begin))
    # What came in by transfer in mid-year and was never traded, and what went out at the end.
    for asset, amount in (("ETH", "0.75"), ("SOL", "12.5")):
        if asset in assets:
            transfers.append(Transfer(asset, Decimal(amount), middle))
    for index, asset in enumerate(assets):
        if asset in ("BTC", "LINK", "ADA") and final[index] - min(lowest[index], 0.0) > 0:
            out = Decimal(int((final[index] - min(lowest[index], 0.0)) * 0.2 * 10**4)) / 10**4
            if out > 0:
                transfers.append(Transfer(asset, -out, venue.clock.origin_ms - MINUTE_MS))
    return transfers


def _course(
    venue: Venue, listings: list[Listing], assets: list[str], drawn: Drawn, charges: Charges
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How low each asset's balance would have gone without transfers, and where it ended; holds included."""
    owner = drawn.fill_order
    symbol, sign = drawn.symbol[owner], np.where(drawn.sell[owner], -1.0, 1.0)
    lot = np.array([10.0**-item.plan.lot_decimals for item in listings])
    tick = np.array([10.0**-item.plan.price_decimals for item in listings])
    fee_unit = np.array([10.0 ** -fee_places(venue, item) for item in listings])
    base = np.array([assets.index(item.base) for item in listings])
    quote = np.array([assets.index(item.quote) for item in listings])
    size = drawn.fill_lots * lot[symbol] * sign
    value = drawn.fill_ticks * tick[symbol] * -size
    fee = -charges.fee * fee_unit[symbol]
    open_ = np.flatnonzero(drawn.status == OPEN)
    held = drawn.symbol[open_]
    held_size = drawn.lots[open_] * lot[held]
    held_value = held_size * drawn.limit[open_] * tick[held] * 1.02
    asset = np.concatenate(
        (base[symbol], quote[symbol], charges.asset, np.where(drawn.sell[open_], base[held], quote[held]))
    )
    amount = np.concatenate((size, value, fee, -np.where(drawn.sell[open_], held_size, held_value)))
    at = np.concatenate((drawn.fill_at, drawn.fill_at, drawn.fill_at, np.full(len(open_), 2**62)))
    # Of one moment what goes out stands first: no order of bookings may lead below zero.
    order = np.lexsort((amount, at, asset))
    asset, amount = asset[order], amount[order]
    lowest, final = np.zeros(len(assets)), np.zeros(len(assets))
    bounds = np.searchsorted(asset, np.arange(len(assets) + 1))
    for index in range(len(assets)):
        mine = np.cumsum(amount[bounds[index] : bounds[index + 1]])
        if len(mine):
            lowest[index], final[index] = mine.min(), mine[-1]
    return lowest, final


def _round_up(amount: float, places: int) -> Decimal:
    return Decimal(math.ceil(amount * 10**places)).scaleb(-places)
