INSERT INTO provenance (id, stamp) VALUES (1, %(stamp)s) ON CONFLICT (id) DO NOTHING
