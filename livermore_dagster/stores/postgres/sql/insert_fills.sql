-- Stored once, and never changed: a fill told otherwise than before is returned, not written.
WITH given AS (
    SELECT * FROM json_to_recordset(%(fills)s::json) AS given (
        symbol text, fill_id text, order_id text, base text, quote text, side text, filled_ms bigint,
        price numeric, size numeric, value numeric, fee numeric, fee_currency text, liquidity text,
        fee_quote numeric, fee_rate_source text
    )
), written AS (
    INSERT INTO fills (
        account_id, symbol, fill_id, order_id, base, quote, side, filled_ms, price, size, value, fee, fee_currency,
        liquidity, fee_quote, fee_rate_source
    )
    SELECT %(account_id)s, given.* FROM given
    ON CONFLICT (account_id, symbol, fill_id) DO NOTHING
    RETURNING symbol, fill_id
)
SELECT
    (SELECT count(*) FROM written),
    array(
        SELECT kept.symbol || ' ' || kept.fill_id
        FROM given JOIN fills kept USING (symbol, fill_id)
        WHERE kept.account_id = %(account_id)s
          AND (kept.order_id, kept.side, kept.filled_ms, kept.price, kept.size, kept.value, kept.fee,
               kept.fee_currency)
              IS DISTINCT FROM (given.order_id, given.side, given.filled_ms, given.price, given.size, given.value,
                                given.fee, given.fee_currency)
        ORDER BY 1
    )
