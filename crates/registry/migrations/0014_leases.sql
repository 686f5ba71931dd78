-- Work that one process does for all of them: who does it, and until when unless that is renewed.
CREATE TABLE leases (
    name       TEXT   NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
