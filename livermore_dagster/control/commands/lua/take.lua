-- KEYS: queue of the lane, bodies, running, status. ARGV: claim token.
-- The next command of the lane, marked as running under the caller's claim; false when there is none, or no claim.
local held = redis.call('GET', KEYS[4])
if not held or cjson.decode(held)['token'] ~= ARGV[1] then return false end
local found = redis.call('ZPOPMIN', KEYS[1])
if #found == 0 then return false end
redis.call('HSET', KEYS[3], found[1], ARGV[1])
return redis.call('HGET', KEYS[2], found[1])
