-- The write rule: one atomic call per batch. Higher rank wins; within a rank the later stamp, then more trades,
-- then more volume. A candle that becomes final or gets other values is appended to closes in this same call.
-- KEYS: closes, counters, then one sorted set per series.
-- ARGV: size, exchange id, exchange name (JSON), wall ms, number of series;
--       per series: symbol, symbol (JSON), timeframe, length in ms, channel;
--       per candle: series, open ms, member, proven ms.
-- Returns one letter per candle: i(nserted) u(pdated) v(revised) n(o change) r(efused) o(lder).
local call, sub, find = redis.call, string.sub, string.find
local size = tonumber(ARGV[1])
local exchange, name, wall = ARGV[2], ARGV[3], ARGV[4]
local series_count = tonumber(ARGV[5])
local HEAD = 18 -- 8 open, 1 rank, 1 origin, 8 stamp (base 36 of fixed width sorts as text)
local HISTORY = { t = true, w = true, f = true }
local counts, appended, revised = {}, 0, 0

local function split(member)
  -- values (open…volume as one text), volume, trades
  local _, a = find(member, ',', HEAD + 2, true)
  local _, b = find(member, ',', a + 1, true)
  local _, c = find(member, ',', b + 1, true)
  local _, d = find(member, ',', c + 1, true)
  local e = find(member, ',', d + 1, true)
  if e then
    return sub(member, HEAD + 2, e - 1), sub(member, d + 1, e - 1), tonumber(sub(member, e + 1))
  end
  return sub(member, HEAD + 2), sub(member, d + 1), -1
end

-- 1 when the new member is the later one, -1 when the old one is, 0 when neither; and whether values differ
local function compare(new, old)
  local new_values, new_volume, new_trades = split(new)
  local old_values, old_volume, old_trades = split(old)
  local differ = new_values ~= old_values
  local new_stamp, old_stamp = sub(new, 11, HEAD), sub(old, 11, HEAD)
  if new_stamp ~= old_stamp then
    return new_stamp > old_stamp and 1 or -1, differ
  end
  if new_trades ~= old_trades then
    return new_trades > old_trades and 1 or -1, differ
  end
  local a, b = tonumber(new_volume), tonumber(old_volume)
  if a ~= b then
    return a > b and 1 or -1, differ
  end
  return 0, differ
end

local function close(series, open, member, proven, revision)
  local at = 6 + (series - 1) * 5
  local symbol, timeframe = ARGV[at], ARGV[at + 2]
  call('XADD', KEYS[1], '*', 's', symbol, 't', timeframe, 'm', member, 'p', proven, 'w', wall,
    'r', revision and '1' or '0')
  appended = appended + 1
  if revision then
    revised = revised + 1
  else
    counts[timeframe] = (counts[timeframe] or 0) + 1
  end
  if not HISTORY[sub(member, 10, 10)] then
    local o, h, l, c, v = string.match(member, '^[^,]*,([^,]*),([^,]*),([^,]*),([^,]*),([^,]*)')
    call('PUBLISH', ARGV[at + 4], table.concat({
      '{"exchange_id":', exchange, ',"exchange":', name, ',"symbol":', ARGV[at + 1],
      ',"timeframe":"', timeframe, '","open_ms":', open,
      ',"end_ms":', string.format('%.0f', tonumber(open) + tonumber(ARGV[at + 3])),
      ',"open":"', o, '","high":"', h, '","low":"', l, '","close":"', c, '","volume":"', v,
      '","settled":', sub(member, 9, 9) == '2' and 'true' or 'false',
      ',"revision":', revision and 'true' or 'false', '}' }))
  end
end

local function insert(key, series, open, member, proven)
  local held = call('ZCARD', key)
  if held >= size then
    local oldest = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if tonumber(open) < tonumber(oldest) then
      return 'o'
    end
  end
  call('ZADD', key, open, member)
  if held >= size then
    call('ZREMRANGEBYRANK', key, 0, held - size)
  end
  if sub(member, 9, 9) ~= '0' then
    close(series, open, member, proven, false)
  end
  return 'i'
end

local function write(series, open, member, proven)
  local key = KEYS[series + 2]
  local old = call('ZRANGEBYSCORE', key, open, open)[1]
  if not old then
    return insert(key, series, open, member, proven)
  end
  if old == member then
    return 'n'
  end
  local new_rank, old_rank = sub(member, 9, 9), sub(old, 9, 9)
  if new_rank < old_rank then
    return 'r'
  end
  local order, differ = compare(member, old)
  local rises = new_rank > old_rank
  if not rises then
    if order < 0 or (order == 0 and differ) then
      return 'r'
    end
    if order == 0 then
      return 'n' -- only the origin differs
    end
  end
  call('ZREM', key, old)
  call('ZADD', key, open, member)
  if new_rank == '0' then
    return differ and 'u' or 'n'
  end
  if old_rank == '0' then
    close(series, open, member, proven, false)
    return 'u'
  end
  if not differ then
    return 'n'
  end
  close(series, open, member, proven, true)
  return 'v'
end

local results = {}
for at = 6 + series_count * 5, #ARGV, 4 do
  results[#results + 1] = write(tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
if appended > 0 then
  call('HINCRBY', KEYS[2], 'closes', appended)
  for timeframe, count in pairs(counts) do
    call('HINCRBY', KEYS[2], 'candles:' .. timeframe, count)
  end
end
if revised > 0 then
  call('HINCRBY', KEYS[2], 'revised', revised)
end
return table.concat(results)
