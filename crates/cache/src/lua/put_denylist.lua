-- Puts the denylist unless a newer one is there. ARGV: version, text, expiry in ms.
local held = redis.pcall('GET', KEYS[1])
local version = type(held) == 'string' and string.match(held, '^denylist 1 (%d+) ')
if version and #version <= 15 and tonumber(version) > tonumber(ARGV[1]) then return end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
