-- Lists by name read this index alone. SQLite does not know that the one behind UNIQUE holds the ids as well.
CREATE INDEX servers_by_name ON servers (name_folded, id);

-- Few are paused, and every count by state asks for them.
CREATE INDEX servers_by_pause ON servers (id) WHERE paused_at IS NOT NULL;

-- The newest first, ties by id upwards: an import makes thousands of servers in one moment.
CREATE INDEX servers_by_newest ON servers (created_at DESC, id);
CREATE INDEX servers_by_last_update ON servers (updated_at DESC, id);
