-- Reports: computed once, sent to each recipient at most once.

-- `since` is the time from which its ticks count: what was due before it was made, or before its cron changed, is not.
CREATE TABLE report_schedules (
    id            TEXT   NOT NULL PRIMARY KEY,
    cron          TEXT   NOT NULL,
    time_zone     TEXT   NOT NULL,
    about         TEXT   NOT NULL,
    recipients    TEXT   NOT NULL,
    server_filter TEXT   NOT NULL,
    since         BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX report_schedules_by_creation ON report_schedules (created_at, id);

-- One run of a schedule, by the wall clock of its zone. Its key is what makes one report of it at any number of replicas.
CREATE TABLE report_ticks (
    schedule_id TEXT   NOT NULL REFERENCES report_schedules (id) ON DELETE CASCADE,
    local_due   TEXT   NOT NULL,
    due_at      BIGINT NOT NULL,
    report_id   TEXT   NOT NULL,
    PRIMARY KEY (schedule_id, local_due)
) WITHOUT ROWID;
CREATE INDEX report_ticks_by_due ON report_ticks (due_at);

-- A report outlives its schedule. `claimed_until`: a process computes it until then, another one may after.
CREATE TABLE reports (
    id            TEXT   NOT NULL PRIMARY KEY,
    schedule_id   TEXT,
    from_at       BIGINT NOT NULL,
    to_at         BIGINT NOT NULL,
    time_zone     TEXT   NOT NULL,
    server_filter TEXT   NOT NULL,
    state         TEXT   NOT NULL,
    error         TEXT,
    claimed_until BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    computed_at   BIGINT
) WITHOUT ROWID;
CREATE INDEX reports_by_creation ON reports (created_at, id);
CREATE INDEX reports_by_state ON reports (state, claimed_until);

CREATE TABLE report_rows (
    report_id   TEXT   NOT NULL REFERENCES reports (id) ON DELETE CASCADE,
    place       BIGINT NOT NULL,
    server_id   TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    status      TEXT   NOT NULL,
    covered_ms  BIGINT NOT NULL,
    expected_ms BIGINT NOT NULL,
    longest_ms  BIGINT NOT NULL,
    longest_at  BIGINT,
    PRIMARY KEY (report_id, place)
) WITHOUT ROWID;

-- The outbox. `publish_at`: when its job goes to the queue next; absent until the report is computed, and once it is over.
CREATE TABLE deliveries (
    id         TEXT   NOT NULL PRIMARY KEY,
    report_id  TEXT   NOT NULL REFERENCES reports (id) ON DELETE CASCADE,
    place      BIGINT NOT NULL,
    recipient  TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    attempts   BIGINT NOT NULL,
    publish_at BIGINT,
    message_id TEXT,
    error      TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX deliveries_by_report ON deliveries (report_id, place);
CREATE INDEX deliveries_by_publication ON deliveries (publish_at);
CREATE INDEX deliveries_by_state ON deliveries (state, updated_at);
