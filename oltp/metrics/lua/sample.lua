-- Puts what was just looked at into the windows of a second: the highest of each gauge's samples.
--
-- KEYS: the hash of progress. ARGV: prefix, retention, second, then field and value by turns.
local prefix, retention, second = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for _, size in ipairs({ 1, 60, 300 }) do
  local start = second - second % size
  local key = prefix .. size .. ':' .. start
  for n = 4, #ARGV, 2 do
    local before = tonumber(redis.call('HGET', key, ARGV[n]) or -1)
    if tonumber(ARGV[n + 1]) > before then redis.call('HSET', key, ARGV[n], ARGV[n + 1]) end
  end
  redis.call('EXPIREAT', key, start + size + retention)
end
redis.call('HSET', KEYS[1], 'sampled_at', second)
