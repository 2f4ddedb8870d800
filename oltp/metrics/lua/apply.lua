-- Adds a batch's facts to their windows and moves the stored offsets, both or neither.
--
-- KEYS: the hash of offsets, the hash of progress, then the two sorted sets each of carts and checkouts (open, closed).
-- ARGV: the facts' eight-byte ids in one string, prefix, retention, after how many seconds a fact is late, for how long
-- visitors' ids are kept, and MessagePack (which knows no bytes here) of
--   moves      {{partition, stored offset or '' if there is none, next offset}}
--   now        Unix time of this call
--   groups     {{class, second, field, its whole, field of the sum or '', how many ids, {amounts}}}, in the ids' order
--   carts, checkouts   {{who, opened, closed}}, ms
--   out_of_range
-- Returns 0 if the stored offsets are not those expected: nothing was done. Else 1.

local ids, told = ARGV[1], cmsgpack.unpack(ARGV[6])
local prefix, retention, late_after = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local remembered = { o = retention, v = tonumber(ARGV[5]) }

for _, move in ipairs(told.moves) do
  if (redis.call('HGET', KEYS[1], move[1]) or '') ~= move[2] then return 0 end
end

local sums, order = {}, {}
local function add(second, size, field, by)
  local key = prefix .. size .. ':' .. (second - second % size)
  local window = sums[key]
  if not window then
    window = {}
    sums[key] = window
    order[#order + 1] = { key, second - second % size + size + retention }
  end
  window[field] = (window[field] or 0) + by
end

local sizes = { 1, 60, 300 }
local counted, repeated, late, read = 0, 0, 0, 0
for _, group in ipairs(told.groups) do
  local class, second, field, whole, worth, many, amounts = unpack(group)
  local minute = second - second % 60
  local seen = prefix .. 'seen:' .. class .. ':' .. minute
  local fresh, worthy = 0, 0
  for n = 1, many do
    read = read + 8
    if redis.call('SADD', seen, string.sub(ids, read - 7, read)) == 1 then
      fresh = fresh + 1
      worthy = worthy + (amounts[n] or 0)
    else
      repeated = repeated + 1
    end
  end
  redis.call('EXPIREAT', seen, math.max(minute, told.now) + remembered[class])
  if fresh > 0 then
    counted = counted + fresh
    if told.now - second > late_after then late = late + fresh end
    for _, size in ipairs(sizes) do
      add(second, size, field, fresh)
      if whole ~= field then add(second, size, whole, fresh) end
      if worth ~= '' then add(second, size, worth, worthy) end
    end
  end
end

for _, window in ipairs(order) do
  for field, by in pairs(sums[window[1]]) do redis.call('HINCRBY', window[1], field, by) end
  redis.call('EXPIREAT', window[1], window[2])
end

local function touch(open, closed, touches)
  for _, who in ipairs(touches) do
    local name, opened, ended = unpack(who)
    local last = tonumber(redis.call('ZSCORE', closed, name) or 0)
    if ended > last then
      redis.call('ZADD', closed, ended, name)
      last = ended
    end
    local first = math.max(opened, tonumber(redis.call('ZSCORE', open, name) or 0))
    if first > last then
      redis.call('ZADD', open, first, name)
    elseif first > 0 then
      redis.call('ZREM', open, name)
    end
  end
end
touch(KEYS[3], KEYS[4], told.carts)
touch(KEYS[5], KEYS[6], told.checkouts)

for _, move in ipairs(told.moves) do redis.call('HSET', KEYS[1], move[1], move[3]) end
redis.call('HINCRBY', KEYS[2], 'counted', counted)
redis.call('HINCRBY', KEYS[2], 'repeated', repeated)
redis.call('HINCRBY', KEYS[2], 'late', late)
redis.call('HINCRBY', KEYS[2], 'out_of_range', told.out_of_range)
redis.call('HSET', KEYS[2], 'counted_at', told.now)
return 1
