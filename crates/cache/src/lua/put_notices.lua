-- Puts notices, and notes which changed when. ARGV: expiry in ms, for how many ms changes are remembered, 1 if these are all that
-- there are, then server and notice of each; an empty notice is none.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
if redis.call('TYPE', KEYS[2]).ok ~= 'zset' then redis.call('DEL', KEYS[2]) end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local last = redis.call('ZRANGEBYSCORE', KEYS[2], now, '+inf', 'WITHSCORES')
local version = now
if #last > 0 then version = tonumber(last[#last]) + 1 end
local told = {}
local function set(server, notice)
  local held = redis.call('HGET', KEYS[1], server)
  if (held or '') == notice then return end
  if notice == '' then redis.call('HDEL', KEYS[1], server) else redis.call('HSET', KEYS[1], server, notice) end
  redis.call('ZADD', KEYS[2], string.format('%.0f', version), server)
end
for at = 4, #ARGV, 2 do
  told[ARGV[at]] = true
  set(ARGV[at], ARGV[at + 1])
end
if ARGV[3] == '1' then
  for _, server in ipairs(redis.call('HKEYS', KEYS[1])) do
    if not told[server] then set(server, '') end
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now - tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
