-- Moves series between the shared key and the keys of the users who want them (X3), within one call: whoever reads
-- finds all candles before it and after it, and no close is raised. The first owner's key is written and judged by
-- the write rule, the others' are copies of it.
-- KEYS: owners (hash, symbol -> user ids with commas).
-- ARGV: exchange id, candles kept per series, seconds a user's key lives, number of timeframes, the timeframes, then
--       per symbol: symbol, its owners ('': shared).
-- Returns how many series were moved.
local call, sub = redis.call, string.sub
local exchange, size, life, count = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local function places(owners, symbol, timeframe)
  local found = {}
  for id in string.gmatch(owners, '%d+') do
    found[#found + 1] = 'usercandles:' .. id .. ':' .. exchange .. ':' .. symbol .. ':' .. timeframe
  end
  if #found == 0 then
    found[1] = 'candles:' .. exchange .. ':' .. symbol .. ':' .. timeframe
  end
  return found
end

-- What a key still holds from before is kept where the series lacks it, or holds it of a lower rank.
local function merge(from, to)
  local old = call('ZRANGE', to, 0, -1, 'WITHSCORES')
  for at = 1, #old, 2 do
    local held = call('ZRANGEBYSCORE', from, old[at + 1], old[at + 1])[1]
    if not held then
      call('ZADD', from, old[at + 1], old[at])
    elseif sub(old[at], 9, 9) > sub(held, 9, 9) then
      call('ZREM', from, held)
      call('ZADD', from, old[at + 1], old[at])
    end
  end
  call('ZREMRANGEBYRANK', from, 0, -size - 1)
end

local function move(before, after, shared)
  local kept = {}
  for _, key in ipairs(before) do
    kept[key] = true
  end
  local from, to = before[1], after[1]
  if call('EXISTS', from) == 1 and from ~= to then
    if not kept[to] and call('EXISTS', to) == 1 then
      merge(from, to)
    end
    call('COPY', from, to, 'REPLACE')
  end
  local wanted = { [to] = true }
  for at = 2, #after do
    wanted[after[at]] = true
    if call('COPY', to, after[at], 'REPLACE') == 0 then
      call('UNLINK', after[at])
    end
  end
  for _, key in ipairs(before) do
    if not wanted[key] then
      call('UNLINK', key)
    end
  end
  for _, key in ipairs(after) do
    if shared then
      call('PERSIST', key)
    else
      call('EXPIRE', key, life)
    end
  end
end

local moved = 0
for at = 5 + count, #ARGV, 2 do
  local symbol, owners = ARGV[at], ARGV[at + 1]
  local before = call('HGET', KEYS[1], symbol) or ''
  if before ~= owners then
    for t = 5, 4 + count do
      move(places(before, symbol, ARGV[t]), places(owners, symbol, ARGV[t]), owners == '')
      moved = moved + 1
    end
    if owners == '' then
      call('HDEL', KEYS[1], symbol)
    else
      call('HSET', KEYS[1], symbol, owners)
    end
  end
end
return moved
