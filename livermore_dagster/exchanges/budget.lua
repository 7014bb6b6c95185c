-- The shared request budget of one exchange and credential.
--
-- A unit of weight counts from the moment it is taken until one window after its *reply* was seen (later when
-- no reply came: it may still be on its way; its lifetime bounds both when its process died). Whenever the exchange sees a request arrive, every other request
-- that arrived within the window before is therefore still counted here, however long each was on its way:
-- no window of the exchange's can hold more than the capacity.
--
-- After a refusal the budget is half open once its closure is over: one request goes out, the probe, and the
-- others wait for its reply. Let in, it opens the budget; refused, it closes it again for longer. All at once
-- they would be refused together, and an exchange may lengthen its ban for each.
--
-- KEYS: 1 state (hash)  2 active (zset "ticket|weight" by expiry)  3 waiting (zset ticket by place)
--       4 alive (zset ticket by when it is given up)
local state, active, waiting, alive = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local command = ARGV[1]

local REFUSALS_REMEMBERED_MS = 600000
local LONG_WINDOW_MS = 5000
local LONGEST_GUESS_MS = 300000
local PROBE_POLL_MS = 25
-- Nothing was heard of the probe (5xx, no reply, not sent at all): so long the next one waits at least.
local PROBE_PAUSE_MS = 1000

local function number(field, default)
  return tonumber(redis.call('HGET', state, field) or '') or default
end

local function clock(given)
  local now = tonumber(given)
  if now >= 0 then return now end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function weight_of(member)
  return tonumber(string.match(member, '|(%d+)$'))
end

-- The server's clock was set back: what is held would be held too long; hold all of it one lifetime at most.
local function mind_backward_step(now, longest)
  if now < number('last', 0) - 1000 then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', active, now + longest, '+inf')) do
      redis.call('ZADD', active, now + longest, member)
    end
  end
  redis.call('HSET', state, 'last', now)
end

local function used_after_pruning(now)
  local used = number('used', 0)
  local gone = redis.call('ZRANGEBYSCORE', active, '-inf', now)
  if #gone > 0 then
    for _, member in ipairs(gone) do used = used - weight_of(member) end
    redis.call('ZREMRANGEBYSCORE', active, '-inf', now)
  end
  if redis.call('ZCARD', active) == 0 then used = 0 end
  redis.call('HSET', state, 'used', used)
  return used
end

local function rule(now, capacity, window)
  if number('rule_until', 0) > now then
    return number('capacity', capacity), number('window', window)
  end
  return capacity, window
end

-- Each recent refusal takes a fifth off: the limit, or who else spends from it, is not what we think.
local function after_refusals(now, capacity)
  local strikes = 0
  if now - number('struck', -REFUSALS_REMEMBERED_MS) < REFUSALS_REMEMBERED_MS then strikes = number('strikes', 0) end
  return math.max(1, math.floor(capacity * math.max(0.25, 0.8 ^ strikes)))
end

local function margin(window)
  return math.max(20, math.floor(window / 100))
end

if command == 'take' then
  -- now ticket weight penalty lifetime capacity window class waiter_ttl
  local now = clock(ARGV[2])
  local ticket, weight = ARGV[3], tonumber(ARGV[4])
  local penalty, lifetime = tonumber(ARGV[5]), tonumber(ARGV[6])
  local capacity, window = rule(now, tonumber(ARGV[7]), tonumber(ARGV[8]))
  local class, ttl = tonumber(ARGV[9]), tonumber(ARGV[10])
  mind_backward_step(now, lifetime + window)
  local used = used_after_pruning(now)
  if weight > capacity then return {-1, capacity, 0} end
  -- Granted before, and the answer was lost with the connection to here.
  if redis.call('ZSCORE', active, ticket .. '|' .. weight) then return {1, 0, 0} end

  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', now)) do
    redis.call('ZREM', alive, dead)
    redis.call('ZREM', waiting, dead)
  end
  redis.call('ZADD', waiting, 'NX', now + penalty, ticket)

  local function wait(ms, closed)
    redis.call('ZADD', alive, now + ms + ttl, ticket)
    return {0, ms, closed}
  end

  local closed = number('closed_until', 0)
  if closed > now then return wait(closed - now, 1) end
  if redis.call('ZRANGE', waiting, 0, 0)[1] ~= ticket then return wait(15, 0) end

  local half_open = number('half_open', 0) == 1
  local probed = number('probe_until', 0) - now
  -- A probe that nobody gave back holds the others up for its lifetime, also when the clock was set back.
  if half_open and probed > 0 and probed <= lifetime then return wait(math.min(probed, PROBE_POLL_MS), 0) end

  local limit = after_refusals(now, capacity)
  local pause = 0
  if window >= LONG_WINDOW_MS then
    -- A long window must not be emptied by what can wait: each class leaves a little to those above it,
    -- and from warm-up down requests are spread over the window once half of it is spent.
    limit = math.floor(limit * (1 - 0.02 * class))
    if class >= 2 and used > limit / 2 then
      local due = math.max(number('paced', 0), now)
      if due - now > 1000 then
        pause = due - now - 1000
      elseif used + weight <= math.max(limit, weight) then
        redis.call('HSET', state, 'paced', due + math.ceil(weight * window / limit))
      end
    end
  end
  if pause > 0 then return wait(pause, 0) end
  if used + weight > math.max(limit, weight) then
    local first = redis.call('ZRANGE', active, 0, 0, 'WITHSCORES')
    return wait(math.max(1, math.min(tonumber(first[2]) - now, 250)), 0)
  end
  redis.call('ZADD', active, now + lifetime + window, ticket .. '|' .. weight)
  if half_open then redis.call('HSET', state, 'probe', ticket .. '|' .. weight, 'probe_until', now + lifetime) end
  redis.call('HSET', state, 'used', used + weight)
  redis.call('ZREM', waiting, ticket)
  redis.call('ZREM', alive, ticket)
  return {1, 0, 0}
end

if command == 'settle' then
  -- now member on_its_way used remaining retry_after capacity window guessed admitted
  local now = clock(ARGV[2])
  local member, on_its_way = ARGV[3], tonumber(ARGV[4])
  local capacity, window = rule(now, tonumber(ARGV[8]), tonumber(ARGV[9]))
  local until_ms = now + window + margin(window)
  if member ~= '' then redis.call('ZADD', active, 'XX', until_ms + on_its_way, member) end
  local used = used_after_pruning(now)

  -- Others spend from the same limit: count what the exchange counted and we did not.
  local seen = tonumber(ARGV[5])
  local remaining = tonumber(ARGV[6])
  local foreign = 0
  if remaining >= 0 then seen = math.max(seen, capacity - remaining) end
  if seen > used then
    local id = redis.call('HINCRBY', state, 'corrections', 1)
    redis.call('ZADD', active, until_ms, 'others-' .. id .. '|' .. (seen - used))
    redis.call('HSET', state, 'used', seen)
    foreign = seen - used
  end

  local retry = tonumber(ARGV[7])
  local probe = member ~= '' and redis.call('HGET', state, 'probe') == member
  if probe and ARGV[11] == '1' then
    redis.call('HDEL', state, 'half_open', 'probe', 'probe_until')
  elseif probe and retry < 0 then
    redis.call('HSET', state, 'probe_until', now + math.max(on_its_way, PROBE_PAUSE_MS))
  end
  if retry >= 0 then
    -- Requests that were out together and are refused together count as one refusal.
    if number('closed_until', 0) <= now then
      local strikes = 0
      if now - number('struck', -REFUSALS_REMEMBERED_MS) < REFUSALS_REMEMBERED_MS then
        strikes = number('strikes', 0)
      end
      redis.call('HSET', state, 'strikes', strikes + 1, 'struck', now)
      -- An exchange that does not say how long may lengthen its ban for each request: ask ever more seldom.
      if ARGV[10] == '1' then retry = math.min(retry * 2 ^ strikes, LONGEST_GUESS_MS) end
    end
    -- It was waited as long as it said, and that was not enough.
    if probe then retry = math.max(retry, math.min(2 * number('closed_for', 0), LONGEST_GUESS_MS)) end
    if now + retry > number('closed_until', 0) then
      redis.call('HSET', state, 'closed_until', now + retry, 'closed_for', retry)
    end
    redis.call('HSET', state, 'half_open', 1)
    redis.call('HDEL', state, 'probe', 'probe_until')
  end
  return {math.max(0, number('closed_until', 0) - now), foreign, capacity, window}
end

if command == 'withdraw' then
  redis.call('ZREM', waiting, ARGV[2])
  redis.call('ZREM', alive, ARGV[2])
  return 0
end

if command == 'rule' then
  -- now capacity window valid_for
  local now = clock(ARGV[2])
  redis.call('HSET', state, 'capacity', ARGV[3], 'window', ARGV[4], 'rule_until', now + tonumber(ARGV[5]))
  return 0
end

if command == 'state' then
  -- now capacity window
  local now = clock(ARGV[2])
  local capacity, window = rule(now, tonumber(ARGV[3]), tonumber(ARGV[4]))
  local used = used_after_pruning(now)
  return {used, capacity, window, math.max(0, number('closed_until', 0) - now), redis.call('ZCARD', waiting)}
end

return redis.error_reply('unknown budget command')
