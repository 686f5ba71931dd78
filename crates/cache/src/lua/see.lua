-- Takes a part of a batch. The newest beat and the newest sample win, whichever worker comes last; a beat that is ahead of
-- this clock loses to any.
-- KEYS: the sorted set of silence, then a key a server.
-- ARGV: expiry in ms, the time before which silent servers are forgotten, how far ahead a clock is wrong;
--       then of each server: id, silent_at, received_at, sampled_at, snapshot.
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end
local time = redis.call('TIME')
local latest = 1000 * time[1] + math.floor(time[2] / 1000) + ARGV[3]
for i = 2, #KEYS do
  local at = 5 * i - 6
  local server, silent, received = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local sampled, snapshot = ARGV[at + 3], ARGV[at + 4]
  -- Without a sound entry nobody knows when it was heard: the later moment is kept then.
  local mode = 'GT'
  local held = redis.pcall('GET', KEYS[i])
  if type(held) == 'string' then
    local r, s, json = string.match(held, '^latest 1 (%d+) (%d+) ({.*})$')
    if r and #r <= 15 and #s <= 15 then
      if tonumber(r) > latest or tonumber(received) > tonumber(r) then
        mode = 'CH'
      elseif tonumber(received) < tonumber(r) then
        mode, received = 'NX', r
      end
      if tonumber(s) >= tonumber(sampled) then sampled, snapshot = s, json end
    end
  end
  redis.call('ZADD', KEYS[1], mode, silent, server)
  redis.call('SET', KEYS[i], 'latest 1 ' .. received .. ' ' .. sampled .. ' ' .. snapshot, 'PX', ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
