WITH taken AS (
    DELETE FROM asked_ranges
    WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s
        AND from_ms <= %(to_ms)s AND to_ms >= %(from_ms)s
    RETURNING from_ms, to_ms, asked_ms
)
SELECT min(from_ms), max(to_ms), min(asked_ms) FROM taken
