-- Gives an order's units back, once: only where its lock set still names it.
--
-- KEYS: touched; then for each product its counter and its lock set.
-- ARGV: order id; then for each product its id and the units.
-- Answers the products that could not be given back here (the set or the counter is gone): take them from the books.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local untracked = {}

for i = 2, #KEYS, 2 do
  if redis.call('SREM', KEYS[i + 1], ARGV[1]) == 1 and redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('INCRBY', KEYS[i], ARGV[i + 1])
    redis.call('ZADD', KEYS[1], now, ARGV[i])
  else
    untracked[#untracked + 1] = ARGV[i]
  end
end
return untracked
