-- Puts what a worker tells, and takes away what is too old to count. ARGV: the worker, text, the oldest time that counts, expiry
-- in ms.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local told = redis.call('HGETALL', KEYS[1])
for at = 1, #told, 2 do
  local time = string.match(told[at + 1], '^writers 1 (%d+)\n')
  if not time or #time > 15 or tonumber(time) < tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], told[at]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
