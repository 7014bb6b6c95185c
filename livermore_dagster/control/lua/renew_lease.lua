-- KEYS: lease. ARGV: token, facts as JSON, TTL in ms.
-- Returns 1 renewed, 0 no lease, -1 another's.
local held = redis.call('GET', KEYS[1])
if not held then return 0 end
if cjson.decode(held)['token'] ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[1], ARGV[2], 'XX', 'PX', ARGV[3])
return 1
