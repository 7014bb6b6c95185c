-- KEYS: bodies, running, status. ARGV: claim token.
-- Commands that ran under a claim that is no more, taken out; each is answered once, by who gets it here.
local held = redis.call('GET', KEYS[3])
if not held or cjson.decode(held)['token'] ~= ARGV[1] then return {} end
local found = {}
local running = redis.call('HGETALL', KEYS[2])
for place = 1, #running, 2 do
  if running[place + 1] ~= ARGV[1] then
    table.insert(found, redis.call('HGET', KEYS[1], running[place]))
    redis.call('HDEL', KEYS[2], running[place])
    redis.call('HDEL', KEYS[1], running[place])
  end
end
return found
