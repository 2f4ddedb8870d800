-- Adds to the windows of a second what no message tells of.
--
-- ARGV: prefix, retention, second, then field and increment by turns.
local prefix, retention, second = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for _, size in ipairs({ 1, 60, 300 }) do
  local start = second - second % size
  local key = prefix .. size .. ':' .. start
  for n = 4, #ARGV, 2 do redis.call('HINCRBY', key, ARGV[n], ARGV[n + 1]) end
  redis.call('EXPIREAT', key, start + size + retention)
end
