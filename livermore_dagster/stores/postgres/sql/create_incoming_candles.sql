CREATE TEMPORARY TABLE IF NOT EXISTS incoming_candles (
    symbol text NOT NULL,
    timeframe text NOT NULL,
    open_ms bigint NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    trades integer NOT NULL,
    rank smallint NOT NULL,
    stamp_ms bigint NOT NULL
) ON COMMIT DELETE ROWS
