-- Servers whose history goes: what was sampled before a time. A row stays until all of it is gone, and was looked for once
-- more after whatever was on its way by then is stored.
CREATE TABLE forgettings (
    server_id TEXT   NOT NULL PRIMARY KEY,
    before    BIGINT NOT NULL,
    asked_at  BIGINT NOT NULL,
    due_at    BIGINT NOT NULL
) WITHOUT ROWID;
-- What a server sampled before this time counts no longer; null: everything counts.
ALTER TABLE servers ADD COLUMN history_from BIGINT;
