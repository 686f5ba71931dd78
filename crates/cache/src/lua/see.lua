-- Takes a part of a batch. Older values never win, whichever worker comes last.
-- KEYS: the sorted set of silence, then a key a server.
-- ARGV: expiry in ms, the time before which silent servers are forgotten;
--       then of each server: id, silent_at, received_at, sampled_at, snapshot.
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end
for i = 2, #KEYS do
  local at = 5 * i - 7
  local received, sampled, snapshot = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  redis.call('ZADD', KEYS[1], 'GT', ARGV[at + 1], ARGV[at])
  local held = redis.pcall('GET', KEYS[i])
  if type(held) == 'string' then
    local r, s, json = string.match(held, '^latest 1 (%d+) (%d+) ({.*})$')
    if r and #r <= 15 and #s <= 15 then
      if tonumber(r) > tonumber(received) then received = r end
      if tonumber(s) >= tonumber(sampled) then sampled, snapshot = s, json end
    end
  end
  redis.call('SET', KEYS[i], 'latest 1 ' .. received .. ' ' .. sampled .. ' ' .. snapshot, 'PX', ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
