-- A server of generation 0 was made by a person and has had no credential yet: whoever enrols under its name takes it
-- over, once. `enrolled_at` is absent until then, and in rows of the release before, which enrolled when they were made.
ALTER TABLE servers ADD COLUMN enrolled_at BIGINT;
UPDATE servers SET enrolled_at = created_at;

-- `ends_at`: when a pause ends by itself, unless somebody ends it before.
ALTER TABLE pauses ADD COLUMN ends_at BIGINT;
ALTER TABLE pauses ADD COLUMN reason TEXT;
CREATE INDEX pauses_by_end ON pauses (ends_at) WHERE resumed_at IS NULL;

-- `server_id` is the one server whose credential the token replaces; it refers to nothing, because whoever enrols holds the
-- token's row before the server's, and whoever deletes a server the other way round. `labels` is a JSON object.
ALTER TABLE enrolment_tokens ADD COLUMN server_id TEXT;
ALTER TABLE enrolment_tokens ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
