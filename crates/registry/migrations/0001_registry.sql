-- Times are Unix ms, ids UUIDs in lower-case text, hashes lower-case hex. A column named `…_folded` or `search` holds
-- text folded by the program, because engines fold only some of Unicode. People own every table but `sightings`,
-- `facts` and `workers`, which the workers own; so a beat never disturbs an edit.

-- WITHOUT ROWID: the list of servers reads `sightings` by id for every server, which costs one seek instead of two.

CREATE TABLE servers (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    name_folded TEXT   NOT NULL UNIQUE,
    address     TEXT,
    search      TEXT   NOT NULL,
    generation  BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    paused_at   BIGINT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX servers_by_address ON servers (address, id);
CREATE INDEX servers_by_creation ON servers (created_at, id);
CREATE INDEX servers_by_update ON servers (updated_at, id);

CREATE TABLE labels (
    server_id TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (server_id, key)
) WITHOUT ROWID;
CREATE INDEX labels_by_value ON labels (key, value, server_id);

-- `resumed_at` is absent while the pause lasts; `servers.paused_at` says the same of the present alone.
CREATE TABLE pauses (
    server_id  TEXT   NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    paused_at  BIGINT NOT NULL,
    resumed_at BIGINT,
    PRIMARY KEY (server_id, paused_at)
) WITHOUT ROWID;

-- No index but the key on the two tables that beats write: PostgreSQL then updates a row in place. Facts are apart from
-- sightings because they are ten times as long and change rarely, and every count by state reads all sightings.
CREATE TABLE sightings (
    server_id   TEXT   NOT NULL PRIMARY KEY REFERENCES servers (id) ON DELETE CASCADE,
    received_at BIGINT NOT NULL,
    silent_at   BIGINT NOT NULL,
    interval_ms BIGINT NOT NULL,
    sampled_at  BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE facts (
    server_id TEXT   NOT NULL PRIMARY KEY REFERENCES servers (id) ON DELETE CASCADE,
    facts_at  BIGINT NOT NULL,
    facts     TEXT   NOT NULL,
    search    TEXT   NOT NULL
) WITHOUT ROWID;

CREATE TABLE workers (
    name           TEXT   NOT NULL PRIMARY KEY,
    newest_settled BIGINT,
    oldest_in_hand BIGINT,
    open_since     BIGINT,
    written_at     BIGINT NOT NULL
) WITHOUT ROWID;

-- The denylist. It outlives its servers: the credential of a deleted one stays refused.
CREATE TABLE revocations (
    server_id  TEXT   NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE versions (
    name    TEXT   NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO versions (name, version) VALUES ('denylist', 0);

CREATE TABLE enrolment_tokens (
    id         TEXT   NOT NULL PRIMARY KEY,
    hash       TEXT   NOT NULL UNIQUE,
    uses       BIGINT NOT NULL,
    used       BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX enrolment_tokens_by_creation ON enrolment_tokens (created_at, id);

-- An enrolment outlives its server, so that repeating it never brings a deleted server back.
CREATE TABLE enrolments (
    token_id    TEXT   NOT NULL REFERENCES enrolment_tokens (id) ON DELETE CASCADE,
    key_hash    TEXT   NOT NULL,
    server_id   TEXT   NOT NULL,
    generation  BIGINT NOT NULL,
    enrolled_at BIGINT NOT NULL,
    PRIMARY KEY (token_id, key_hash)
) WITHOUT ROWID;

CREATE TABLE roles (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    name_folded TEXT   NOT NULL UNIQUE,
    built_in    BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE role_scopes (
    role_id TEXT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    scope   TEXT NOT NULL,
    PRIMARY KEY (role_id, scope)
) WITHOUT ROWID;

INSERT INTO roles (id, name, name_folded, built_in) VALUES
    ('admin', 'admin', 'admin', 1),
    ('viewer', 'viewer', 'viewer', 1);
INSERT INTO role_scopes (role_id, scope) VALUES
    ('admin', 'server:read'),
    ('admin', 'server:write'),
    ('admin', 'user:read'),
    ('admin', 'user:write'),
    ('admin', 'report:read'),
    ('admin', 'report:write'),
    ('admin', 'agent:enroll'),
    ('admin', 'audit:read'),
    ('viewer', 'server:read'),
    ('viewer', 'report:read');

-- `epoch` counts up when every session of the user must end.
CREATE TABLE users (
    id              TEXT   NOT NULL PRIMARY KEY,
    username        TEXT   NOT NULL,
    username_folded TEXT   NOT NULL UNIQUE,
    password_hash   TEXT   NOT NULL,
    role_id         TEXT   NOT NULL REFERENCES roles (id),
    epoch           BIGINT NOT NULL,
    version         BIGINT NOT NULL,
    disabled_at     BIGINT,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX users_by_role ON users (role_id);

CREATE TABLE sessions (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    epoch      BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
) WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    hash       TEXT   NOT NULL PRIMARY KEY,
    session_id TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
) WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
