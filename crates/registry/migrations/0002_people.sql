-- What people and programs changed. A row is written by the transaction of the change and never touched again. It keeps
-- names and ids as they were, so it refers to nothing and outlives everything.
CREATE TABLE audit (
    number       INTEGER NOT NULL PRIMARY KEY,
    at           BIGINT NOT NULL,
    actor_kind   TEXT   NOT NULL,
    actor_id     TEXT,
    actor_name   TEXT,
    actor_folded TEXT,
    address      TEXT,
    action       TEXT   NOT NULL,
    object_kind  TEXT   NOT NULL,
    object_id    TEXT,
    state_before TEXT,
    state_after  TEXT
);
CREATE INDEX audit_by_time ON audit (at, number);
CREATE INDEX audit_by_object ON audit (object_id, at);

ALTER TABLE users ADD COLUMN email TEXT;
ALTER TABLE roles ADD COLUMN created_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE roles ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;

-- A token is worth the scopes that it and the role of its user have in common. `expires_at` is absent if it never does.
CREATE TABLE api_tokens (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    hash       TEXT   NOT NULL UNIQUE,
    expires_at BIGINT,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX api_tokens_by_user ON api_tokens (user_id, created_at, id);

CREATE TABLE api_token_scopes (
    token_id TEXT NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    scope    TEXT NOT NULL,
    PRIMARY KEY (token_id, scope)
) WITHOUT ROWID;
