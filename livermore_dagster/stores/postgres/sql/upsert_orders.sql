-- An order may change: the version told later stands. Returns those new, those changed.
WITH given AS (
    SELECT * FROM json_to_recordset(%(orders)s::json) AS given (
        symbol text, order_id text, base text, quote text, side text, order_type text, status text,
        created_ms bigint, updated_ms bigint, filled_size numeric, filled_value numeric, average_price numeric,
        fee numeric, fee_currency text, fill_count integer, settled boolean
    )
), written AS (
    INSERT INTO orders AS kept (
        account_id, symbol, order_id, base, quote, side, order_type, status, created_ms, updated_ms, filled_size,
        filled_value, average_price, fee, fee_currency, fill_count, settled
    )
    SELECT %(account_id)s, given.* FROM given
    ON CONFLICT (account_id, symbol, order_id) DO UPDATE SET
        order_type = excluded.order_type, status = excluded.status, created_ms = excluded.created_ms,
        updated_ms = excluded.updated_ms, filled_size = excluded.filled_size,
        filled_value = excluded.filled_value, average_price = excluded.average_price, fee = excluded.fee,
        fee_currency = excluded.fee_currency, fill_count = excluded.fill_count, settled = excluded.settled
    -- A page read before the order changed may arrive after one that knows more: nothing is unfilled again, and
    -- what is settled stays so.
    WHERE excluded.filled_size >= kept.filled_size AND excluded.settled >= kept.settled
      AND (kept.status, kept.updated_ms, kept.filled_size, kept.filled_value, kept.fee, kept.settled)
          IS DISTINCT FROM (excluded.status, excluded.updated_ms, excluded.filled_size, excluded.filled_value,
                            excluded.fee, excluded.settled)
    RETURNING (xmax = 0) AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
