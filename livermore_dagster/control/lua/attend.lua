-- KEYS: the member's key, index of members. ARGV: token, facts as JSON, TTL in ms, order.
-- Writes the member's facts; the index lives as long as the youngest member.
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], 'NX', ARGV[4], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
