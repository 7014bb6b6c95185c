"""A fee report as text: amounts for people, and the Markdown file of F6. Only here amounts are rounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from livermore_dagster.exchanges.universe import CASH
from livermore_dagster.market.decimals import exact
from livermore_dagster.market.fees import FeeLine, FeeReport, MonthBy, UnconvertedFee
from livermore_dagster.market.trades import FeeTier
from livermore_dagster.stores.postgres.fee_tiers import SeenTier

__all__ = [
    "NO_FILLS",
    "as_money",
    "as_rate",
    "as_size",
    "aside_words",
    "heading_lines",
    "maker_taker_row",
    "markdown",
    "moment",
    "table_columns",
    "table_row",
    "tables",
    "tier_told",
]

NO_FILLS: Final = "No trade there."
"""Stands where the tables would."""

Table = tuple[str, Sequence[str], Sequence[FeeLine]]


def as_money(amount: Decimal | None, currency: str) -> str:
    """1,234.57 (a half is rounded away from zero); eight places in a coin (BTC, BNB)."""
    if amount is None:
        return "–"
    places = Decimal("0.01") if currency in CASH else Decimal("0.00000001")
    with exact():
        rounded = amount.quantize(places, ROUND_HALF_UP)
        return f"{rounded or abs(rounded):,f}"


def as_size(amount: Decimal) -> str:
    """A size in units of an asset, or a price: separators, at most eight places, no zeros at the end."""
    with exact():
        text = f"{amount.quantize(Decimal('0.00000001'), ROUND_HALF_UP):,f}"
    return text.rstrip("0").rstrip(".")


def as_rate(fraction: Decimal | None) -> str:
    """0.006 is 0.600%."""
    if fraction is None:
        return "–"
    with exact():
        return f"{(fraction * 100).quantize(Decimal('0.001'), ROUND_HALF_UP)}%"


def moment(at_ms: int | None) -> str:
    return "–" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def tier_told(seen: Sequence[SeenTier]) -> FeeTier | None:
    """The account's tier as seen last (`seen`: newest first).

    Where the exchange tells rates market by market it is that of most markets, named by how many they are.
    """
    newest: dict[str, FeeTier] = {}
    for one in seen:
        newest.setdefault(one.market, one.tier)
    if not newest or "" in newest:
        return newest.get("")
    alike: dict[tuple[Decimal, Decimal, str], list[FeeTier]] = {}
    for market, tier in newest.items():
        named = tier.name.startswith(market)
        condition = tier.name.removeprefix(market) if named else f" ({tier.name})"
        alike.setdefault((tier.maker_rate, tier.taker_rate, condition), []).append(tier)
    (_, _, condition), most = max(alike.items(), key=lambda item: len(item[1]))
    count = f"{len(most)} of {len(newest)}" if len(most) < len(newest) else f"all {len(newest)}"
    return replace(most[0], name=f"{count} markets traded{condition}")


def _months_word(report: FeeReport) -> str:
    """What the months are of."""
    return "creation of the order" if report.facts.month_by is MonthBy.CREATED else "time of the fill"


def heading_lines(report: FeeReport) -> list[tuple[str, str]]:
    """(name, value): generated at, data range, counts, tier, and what the numbers lack."""
    facts = report.facts
    lines = [
        ("Generated", moment(facts.generated_ms)),
        ("Account", facts.account),
    ]
    if facts.first_ms is not None:
        lines.append(("Data", f"{moment(facts.first_ms)} to {moment(facts.last_ms)}"))
    if facts.since_ms is not None or facts.until_ms is not None:
        since = moment(facts.since_ms) if facts.since_ms is not None else "the beginning"
        until = moment(facts.until_ms) if facts.until_ms is not None else "now"
        lines.append(("Asked for", f"{since} to {until}"))
    if facts.symbol is not None:
        lines.append(("Symbol", facts.symbol))
    lines.append(("Orders", f"{report.orders:,} with {report.fills:,} fills"))
    if facts.tier is not None:
        tier = facts.tier
        lines.append(
            ("Fee tier", f"{tier.name}: maker {as_rate(tier.maker_rate)}, taker {as_rate(tier.taker_rate)}")
        )
        if tier.volume_30d is not None and tier.currency is not None:
            fees = f", fees {as_money(tier.fees_30d, tier.currency)}" if tier.fees_30d is not None else ""
            volume = as_money(tier.volume_30d, tier.currency)
            lines.append(("Last 30 days", f"volume {volume}{fees} {tier.currency}"))
    lines.append(("Months", f"UTC, by {_months_word(report)}"))
    if not facts.complete:
        lines.append(("Note", "The history is not read to its end yet: later reports may hold more."))
    if facts.aside:
        lines.append(("Set aside", f"{aside_words(facts.aside)}: the exchange's entries that are in no sum."))
    lines += [("Not converted", _unconverted_words(one)) for one in report.unconverted]
    return lines


def aside_words(counts: Mapping[str, int]) -> str:
    """'3 REVERSAL, 1 SYNTHETIC'."""
    return ", ".join(f"{count:,} {trade_type}" for trade_type, count in sorted(counts.items()))


def _unconverted_words(one: UnconvertedFee) -> str:
    return (
        f"{one.amount.normalize():f} {one.currency} in fees of {one.fills:,} fills have no known price and "
        "are in no sum; lines that lack some are marked *."
    )


def tables(report: FeeReport) -> list[Table]:
    """Title, first columns, lines."""
    return [
        ("By symbol", ("symbol",), report.by_symbol),
        ("By symbol and side", ("symbol", "side"), report.by_side),
        ("By month (UTC)", ("month",), report.by_month),
    ]


def table_columns(first: Sequence[str]) -> list[str]:
    middle = ["currency", "fees", "volume", "rate"]
    return [*first, *middle, *(["average fee"] if first == ("symbol",) else []), "orders"]


def table_row(line: FeeLine, first: Sequence[str], label: str | None = None) -> list[str]:
    """Cells as text; with `label` a total, which has no names."""
    names = [str(getattr(line, name) or "unknown") for name in first]
    if label is not None:
        names = [label, *[""] * (len(first) - 1)]
    star = "*" if line.unconverted else ""
    cells = [*names, line.quote, as_money(line.fees, line.quote) + star, as_money(line.volume, line.quote)]
    cells.append(as_rate(line.rate) + star)
    if first == ("symbol",):
        cells.append(as_money(line.average_fee, line.quote) + star)
    return [*cells, f"{line.orders:,}"]


def markdown(report: FeeReport) -> str:
    """The whole report; numbers right-aligned, totals bold."""
    facts = report.facts
    parts = [f"# Trading fees on {facts.exchange}", ""]
    parts += [f"- **{name}:** {value}" for name, value in heading_lines(report)]
    if not report.fills:
        return "\n".join([*parts, "", NO_FILLS]) + "\n"
    for title, first, lines in tables(report):
        parts += ["", f"## {title}", ""]
        head = table_columns(first)
        body = [table_row(line, first) for line in lines]
        total = [_bold(table_row(line, first, "Total")) for line in report.totals]
        parts += _markdown_table(head, [*body, *total], len(first) + 1)
    parts += ["", "## Maker and taker", ""]
    parts += _markdown_table(
        ["currency", "maker volume", "maker fees", "maker rate", "taker volume", "taker fees", "taker rate"],
        [maker_taker_row(line) for line in report.totals], 1,
    )  # fmt: skip
    if report.in_currency is not None:
        parts += ["", f"## All in {report.in_currency.quote}", "", *_in_one_currency(report)]
    return "\n".join(parts) + "\n"


def maker_taker_row(line: FeeLine) -> list[str]:
    return [
        line.quote,
        as_money(line.maker_volume, line.quote),
        as_money(line.maker_fees, line.quote),
        as_rate(line.maker_rate),
        as_money(line.taker_volume, line.quote),
        as_money(line.taker_fees, line.quote),
        as_rate(line.taker_rate),
    ]


def _in_one_currency(report: FeeReport) -> list[str]:
    line = report.in_currency
    if line is None:
        return []
    rates = ", ".join(f"1 {quote} = {rate} {line.quote}" for quote, rate in sorted(report.rates.items()))
    return [
        f"Fees **{as_money(line.fees, line.quote)}**, volume **{as_money(line.volume, line.quote)}**, rate "
        f"**{as_rate(line.rate)}**" + (f" at {rates}, as stated." if rates else ".")
    ]


def _bold(cells: Iterable[str]) -> list[str]:
    return [f"**{cell}**" if cell else "" for cell in cells]


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """The first `left` columns are text, the others numbers; padded, so that the file reads as it is too."""
    cells = [list(head), *[[cell.replace("|", "\\|") for cell in row] for row in rows]]
    widths = [max(3, *(len(row[at]) for row in cells)) for at in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )  # fmt: skip
        return f"| {' | '.join(padded)} |"

    rule = "|".join(
        "-" * (width + 2) if at < left else "-" * (width + 1) + ":" for at, width in enumerate(widths)
    )
    return [line(cells[0]), f"|{rule}|", *(line(row) for row in cells[1:])]
