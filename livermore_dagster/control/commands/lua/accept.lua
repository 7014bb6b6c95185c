-- KEYS: seen, queue of the lane, bodies, sequence, status, reply. ARGV: name, command as JSON, rank, claim token,
-- ms to remember, channel of the sender, acknowledgement as JSON.
-- Takes a command once, if the caller still holds the claim, and acknowledges it in the same step. Returns 1 taken,
-- 0 known already, -1 not the holder, or its sender has given up on it.
local held = redis.call('GET', KEYS[5])
if not held or cjson.decode(held)['token'] ~= ARGV[4] then return -1 end
local fresh = redis.call('SET', KEYS[1], 'taken', 'NX', 'PX', ARGV[5])
if fresh then
  redis.call('DEL', KEYS[6]) -- of the same command, refused before
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[2], tonumber(ARGV[3]) * 1e12 + redis.call('INCR', KEYS[4]), ARGV[1])
elseif redis.call('GET', KEYS[1]) == 'withdrawn' then
  return -1
end
redis.call('PUBLISH', ARGV[6], ARGV[7])
return fresh and 1 or 0
