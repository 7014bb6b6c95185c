UPDATE exchange_symbols
SET trading = false, listed = false, volume_rank = NULL, updated_at = now()
WHERE exchange_id = %(exchange_id)s AND (trading OR listed OR volume_rank IS NOT NULL)
    AND symbol <> ALL (%(symbols)s::text[])
