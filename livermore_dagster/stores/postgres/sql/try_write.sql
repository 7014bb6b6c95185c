-- Writes a row's lock and nothing else: refused where nothing can be written, and durable as any write when committed.
SELECT stamp FROM provenance FOR NO KEY UPDATE SKIP LOCKED
