-- A delivery is about a subject of a kind: reports are one kind, and `report_id` is there for the release before alone.
-- SQLite cannot take NOT NULL from a column in place, so the rows move. PostgreSQL can: `postgres/0012_outbox.sql`.
CREATE TABLE deliveries_moved (
    id         TEXT   NOT NULL PRIMARY KEY,
    report_id  TEXT   REFERENCES reports (id) ON DELETE CASCADE,
    place      BIGINT NOT NULL,
    recipient  TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    attempts   BIGINT NOT NULL,
    publish_at BIGINT,
    message_id TEXT,
    error      TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    kind       TEXT   NOT NULL DEFAULT 'report',
    subject_id TEXT   NOT NULL DEFAULT ''
) WITHOUT ROWID;
INSERT INTO deliveries_moved (id, report_id, place, recipient, state, attempts, publish_at, message_id, error,
    created_at, updated_at, subject_id)
SELECT id, report_id, place, recipient, state, attempts, publish_at, message_id, error,
    created_at, updated_at, report_id FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_moved RENAME TO deliveries;
CREATE INDEX deliveries_by_report ON deliveries (report_id, place);
CREATE INDEX deliveries_by_publication ON deliveries (publish_at);
CREATE INDEX deliveries_by_state ON deliveries (state, updated_at);
CREATE INDEX deliveries_by_subject ON deliveries (kind, subject_id, place);

-- The release before writes `report_id` and no subject; this one writes the subject, and the release before reads
-- `report_id`.
CREATE TRIGGER deliveries_of_the_release_before AFTER INSERT ON deliveries WHEN NEW.subject_id = ''
BEGIN
    UPDATE deliveries SET subject_id = NEW.report_id WHERE id = NEW.id;
END;
CREATE TRIGGER deliveries_for_the_release_before AFTER INSERT ON deliveries
WHEN NEW.kind = 'report' AND NEW.report_id IS NULL
BEGIN
    UPDATE deliveries SET report_id = NEW.subject_id WHERE id = NEW.id;
END;
