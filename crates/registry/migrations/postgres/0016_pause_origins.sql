-- What `0016_pause_origins.sql` does, in place.
ALTER TABLE pauses ADD COLUMN origin TEXT NOT NULL DEFAULT '';
ALTER TABLE pauses DROP CONSTRAINT pauses_pkey;
ALTER TABLE pauses ADD PRIMARY KEY (server_id, origin, paused_at);

-- Few servers are in maintenance, and every count by state asks for them.
CREATE INDEX pauses_of_windows ON pauses (server_id) WHERE origin <> '' AND resumed_at IS NULL;
CREATE INDEX pauses_by_window ON pauses (origin, paused_at) WHERE origin <> '';
