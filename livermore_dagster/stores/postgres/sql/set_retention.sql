INSERT INTO retention (timeframe, keep_days, changed_by)
VALUES (%(kept)s, %(keep_days)s, %(by)s)
ON CONFLICT (timeframe) DO UPDATE
SET keep_days = EXCLUDED.keep_days, changed_by = EXCLUDED.changed_by, changed_at = now()
