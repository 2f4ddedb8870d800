-- Takes all the units that an order wants, or none; an order that has them already is told so again.
--
-- KEYS: marker, touched; then for each product its counter and its lock set.
-- ARGV: order id, seconds that a lock set lasts; then for each product its id and the units wanted.
-- Answers {'ok'}, {'wiped'}, {'unknown', product…} or {'short', product…}.

if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'wiped'}
end

local order, seconds = ARGV[1], ARGV[2]
local wanted, taken = {}, {}
local unknown, short = {'unknown'}, {'short'}

for i = 3, #KEYS, 2 do
  if redis.call('SISMEMBER', KEYS[i + 1], order) == 1 then
    taken[#taken + 1] = i
  else
    local left = redis.pcall('GET', KEYS[i])
    if type(left) ~= 'string' or not string.match(left, '^%-?%d+$') then
      unknown[#unknown + 1] = ARGV[i]
    elseif tonumber(left) < tonumber(ARGV[i + 1]) then
      short[#short + 1] = ARGV[i]
    end
    wanted[#wanted + 1] = i
  end
end

if #unknown > 1 then
  return unknown
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if #short > 1 then
  for _, i in ipairs(taken) do
    redis.call('SREM', KEYS[i + 1], order)
    redis.call('INCRBY', KEYS[i], ARGV[i + 1])
    redis.call('ZADD', KEYS[2], now, ARGV[i])
  end
  for n = 2, #short do
    redis.call('ZADD', KEYS[2], 'NX', now, short[n])
  end
  return short
end

for _, i in ipairs(wanted) do
  redis.call('DECRBY', KEYS[i], ARGV[i + 1])
  redis.call('SADD', KEYS[i + 1], order)
  redis.call('EXPIRE', KEYS[i + 1], seconds)
end
for i = 3, #KEYS, 2 do
  redis.call('ZADD', KEYS[2], now, ARGV[i])
end
return {'ok'}
