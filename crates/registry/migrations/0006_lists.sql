-- Lists by name read this index alone. SQLite does not know that the one behind UNIQUE holds the ids as well.
CREATE INDEX servers_by_name ON servers (name_folded, id);

-- Few are paused, and every count by state asks for them.
CREATE INDEX servers_by_pause ON servers (id) WHERE paused_at IS NOT NULL;
