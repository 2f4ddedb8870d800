-- Compares one product's counter with the books, and sets it right where that is safe.
--
-- KEYS: touched, the product's counter.
-- ARGV: product id; units that the books have; milliseconds without a reservation or release that count as quiet
--       (-1: correct at once); the wrong value that an earlier look saw ('*': any, '': there was none).
-- A counter that is no whole number counts as missing.
-- Answers {'equal' | 'filled' | 'busy' | 'differs' | 'corrected', the counter before}.
--   busy: units may be under way between here and the books. differs: to be looked at a second time.

local value = redis.pcall('GET', KEYS[2])
if type(value) ~= 'string' or not string.match(value, '^%-?%d+$') then
  value = nil
end
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local quiet = not score or tonumber(score) <= now - tonumber(ARGV[3])

if value == ARGV[2] then
  if quiet then
    redis.call('ZREM', KEYS[1], ARGV[1])
  end
  return {'equal', value}
end

local outcome
if not value then
  outcome = 'filled'
elseif ARGV[3] == '-1' then
  outcome = 'corrected'
elseif not quiet then
  return {'busy', value}
elseif ARGV[4] ~= '*' and ARGV[4] ~= value then
  redis.call('ZADD', KEYS[1], 'NX', now, ARGV[1])
  return {'differs', value}
else
  outcome = 'corrected'
end

redis.call('SET', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
return {outcome, value or ''}
