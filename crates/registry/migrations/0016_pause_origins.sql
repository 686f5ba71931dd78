-- Who pauses a server: '' is a person, else it is the maintenance window of that id. A server is paused while any of its rows
-- lasts, and no origin ends what another began. SQLite cannot change a key in place, so the rows move. PostgreSQL can:
-- `postgres/0016_pause_origins.sql`.
CREATE TABLE pauses_moved (
    server_id  TEXT   NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    origin     TEXT   NOT NULL DEFAULT '',
    paused_at  BIGINT NOT NULL,
    resumed_at BIGINT,
    ends_at    BIGINT,
    reason     TEXT,
    PRIMARY KEY (server_id, origin, paused_at)
) WITHOUT ROWID;
INSERT INTO pauses_moved (server_id, origin, paused_at, resumed_at, ends_at, reason)
SELECT server_id, '', paused_at, resumed_at, ends_at, reason FROM pauses;
DROP TABLE pauses;
ALTER TABLE pauses_moved RENAME TO pauses;
CREATE INDEX pauses_by_end ON pauses (ends_at) WHERE resumed_at IS NULL;

-- Few servers are in maintenance, and every count by state asks for them.
CREATE INDEX pauses_of_windows ON pauses (server_id) WHERE origin <> '' AND resumed_at IS NULL;
CREATE INDEX pauses_by_window ON pauses (origin, paused_at) WHERE origin <> '';
