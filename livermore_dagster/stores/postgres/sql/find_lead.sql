-- Where the newest so many observed candles of the span begin, and true; where the newest candles looked at
-- hold fewer, the oldest of these (NULL: there is none), and false. Reads no further back than it has to.
WITH newest AS NOT MATERIALIZED (
    SELECT open_ms, volume
    FROM candles
    WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s
        AND open_ms >= %(start_ms)s AND open_ms < %(end_ms)s
    ORDER BY open_ms DESC
    LIMIT %(most)s
), observed AS (
    SELECT open_ms
    FROM newest
    WHERE volume > 0
    ORDER BY open_ms DESC
    OFFSET %(count)s - 1
    LIMIT 1
)
SELECT
    coalesce((SELECT open_ms FROM observed), (SELECT min(open_ms) FROM newest)),
    EXISTS (SELECT FROM observed)
