-- Until when the password of a session's user counts as given just now; absent: it was not given since the log-in.
ALTER TABLE sessions ADD COLUMN elevated_until BIGINT;

-- SHA-256 of what all refresh tokens of a session begin with. It tells one that was used before, so that a session needs one
-- row of refresh tokens; absent until a session that is older than this is refreshed, whose used tokens have rows.
ALTER TABLE sessions ADD COLUMN family TEXT;
CREATE INDEX sessions_by_family ON sessions (family);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

-- Who asked for a report, absent if it was a schedule, and what its mails count for when there are too many.
ALTER TABLE reports ADD COLUMN asked_by TEXT;
ALTER TABLE reports ADD COLUMN weight BIGINT NOT NULL DEFAULT 0;
CREATE INDEX reports_by_asker ON reports (asked_by, created_at);
