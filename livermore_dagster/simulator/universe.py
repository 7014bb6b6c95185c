"""The products each simulated exchange lists: its own ids, ranks, prices, and their fate in a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from livermore_dagster.errors import BadSetting, UnknownExchange
from livermore_dagster.simulator.market import MINUTE_MS, SymbolPlan
from livermore_dagster.simulator.noise import key_of

__all__ = ["EXCHANGES", "MOST_SYMBOLS", "Listing", "new_listing", "recorded_listing", "universe"]

EXCHANGES = ("binance", "binance_us", "coinbase")

# Base, name, price in USD; best known first. Names of thin and special markets are placed by rank below.
_LIQUID = (
    ("BTC", "Bitcoin", 94_850.0), ("ETH", "Ethereum", 3_310.0), ("SOL", "Solana", 188.0),
    ("XRP", "XRP", 2.41), ("DOGE", "Dogecoin", 0.331), ("BNB", "BNB", 702.0),
    ("ADA", "Cardano", 0.93), ("SUI", "Sui", 4.62), ("LINK", "Chainlink", 22.4),
    ("AVAX", "Avalanche", 38.7), ("PEPE", "Pepe", 0.0000183), ("LTC", "Litecoin", 108.0),
    ("DOT", "Polkadot", 7.05), ("NEAR", "NEAR Protocol", 5.42), ("UNI", "Uniswap", 13.8),
    ("APT", "Aptos", 9.4), ("HBAR", "Hedera", 0.284), ("XLM", "Stellar", 0.412),
    ("BCH", "Bitcoin Cash", 447.0), ("ARB", "Arbitrum", 0.795), ("OP", "Optimism", 1.93),
    ("ATOM", "Cosmos", 6.71), ("FIL", "Filecoin", 5.3), ("INJ", "Injective", 22.9),
    ("ICP", "Internet Computer", 10.6), ("ETC", "Ethereum Classic", 26.8), ("AAVE", "Aave", 312.0),
    ("SHIB", "Shiba Inu", 0.0000217), ("TAO", "Bittensor", 463.0), ("RENDER", "Render", 7.6),
    ("FET", "Fetch.ai", 1.31), ("SEI", "Sei", 0.437), ("ALGO", "Algorand", 0.362),
    ("GRT", "The Graph", 0.213), ("IMX", "Immutable", 1.42), ("LDO", "Lido DAO", 1.87),
    ("CRV", "Curve DAO", 0.884), ("SAND", "The Sandbox", 0.59), ("MANA", "Decentraland", 0.496),
    ("AXS", "Axie Infinity", 6.2),
)  # fmt: skip
_SPARSE = (
    ("POWR", "Powerledger", 0.247), ("NKN", "NKN", 0.0823), ("REQ", "Request", 0.128),
    ("OXT", "Orchid", 0.0914), ("CTSI", "Cartesi", 0.172), ("BAND", "Band", 1.46),
    ("KNC", "Kyber Network", 0.577), ("RLC", "iExec", 2.19), ("STORJ", "Storj", 0.513),
    ("CELR", "Celer", 0.0203),
)  # fmt: skip
_MORE = (
    ("JUP", "Jupiter", 0.94), ("STX", "Stacks", 1.83), ("MKR", "Maker", 1540), ("RUNE", "THORChain", 3.12),
    ("SNX", "Synthetix", 1.97), ("COMP", "Compound", 71.2), ("ENS", "Ethereum Name Service", 31.4),
    ("GALA", "Gala", 0.0371), ("APE", "ApeCoin", 1.12), ("CHZ", "Chiliz", 0.0812),
    ("EGLD", "MultiversX", 31.8), ("FLOW", "Flow", 0.71), ("KAVA", "Kava", 0.462), ("MINA", "Mina", 0.583),
    ("ROSE", "Oasis", 0.0842), ("ZEC", "Zcash", 54.3), ("DASH", "Dash", 37.2), ("XTZ", "Tezos", 1.24),
    ("EOS", "EOS", 0.782), ("NEO", "Neo", 13.9), ("IOTA", "IOTA", 0.291), ("QTUM", "Qtum", 2.98),
    ("ZIL", "Zilliqa", 0.0214), ("BAT", "Basic Attention Token", 0.236), ("ENJ", "Enjin", 0.211),
    ("ZRX", "0x", 0.497), ("YFI", "yearn.finance", 8120), ("SUSHI", "SushiSwap", 1.34),
    ("BAL", "Balancer", 2.61), ("UMA", "UMA", 2.73), ("LRC", "Loopring", 0.217), ("SKL", "SKALE", 0.0487),
    ("ANKR", "Ankr", 0.0336), ("AUDIO", "Audius", 0.168), ("MASK", "Mask Network", 2.87),
    ("DYDX", "dYdX", 1.48), ("GMX", "GMX", 27.6), ("PENDLE", "Pendle", 5.11), ("WLD", "Worldcoin", 2.14),
    ("TIA", "Celestia", 4.93), ("PYTH", "Pyth", 0.371), ("JTO", "Jito", 3.06), ("BONK", "Bonk", 0.0000312),
    ("WIF", "dogwifhat", 1.89), ("FLOKI", "Floki", 0.000172), ("STRK", "Starknet", 0.463),
    ("ZK", "ZKsync", 0.187), ("ZRO", "LayerZero", 5.36), ("EIGEN", "EigenLayer", 3.61),
    ("ENA", "Ethena", 0.927), ("ETHFI", "ether.fi", 2.13), ("ONDO", "Ondo", 1.37),
    ("MANTA", "Manta", 0.812), ("DYM", "Dymension", 1.44), ("ALT", "AltLayer", 0.104),
    ("PIXEL", "Pixels", 0.158), ("PORTAL", "Portal", 0.327), ("AEVO", "Aevo", 0.412),
    ("SAGA", "Saga", 1.21), ("OMNI", "Omni", 8.77), ("REZ", "Renzo", 0.0391), ("NOT", "Notcoin", 0.00683),
    ("IO", "io.net", 2.92), ("LISTA", "Lista", 0.438), ("BLAST", "Blast", 0.00921),
    ("DOGS", "Dogs", 0.000463), ("HMSTR", "Hamster", 0.00287), ("SCR", "Scroll", 0.861),
    ("MOVE", "Movement", 0.983), ("ME", "Magic Eden", 2.77), ("USUAL", "Usual", 0.842),
    ("PENGU", "Pudgy Penguins", 0.0317), ("VIRTUAL", "Virtuals", 3.84), ("AIXBT", "aixbt", 0.583),
    ("CGPT", "ChainGPT", 0.281), ("COOKIE", "Cookie", 0.492), ("SOLV", "Solv", 0.0874),
    ("ANIME", "Animecoin", 0.0463), ("BERA", "Berachain", 5.97), ("LAYER", "Solayer", 0.937),
    ("KAITO", "Kaito", 1.62), ("RED", "RedStone", 0.713), ("SYRUP", "Maple", 0.153),
    ("BABY", "Babylon", 0.0843), ("INIT", "Initia", 0.694), ("SXT", "Space and Time", 0.117),
    ("HUMA", "Huma", 0.0412), ("RESOLV", "Resolv", 0.204), ("NEWT", "Newton", 0.331),
    ("SPK", "Spark", 0.0571),
)  # fmt: skip
"""What long lists hold beyond the first fifty ranks."""
MOST_SYMBOLS = 600
"""Ranked bases an exchange can list; those beyond the names above are numbered."""
_SPARSE_ACTIVITY = (0.16, 0.075, 0.035, 0.11, 0.05)
"""Chance of a print in 15 s: a minute is empty in 50 … 87 % of cases, five minutes in 3 … 49 %."""
_SPARSE_RANKS = frozenset({3, 7, 11, 14, 18, 23, 27, 31, 34, 38})
_SILENT_RANK, _LISTED_RANK, _QUOTE_STALL_RANK = 5, 9, 4
_YOUNG_RANK, _YOUNG_LISTED_MS = (
    16,
    1_755_691_200_000,
)  # 2025-08-20T12:00Z: too few daily bars for a full warm-up
_OLDEST_LISTING_MS = 1_483_228_800_000  # 2017-01-01
_HOUR = 60 * MINUTE_MS
LISTED_AFTER = 75 * MINUTE_MS
SILENT_AFTER, SILENT_FOR = 70 * MINUTE_MS, 5 * _HOUR
QUOTE_STALL_AFTER, QUOTE_STALL_FOR = 80 * MINUTE_MS, 15 * MINUTE_MS
_TOP_VOLUME = {"binance": 3.1e9, "binance_us": 2.4e7, "coinbase": 1.2e9}
_DAY_SLOTS = 5760


@dataclass(frozen=True, slots=True)
class Listing:
    """A product on an exchange's list and, where it trades, the plan of its market."""

    symbol: str
    base: str
    quote: str
    name: str
    kind: str
    """liquid, sparse, silent, listed; or untraded for one that is halted."""
    quote_volume: float
    """Stated 24 h volume in quote currency; nominal, so that ranks hold as symbols come and fall silent."""
    plan: SymbolPlan
    trading: bool = True
    alias_of: str = ""
    quote_stall: tuple[int, int] | None = None
    """[from, to) in epoch ms in which no ticker is sent."""


def universe(exchange: str, seed: int, origin_ms: int, symbols: int = 40) -> list[Listing]:
    """The exchange's product list with `symbols` ranked bases, best volume first within each group.

    Times of the listing, the silence and the stalled quotes count from `origin_ms`, the market time at which
    the run was begun; everything else depends on the seed alone.
    """
    if exchange not in EXCHANGES:
        raise UnknownExchange(exchange, EXCHANGES)
    maker = _Maker(exchange, seed, origin_ms)
    listings: list[Listing] = []
    for rank, (base, name, price, kind) in enumerate(_ranked(symbols)):
        volume = _ranked_volume(_TOP_VOLUME[exchange], rank)
        listings.append(maker.ranked(rank, base, name, price, kind, volume))
    listed = {listing.symbol for listing in listings}
    # A short list has fewer books than there are names for them.
    return [*listings, *(one for one in maker.others() if not one.alias_of or one.alias_of in listed)]


def new_listing(
    exchange: str, seed: int, base: str, price: float, quote_volume: float, listed_ms: int
) -> Listing:
    """A product that comes later, against the exchange's main quote."""
    maker = _Maker(exchange, seed, listed_ms)
    return maker.listing(
        base, maker.main_quote, base.capitalize(), price, quote_volume, kind="listed", listed_ms=listed_ms
    )


def recorded_listing(
    exchange: str, symbol: str, figures: tuple[int, int, int, int, int], known: Listing | None
) -> Listing:
    """The product of a recorded series.

    `figures`: price decimals, lot decimals, a price in ticks, mean volume in lots, first open (ms).
    """
    price_decimals, lot_decimals, ticks, lots, first_ms = figures
    base, quote = (known.base, known.quote) if known else _parts(symbol)
    price = ticks / 10**price_decimals
    plan = SymbolPlan(
        exchange, symbol, base, price, price_decimals, lot_decimals, float(lots), listed_ms=first_ms
    )
    volume = known.quote_volume if known else _ranked_volume(_TOP_VOLUME[exchange], 0)
    return Listing(symbol, base, quote, base.capitalize(), "recorded", volume, plan)


def _parts(symbol: str) -> tuple[str, str]:
    """Base and quote of a recorded symbol the exchange does not list: by its dash, else by known quotes."""
    if "-" in symbol:
        base, _, quote = symbol.partition("-")
        return base, quote
    for quote in ("USDT", "USDC", "USD", "BTC", "ETH", "EUR"):
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote), quote
    raise BadSetting(
        f"The quote of the recorded symbol {symbol!r} cannot be told.", "Name it like BTCUSDT or BTC-USD."
    )


def _ranked(symbols: int) -> list[tuple[str, str, float, str]]:
    liquid, sparse = iter((*_LIQUID, *_MORE)), iter(_SPARSE)
    chosen: list[tuple[str, str, float, str]] = []
    for rank in range(min(symbols, MOST_SYMBOLS)):
        if rank == _LISTED_RANK:
            chosen.append(("NOVA", "Nova Network", 1.27, "listed"))
        elif rank == _SILENT_RANK:
            chosen.append(("MUTE", "Mute Protocol", 3.86, "silent"))
        else:
            kind = "sparse" if rank in _SPARSE_RANKS else "liquid"
            found = next(sparse if kind == "sparse" else liquid, None) or next(liquid, _numbered(rank))
            chosen.append((*found, kind))
    return chosen


def _numbered(rank: int) -> tuple[str, str, float]:
    """A base for load, from a hundredth of a dollar to some hundred."""
    return f"N{rank}", f"Number {rank}", round(0.01 * 3.7 ** (rank % 8), 5)


def _ranked_volume(top: float, rank: int) -> float:
    """Whole units, so that the last bit of a machine's power function does not show in a market."""
    return float(round(top / (rank + 1) ** 1.1))


class _Maker:
    def __init__(self, exchange: str, seed: int, origin_ms: int) -> None:
        self.exchange, self.seed = exchange, seed
        # The events begin on a whole minute, whatever the origin.
        self.origin = origin_ms - origin_ms % MINUTE_MS

    @property
    def main_quote(self) -> str:
        return "USD" if self.exchange == "coinbase" else "USDT"

    def symbol(self, base: str, quote: str) -> str:
        return f"{base}-{quote}" if self.exchange == "coinbase" else f"{base}{quote}"

    def listing(
        self,
        base: str,
        quote: str,
        name: str,
        price: float,
        volume: float,
        *,
        kind: str = "liquid",
        activity: float = 1.0,
        volatility: float = 0.0005,
        listed_ms: int | None = None,
        silent: tuple[int, int] | None = None,
        trading: bool = True,
        alias_of: str = "",
        path: str = "",
        quote_stall: tuple[int, int] | None = None,
    ) -> Listing:
        symbol = self.symbol(base, quote)
        magnitude = math.floor(math.log10(price))
        price_decimals = min(8, max(2, 4 - magnitude))
        lot_decimals = min(5, max(0, magnitude + 1))
        lots = volume / price / (_DAY_SLOTS * min(1.0, activity)) * 10.0**lot_decimals
        age_days = key_of(self.seed, "age", self.exchange, symbol) % 700
        past = _OLDEST_LISTING_MS + age_days * 24 * _HOUR + 12 * _HOUR
        plan = SymbolPlan(
            exchange=self.exchange,
            symbol=alias_of or symbol,
            base=path or base,
            price=price,
            price_decimals=price_decimals,
            lot_decimals=lot_decimals,
            mean_lots=max(lots, 2.0),
            volatility=volatility,
            activity=activity,
            listed_ms=past if listed_ms is None else listed_ms,
            silent=silent,
        )
        return Listing(symbol, base, quote, name, kind, volume, plan, trading, alias_of, quote_stall)

    def ranked(self, rank: int, base: str, name: str, price: float, kind: str, volume: float) -> Listing:
        activity = _SPARSE_ACTIVITY[rank % len(_SPARSE_ACTIVITY)] if kind == "sparse" else 1.0
        volatility = (0.00045, 0.0005, 0.0006, 0.0007)[rank % 4]
        listed_ms = {_LISTED_RANK: self.origin + LISTED_AFTER, _YOUNG_RANK: _YOUNG_LISTED_MS}.get(rank)
        stall_from = self.origin + QUOTE_STALL_AFTER
        silent_from = self.origin + SILENT_AFTER
        return self.listing(
            base,
            self.main_quote,
            name,
            price,
            volume,
            kind=kind,
            activity=activity,
            volatility=volatility,
            listed_ms=listed_ms,
            silent=(silent_from, silent_from + SILENT_FOR) if kind == "silent" else None,
            quote_stall=(stall_from, stall_from + QUOTE_STALL_FOR) if rank == _QUOTE_STALL_RANK else None,
        )

    def others(self) -> list[Listing]:
        """Second quotes, aliases, stable, fiat, leveraged and halted products: what filters are for."""
        top = _TOP_VOLUME[self.exchange]
        still = 0.000004
        if self.exchange == "coinbase":
            return [
                *(
                    self.listing(base, "USDC", name, price, _ranked_volume(top, rank), alias_of=f"{base}-USD")
                    for rank, (base, name, price) in enumerate(_LIQUID[:12])
                ),
                self.listing("USDT", "USD", "Tether", 1.0, top * 0.2, volatility=still),
                self.listing("USDT", "USDC", "Tether", 0.9997, top * 0.05, volatility=still),
                self.listing("EURC", "USDC", "Euro Coin", 1.043, top * 0.02, volatility=0.00002),
                self.listing("BTC", "EUR", "Bitcoin", 90_900.0, top * 0.03),
                self.listing("ETH", "BTC", "Ethereum", 0.0349, top * 1e-7, path="ETH/BTC"),
                self.listing("BTC", "USDT", "Bitcoin", 94_870.0, top * 0.04),
                self.listing("LUNA", "USD", "Terra", 0.41, top * 0.5, kind="untraded", trading=False),
            ]
        second = "USD" if self.exchange == "binance_us" else "USDC"
        common = [
            *(
                self.listing(base, second, name, price, _ranked_volume(top * 0.2, rank))
                for rank, (base, name, price) in enumerate(_LIQUID[:8])
            ),
            self.listing("USDC", "USDT", "USD Coin", 0.9998, top * 0.6, volatility=still),
            self.listing("ETH", "BTC", "Ethereum", 0.0349, top * 3e-7, path="ETH/BTC"),
            self.listing("LUNA", "USDT", "Terra", 0.41, top * 0.5, kind="untraded", trading=False),
        ]
        if self.exchange == "binance_us":
            return [*common, self.listing("USDT", "USD", "Tether", 1.0, top * 0.3, volatility=still)]
        return [
            *common,
            self.listing("FDUSD", "USDT", "First Digital USD", 0.9991, top * 0.4, volatility=still),
            self.listing("EUR", "USDT", "Euro", 1.043, top * 0.1, volatility=0.00002),
            self.listing("BTC", "FDUSD", "Bitcoin", 94_900.0, top * 0.3),
            self.listing("BTCUP", "USDT", "Bitcoin 3x long", 18.3, top * 0.02, volatility=0.0015),
            self.listing("ETHDOWN", "USDT", "Ethereum 3x short", 0.62, top * 0.015, volatility=0.0015),
            self.listing("BTC", "EUR", "Bitcoin", 90_900.0, top * 0.05),
        ]
