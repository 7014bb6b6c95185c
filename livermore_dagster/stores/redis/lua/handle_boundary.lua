-- Who fetches a boundary: begin (absent, stale or one's own), renew, finish.
-- KEYS: hash of records. ARGV: verb, boundary ms, by, stale ms, records kept. The clock is the server's own.
local verb, boundary, by = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local text = redis.call('HGET', KEYS[1], boundary)
local record = text and cjson.decode(text)

if record and record.state == 'finished' then
  return 0
end
local own = record and record.by == by
if verb == 'begin' then
  if record and not own and now - record.at_ms < tonumber(ARGV[4]) then
    return 0
  end
elseif not own then
  return 0
end

local state = verb == 'finish' and 'finished' or 'started'
redis.call('HSET', KEYS[1], boundary,
  string.format('{"state":"%s","by":%s,"at_ms":%.0f}', state, cjson.encode(by), now))
if redis.call('HLEN', KEYS[1]) > 2 * tonumber(ARGV[5]) then
  local all = redis.call('HKEYS', KEYS[1])
  table.sort(all, function(a, b) return tonumber(a) < tonumber(b) end)
  for i = 1, #all - tonumber(ARGV[5]) do
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return 1
