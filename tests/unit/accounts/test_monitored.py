"""What is monitored: each symbol once, canonical, Tier 1 by rank, then what users want (X3, X3b)."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from livermore_dagster.accounts.monitored import Gone, MonitoredList, Tier, Wish, merge
from livermore_dagster.accounts.settings import UserSettings, parse_document
from livermore_dagster.accounts.wishes import DEFAULT_TOP, choice_for, wishes_of
from livermore_dagster.stores.postgres.balances import Holding
from livermore_dagster.stores.postgres.symbols import SymbolRow
from livermore_dagster.stores.redis.desired import Desired, SymbolChoice


def product(base: str, rank: int | None, *, trading: bool = True, listed: bool = True) -> SymbolRow:
    return SymbolRow(f"{base}-USD", base, "USD", trading, volume_rank=rank, listed=listed, price="2")


ROWS = [
    product("BTC", 1),
    product("ETH", 2),
    product("SOL", 3),
    product("ADA", 4),
    SymbolRow("BTC-USDC", "BTC", "USDC", True, alias_of="BTC-USD"),
    SymbolRow("ADA-USDC", "ADA", "USDC", True, alias_of="ADA-USD"),
    SymbolRow("ETH-BTC", "ETH", "BTC", True),
    product("LUNA", None, trading=False),
    product("OLD", None, trading=False, listed=False),
]
TOP2 = SymbolChoice(top=2)


def test_both_tiers_are_merged_under_canonical_ids() -> None:
    wishes = [
        Wish(2, "bo", "ETH-BTC"),
        Wish(2, "bo", "ADA-USDC"),
        Wish(1, "al", "BTC-USDC"),
        Wish(1, "al", "ADA-USD", held=True),
    ]
    found = merge(TOP2, ROWS, wishes)
    assert [(one.symbol, one.tier, one.reason) for one in found.symbols] == [
        ("BTC-USD", Tier.SHARED, "rank 1"),
        ("ETH-USD", Tier.SHARED, "rank 2"),
        ("ADA-USD", Tier.OWN, "held"),
        ("ETH-BTC", Tier.OWN, "added"),
    ]
    assert found.symbols[0].users == ("al",)
    assert found.symbols[0].asked_as == ("BTC-USDC",)
    assert found.symbols[2].users == ("al", "bo")
    assert found.owners == {"ADA-USD": (1, 2), "ETH-BTC": (2,)}


def test_what_does_not_trade_is_left_out_with_its_reason() -> None:
    wishes = [Wish(1, "al", symbol) for symbol in ("LUNA-USD", "OLD-USD", "NEVER-USD")]
    found = merge(TOP2, ROWS, wishes)
    assert found.ids == ["BTC-USD", "ETH-USD"]
    assert {one.symbol: one.why for one in found.left_out} == {
        "LUNA-USD": Gone.HALTED,
        "OLD-USD": Gone.DELISTED,
        "NEVER-USD": Gone.UNKNOWN,
    }
    assert all(one.users == ("al",) for one in found.left_out)


def test_chosen_names_stand_in_place_of_the_most_traded_and_wishes_still_count() -> None:
    found = merge(SymbolChoice(listed=("SOL-USD", "BTC-USDC")), ROWS, [Wish(1, "al", "ADA-USD")])
    assert found.ids == ["SOL-USD", "BTC-USD", "ADA-USD"]
    assert [one.tier for one in found.symbols] == [Tier.SHARED, Tier.SHARED, Tier.OWN]


def test_position_monitor_watches_held_symbols_only() -> None:
    wishes = [Wish(1, "al", "SOL-USD"), Wish(1, "al", "BTC-USD", held=True)]
    assert merge(TOP2, ROWS, wishes, held_only=True).ids == ["BTC-USD"]


SYMBOLS = st.sampled_from([row.symbol for row in ROWS] + ["NEVER-USD"])
WISHES = st.lists(
    st.builds(
        lambda user, symbol, held: Wish(user, f"u{user}", symbol, held),
        st.integers(1, 3),
        SYMBOLS,
        st.booleans(),
    )
)
LISTS = st.builds(
    lambda top, wishes, held: merge(SymbolChoice(top=top), ROWS, wishes, held_only=held),
    st.integers(1, 6),
    WISHES,
    st.booleans(),
)


@given(LISTS)
def test_each_symbol_is_there_once_and_trades(found: MonitoredList) -> None:
    assert len(set(found.ids)) == len(found.ids)
    rows = {row.symbol: row for row in ROWS}
    assert all(rows[symbol].trading and rows[symbol].alias_of is None for symbol in found.ids)
    tiers = [one.tier for one in found.symbols]
    assert tiers == sorted(tiers)
    assert all(one.user_ids for one in found.symbols if one.tier is Tier.OWN)


@given(st.integers(1, 6), WISHES, st.randoms())
def test_the_order_of_wishes_changes_nothing(top: int, wishes: list[Wish], random: object) -> None:
    shuffled = list(wishes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merge(SymbolChoice(top=top), ROWS, wishes) == merge(SymbolChoice(top=top), ROWS, shuffled)


@given(LISTS, LISTS)
def test_a_change_leads_from_one_list_to_the_other(before: MonitoredList, after: MonitoredList) -> None:
    change = after.since(before)
    assert (set(before.ids) - set(change.removed)) | set(change.added) == set(after.ids)
    assert not set(change.added) & set(before.ids)
    assert set(change.removed) <= set(before.ids)
    tiers = {one.symbol: one.tier for one in before.symbols}
    for one in after.symbols:
        if one.symbol in tiers:
            assert (one.symbol in change.promoted) == (one.tier < tiers[one.symbol])
            assert (one.symbol in change.demoted) == (one.tier > tiers[one.symbol])
    assert bool(change) == (
        [(o.symbol, o.tier) for o in before.symbols] != [(o.symbol, o.tier) for o in after.symbols]
    )


def person(user_id: int, **document: object) -> UserSettings:
    return UserSettings(
        user_id, f"u{user_id}", f"User {user_id}", "user", 1, parse_document(json.dumps(document))
    )


def test_wishes_are_enabled_additions_and_holdings_of_those_who_trade_there() -> None:
    people = [
        person(1, symbols={"coinbase": {"SOL-USD": {}, "ADA-USD": {"enabled": False}}, "binance": {"X": {}}}),
        person(2, symbols={"coinbase": {"ETH-USD": {}}}, exchanges={"coinbase": {"enabled": False}}),
        person(3),
    ]
    holdings = [
        ("u3", 3, "BTC", "1"),
        ("u3", 3, "ADA", "0.1"),
        ("u3", 3, "USD", "1000"),
        ("u2", 2, "SOL", "5"),
    ]
    typed = [Holding(user, sub, currency, Decimal(amount)) for sub, user, currency, amount in holdings]
    found = wishes_of(people, "coinbase", typed, ROWS)
    assert found == [Wish(1, "u1", "SOL-USD"), Wish(3, "u3", "BTC-USD", held=True)]


def test_tier_1_is_as_large_as_said_at_the_start_else_as_the_starters_settings_say() -> None:
    people = [person(1, scanner={"top_n": 7}), person(2, scanner={"top_n": 9, "exchange": "binance"})]
    said = Desired("running", SymbolChoice(top=3), "u1")
    assert choice_for(said, people, "coinbase") == SymbolChoice(top=3)
    assert choice_for(Desired("running", user="u1"), people, "coinbase") == SymbolChoice(top=7)
    assert choice_for(Desired("running", user="u2"), people, "coinbase") == SymbolChoice(top=DEFAULT_TOP)
    assert choice_for(Desired("running", user="u2"), people, "binance") == SymbolChoice(top=9)
    assert choice_for(Desired("running"), people, "coinbase") == SymbolChoice(top=DEFAULT_TOP)
