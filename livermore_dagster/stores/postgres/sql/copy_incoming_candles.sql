COPY incoming_candles (symbol, timeframe, open_ms, open, high, low, close, volume, trades, rank, stamp_ms)
FROM STDIN
