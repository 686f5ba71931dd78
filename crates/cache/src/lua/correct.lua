-- Takes beats that are ahead of this clock as heard now, in a part of the sorted set. Answers where the next part begins;
-- '0' is the end.
-- KEYS: the sorted set of silence.
-- ARGV: where to begin, about how many, how far ahead a clock is wrong, what the keys of servers begin with.
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then return '0' end
local time = redis.call('TIME')
local now = 1000 * time[1] + math.floor(time[2] / 1000)
local latest = now + ARGV[3]
local part = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
for i = 1, #part[2], 2 do
  local server, silent = part[2][i], tonumber(part[2][i + 1])
  -- A server is silent later than it was heard.
  if silent > latest then
    local key = ARGV[4] .. server
    local held = redis.pcall('GET', key)
    if type(held) == 'string' then
      local r, rest = string.match(held, '^latest 1 (%d+)( .*)$')
      if r and #r <= 15 and tonumber(r) > latest then
        redis.call('ZADD', KEYS[1], string.format('%.0f', now + silent - r), server)
        redis.call('SET', key, 'latest 1 ' .. string.format('%.0f', now) .. rest, 'KEEPTTL')
      end
    end
  end
end
return part[1]
