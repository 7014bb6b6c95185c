-- The write rule: one atomic call per batch. Higher rank wins; within a rank the later stamp, then more trades,
-- then more volume. A candle that becomes final or gets other values is appended to closes in this same call.
-- KEYS: closes, counters, owners, symbols that are gone, then the shared sorted set of each series. A series that
--       users own lives in their keys instead (place_candles.lua): the first is judged, all are written. Of symbols
--       that are gone nothing is kept here, whoever still brings it: its place is the table, as of what is older.
-- ARGV: one MessagePack list (a thousand arguments take the client longer than the writing), in it
--       size, wall ms, number of series; per series: symbol, timeframe, channel;
--       per candle: series, open ms, member (member.py), proven ms, message to publish but for its end ('': none).
--       All but size, number of series and series are text.
-- Returns one letter per candle: i(nserted) u(pdated) v(revised) n(o change) r(efused) o(lder, or gone).
local call, sub, find = redis.call, string.sub, string.find
local given = cmsgpack.unpack(ARGV[1])
local size, wall, series_count = given[1], given[2], given[3]
local counts, appended, revised = {}, 0, 0
local USER_KEYS_LIVE = 86400 -- seconds, from the last write

-- Series -> its users' keys, for those that have owners.
local owned = {}
if call('EXISTS', KEYS[3]) == 1 then
  local symbols = {}
  for series = 1, series_count do
    symbols[series] = given[4 + (series - 1) * 3]
  end
  local owners = call('HMGET', KEYS[3], unpack(symbols))
  for series = 1, series_count do
    if owners[series] then
      owned[series] = {}
      for id in string.gmatch(owners[series], '%d+') do
        table.insert(owned[series], 'usercandles:' .. id .. sub(KEYS[series + 4], 8))
      end
    end
  end
end

-- Series -> whether nobody monitors any more.
local gone = {}
if call('EXISTS', KEYS[4]) == 1 then
  for series = 1, series_count do
    gone[series] = call('SISMEMBER', KEYS[4], given[4 + (series - 1) * 3]) == 1
  end
end

local function key_of(series)
  return owned[series] and owned[series][1] or KEYS[series + 4]
end

local function change(series, command, ...)
  if not owned[series] then
    call(command, KEYS[series + 4], ...)
    return
  end
  for _, key in ipairs(owned[series]) do
    call(command, key, ...)
  end
end

-- stamp, values (prices and volume as one text), volume, trades
local function split(member)
  local a = find(member, ',', 11, true)
  local b = find(member, ',', a + 1, true)
  b = find(member, ',', b + 1, true)
  b = find(member, ',', b + 1, true)
  b = find(member, ',', b + 1, true)
  local c = find(member, ',', b + 1, true)
  local values = sub(member, a + 1, c and c - 1)
  return sub(member, 11, a - 1), values, sub(member, b + 1, c and c - 1),
    c and tonumber(sub(member, c + 1), 36) or -1
end

local function amount(volume)
  return tonumber(sub(volume, 2), 36) / 10 ^ tonumber(sub(volume, 1, 1), 36)
end

-- 1 when the new member is the later one, -1 when the old one is, 0 when neither; and whether values differ
local function compare(new, old)
  local new_stamp, new_values, new_volume, new_trades = split(new)
  local old_stamp, old_values, old_volume, old_trades = split(old)
  local differ = new_values ~= old_values
  if new_stamp ~= old_stamp then
    local later = #new_stamp > #old_stamp or (#new_stamp == #old_stamp and new_stamp > old_stamp)
    return later and 1 or -1, differ
  end
  if new_trades ~= old_trades then
    return new_trades > old_trades and 1 or -1, differ
  end
  if new_volume ~= old_volume then
    return amount(new_volume) > amount(old_volume) and 1 or -1, differ
  end
  return 0, differ
end

local function close(series, member, proven, message, revision)
  local at = 4 + (series - 1) * 3
  local timeframe = given[at + 1]
  call('XADD', KEYS[1], '*', 's', given[at], 't', timeframe, 'm', member, 'p', proven, 'w', wall,
    'r', revision and '1' or '0')
  appended = appended + 1
  if revision then
    revised = revised + 1
  else
    counts[timeframe] = (counts[timeframe] or 0) + 1
  end
  if message ~= '' then
    call('PUBLISH', given[at + 2], message .. (revision and 'true}' or 'false}'))
  end
end

local function insert(series, open, member, proven, message)
  local key = key_of(series)
  local held = call('ZCARD', key)
  if held >= size then
    local oldest = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if tonumber(open) < tonumber(oldest) then
      return 'o'
    end
  end
  change(series, 'ZADD', open, member)
  if held >= size then
    change(series, 'ZREMRANGEBYRANK', 0, held - size)
  end
  if sub(member, 9, 9) ~= '0' then
    close(series, member, proven, message, false)
  end
  return 'i'
end

local function write(series, open, member, proven, message)
  if gone[series] then
    return 'o'
  end
  local old = call('ZRANGEBYSCORE', key_of(series), open, open)[1]
  if not old then
    return insert(series, open, member, proven, message)
  end
  if old == member then
    return 'n'
  end
  local new_rank, old_rank = sub(member, 9, 9), sub(old, 9, 9)
  if new_rank < old_rank then
    return 'r'
  end
  local order, differ = compare(member, old)
  if new_rank == old_rank then
    if order < 0 or (order == 0 and differ) then
      return 'r'
    end
    if order == 0 then
      return 'n' -- only the origin differs
    end
  end
  change(series, 'ZREM', old)
  change(series, 'ZADD', open, member)
  if new_rank == '0' then
    return differ and 'u' or 'n'
  end
  if old_rank == '0' then
    close(series, member, proven, message, false)
    return 'u'
  end
  if not differ then
    return 'n'
  end
  close(series, member, proven, message, true)
  return 'v'
end

local results = {}
for at = 4 + series_count * 3, #given, 5 do
  results[#results + 1] = write(given[at], given[at + 1], given[at + 2], given[at + 3], given[at + 4])
end
for series in pairs(owned) do
  change(series, 'EXPIRE', USER_KEYS_LIVE)
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
