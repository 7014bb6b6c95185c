-- KEYS: bodies, running, status. ARGV: claim token, names of the commands in flight at the caller.
-- Commands that run nowhere: taken over under the caller's claim, to be answered and only then forgotten.
local held = redis.call('GET', KEYS[3])
if not held or cjson.decode(held)['token'] ~= ARGV[1] then return {} end
local here = {}
for place = 2, #ARGV do here[ARGV[place]] = true end
local found = {}
for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
  if not here[name] then
    local body = redis.call('HGET', KEYS[1], name)
    if body then
      redis.call('HSET', KEYS[2], name, ARGV[1])
      table.insert(found, body)
    else
      redis.call('HDEL', KEYS[2], name)
    end
  end
end
return found
