-- Orders to hosts. Each is about one server and is signed once: `signed_at`. `payload` is what is signed, in base64url; `content`
-- the same as JSON. `approvals` are a JSON list of who approved, of which `approvals_needed` are asked for; `signatures` a JSON
-- list, complete once it is signed. `result` is JSON, what the host says. Rows outlive their servers.
CREATE TABLE orders (
    id               TEXT   NOT NULL PRIMARY KEY,
    server           TEXT   NOT NULL,
    server_name      TEXT   NOT NULL,
    state            TEXT   NOT NULL,
    content          TEXT   NOT NULL,
    payload          TEXT   NOT NULL,
    signatures       TEXT   NOT NULL,
    signed_at        BIGINT,
    approvals_needed BIGINT NOT NULL,
    approvals        TEXT   NOT NULL,
    asked_by         TEXT   NOT NULL,
    cancelled_by     TEXT,
    not_after        BIGINT NOT NULL,
    result           TEXT,
    version          BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX orders_by_time ON orders (created_at);
CREATE INDEX orders_of_server ON orders (server, created_at);
CREATE INDEX orders_of_user ON orders (asked_by, created_at);
CREATE INDEX orders_open ON orders (not_after) WHERE state IN ('awaiting', 'pending');

-- Who may act on hosts.
INSERT INTO role_scopes (role_id, scope) VALUES
    ('admin', 'process:signal'),
    ('admin', 'unit:control'),
    ('admin', 'order:approve');
