-- KEYS: status, last known status. ARGV: token of the dead holder, new status as JSON, TTL in ms.
-- Returns 1 when the claim was still the dead holder's and is now the caller's, else 0.
local held = redis.call('GET', KEYS[1])
if not held or cjson.decode(held)['token'] ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'XX', 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2])
return 1
