-- Alerts: rules, what workers saw break them, incidents, and what is told of them where. A server or an instance that is
-- '' stands for none: absent ones would be distinct, and these are parts of keys.

-- `kind`: silent, unheard, value or self. The thresholds and their `…_clear` are of `value` alone, `level` is of the others.
-- `metric` is what a rule of the kind `value` or `self` looks at.
CREATE TABLE alert_rules (
    id             TEXT   NOT NULL PRIMARY KEY,
    name           TEXT   NOT NULL,
    name_folded    TEXT   NOT NULL UNIQUE,
    enabled        BIGINT NOT NULL,
    kind           TEXT   NOT NULL,
    metric         TEXT   NOT NULL,
    instance       TEXT   NOT NULL,
    op             TEXT   NOT NULL,
    level          TEXT   NOT NULL,
    warning        DOUBLE PRECISION,
    warning_clear  DOUBLE PRECISION,
    critical       DOUBLE PRECISION,
    critical_clear DOUBLE PRECISION,
    hold_ms        BIGINT NOT NULL,
    clear_hold_ms  BIGINT NOT NULL,
    version        BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
) WITHOUT ROWID;

-- Which servers a rule binds by their labels. `effect`: needs or excludes.
CREATE TABLE alert_rule_scope (
    rule   TEXT NOT NULL REFERENCES alert_rules (id) ON DELETE CASCADE,
    effect TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (rule, effect, key, value)
) WITHOUT ROWID;

CREATE TABLE alert_rule_exclusions (
    rule   TEXT NOT NULL REFERENCES alert_rules (id) ON DELETE CASCADE,
    server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    PRIMARY KEY (rule, server)
) WITHOUT ROWID;
CREATE INDEX alert_rule_exclusions_by_server ON alert_rule_exclusions (server);

-- What breaches, and nothing else: the workers' but for `judged_at`, which the judge writes once it has dealt with a state
-- that is raised or cleared. `phase`: pending, raised or cleared. `began_at`, `raise_at` and `clear_at` are gate times,
-- `seen_at` is the `sampled_at` of the newest sample that was written.
CREATE TABLE alert_states (
    server    TEXT   NOT NULL,
    rule      TEXT   NOT NULL,
    instance  TEXT   NOT NULL,
    level     TEXT   NOT NULL,
    phase     TEXT   NOT NULL,
    began_at  BIGINT NOT NULL,
    seen_at   BIGINT NOT NULL,
    raise_at  BIGINT NOT NULL,
    clear_at  BIGINT,
    value     DOUBLE PRECISION NOT NULL,
    judged_at BIGINT,
    PRIMARY KEY (server, rule, instance, level)
) WITHOUT ROWID;
CREATE INDEX alert_states_by_rule ON alert_states (rule, server);
CREATE INDEX alert_states_to_judge ON alert_states (server, rule, instance)
    WHERE phase <> 'pending' AND judged_at IS NULL;

-- `state`: open, acknowledged or resolved. `resolution`: recovered, paused, rule_gone, server_gone or closed. Names are kept
-- as they were, since an incident outlives its rule and its server. `transition` rises with every change; `events` counts
-- the rows of `incident_events`. `tell_at`: from when on somebody has to look whether there is something to tell; absent
-- while there is nothing.
CREATE TABLE incidents (
    id              TEXT   NOT NULL PRIMARY KEY,
    rule            TEXT   NOT NULL,
    rule_name       TEXT   NOT NULL,
    kind            TEXT   NOT NULL,
    metric          TEXT   NOT NULL,
    server          TEXT   NOT NULL,
    server_name     TEXT   NOT NULL,
    instance        TEXT   NOT NULL,
    level           TEXT   NOT NULL,
    state           TEXT   NOT NULL,
    step            BIGINT NOT NULL DEFAULT 0,
    transition      BIGINT NOT NULL,
    events          BIGINT NOT NULL,
    opened_at       BIGINT NOT NULL,
    began_at        BIGINT NOT NULL,
    value           DOUBLE PRECISION,
    acknowledged_by TEXT,
    acknowledged_at BIGINT,
    resolved_at     BIGINT,
    resolution      TEXT,
    updated_at      BIGINT NOT NULL,
    tell_at         BIGINT
) WITHOUT ROWID;
CREATE UNIQUE INDEX incidents_unresolved ON incidents (rule, server, instance) WHERE state <> 'resolved';
CREATE INDEX incidents_by_opening ON incidents (opened_at DESC, id);
CREATE INDEX incidents_by_server ON incidents (server, opened_at);
CREATE INDEX incidents_by_resolution ON incidents (resolved_at) WHERE resolved_at IS NOT NULL;
CREATE INDEX incidents_to_tell ON incidents (tell_at, id) WHERE tell_at IS NOT NULL;

-- `kind`: opened, raised, acknowledged, unacknowledged, commented or resolved. `transition` is the one that the incident had
-- after it.
CREATE TABLE incident_events (
    incident   TEXT   NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    number     BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    transition BIGINT NOT NULL,
    level      TEXT   NOT NULL,
    value      DOUBLE PRECISION,
    resolution TEXT,
    actor_kind TEXT   NOT NULL,
    actor_id   TEXT,
    actor_name TEXT,
    note       TEXT,
    PRIMARY KEY (incident, number)
) WITHOUT ROWID;

-- `kind`: wecom, telegram, slack, discord, webhook or mail. `config` is JSON; `secret` is encrypted, `secret_key` says with
-- which key. `target_key` is where it leads: channels that lead to one place share its budget.
CREATE TABLE channels (
    id              TEXT   NOT NULL PRIMARY KEY,
    name            TEXT   NOT NULL,
    name_folded     TEXT   NOT NULL UNIQUE,
    kind            TEXT   NOT NULL,
    target_key      TEXT   NOT NULL,
    language        TEXT   NOT NULL,
    time_zone       TEXT   NOT NULL,
    template        TEXT,
    config          TEXT   NOT NULL,
    secret          TEXT,
    secret_key      TEXT,
    secret_origin   TEXT,
    secret_set_at   BIGINT,
    disabled_at     BIGINT,
    disabled_reason TEXT,
    version         BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX channels_by_target ON channels (target_key);

CREATE TABLE targets (
    target_key    TEXT   NOT NULL PRIMARY KEY,
    next_at       BIGINT NOT NULL,
    blocked_until BIGINT NOT NULL,
    busy_until    BIGINT NOT NULL
) WITHOUT ROWID;

-- `matches` and `steps` are JSON. `goes_on`: whether the routes after it are asked too.
CREATE TABLE alert_routes (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    position    BIGINT NOT NULL,
    matches     TEXT   NOT NULL,
    min_level   TEXT   NOT NULL,
    steps       TEXT   NOT NULL,
    reminder_ms BIGINT NOT NULL,
    goes_on     BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX alert_routes_by_position ON alert_routes (position, id);

-- What was told of an incident on a channel last, and by which notification.
CREATE TABLE told (
    incident     TEXT   NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    channel      TEXT   NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    kind         TEXT   NOT NULL,
    level        TEXT   NOT NULL,
    transition   BIGINT NOT NULL,
    reminder     BIGINT NOT NULL,
    round        BIGINT NOT NULL,
    failures     BIGINT NOT NULL DEFAULT 0,
    retry_at     BIGINT,
    alerted_at   BIGINT,
    told_at      BIGINT NOT NULL,
    notification TEXT   NOT NULL,
    PRIMARY KEY (incident, channel)
) WITHOUT ROWID;
CREATE INDEX told_by_channel ON told (channel);
CREATE INDEX told_by_notification ON told (notification);

-- `state`: queued, sending, sent, failed, unknown, or fallen: what it was to tell was over before it was sent.
CREATE TABLE notifications (
    id           TEXT   NOT NULL PRIMARY KEY,
    channel      TEXT   NOT NULL,
    channel_name TEXT   NOT NULL,
    target_key   TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    recipient    TEXT,
    state        TEXT   NOT NULL,
    attempts     BIGINT NOT NULL,
    claim        TEXT,
    message_id   TEXT,
    due_at       BIGINT,
    expires_at   BIGINT,
    sending_at   BIGINT,
    reason       TEXT,
    resend_of    TEXT,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX notifications_by_turn ON notifications (target_key, due_at, id) WHERE state = 'queued';
CREATE INDEX notifications_under_way ON notifications (sending_at) WHERE state = 'sending';
CREATE INDEX notifications_by_creation ON notifications (created_at DESC, id);
CREATE INDEX notifications_by_channel ON notifications (channel, created_at);

-- What a notification tells. The key is what makes each transition be told once.
CREATE TABLE notification_items (
    channel      TEXT   NOT NULL,
    incident     TEXT   NOT NULL,
    transition   BIGINT NOT NULL,
    reminder     BIGINT NOT NULL,
    round        BIGINT NOT NULL,
    notification TEXT   NOT NULL REFERENCES notifications (id) ON DELETE CASCADE,
    kind         TEXT   NOT NULL,
    level        TEXT   NOT NULL,
    value        DOUBLE PRECISION,
    PRIMARY KEY (channel, incident, transition, reminder, round)
) WITHOUT ROWID;
CREATE INDEX notification_items_by_notification ON notification_items (notification);
CREATE INDEX notification_items_by_incident ON notification_items (incident);

-- `matches` is JSON, as that of a route.
CREATE TABLE silences (
    id         TEXT   NOT NULL PRIMARY KEY,
    matches    TEXT   NOT NULL,
    starts_at  BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    reason     TEXT,
    made_by    TEXT,
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX silences_by_end ON silences (ends_at);
CREATE INDEX silences_by_creation ON silences (created_at DESC, id);

-- One-off, with `starts_at` and `ends_at`, or recurring, with `cron` and `duration_ms`. `matches` is JSON: which servers.
-- `since` is the time from which its runs count.
CREATE TABLE maintenance_windows (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    name_folded TEXT   NOT NULL UNIQUE,
    enabled     BIGINT NOT NULL,
    starts_at   BIGINT,
    ends_at     BIGINT,
    cron        TEXT,
    time_zone   TEXT   NOT NULL,
    duration_ms BIGINT,
    matches     TEXT   NOT NULL,
    reason      TEXT,
    since       BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
) WITHOUT ROWID;

-- One run of a window, by the wall clock of its zone. Its key is what makes it one at any number of replicas. `ended_at` is
-- absent while it lasts.
CREATE TABLE maintenance_runs (
    window_id   TEXT   NOT NULL REFERENCES maintenance_windows (id) ON DELETE CASCADE,
    local_start TEXT   NOT NULL,
    starts_at   BIGINT NOT NULL,
    ends_at     BIGINT NOT NULL,
    ended_at    BIGINT,
    servers     BIGINT NOT NULL,
    PRIMARY KEY (window_id, local_start)
) WITHOUT ROWID;
CREATE INDEX maintenance_runs_by_start ON maintenance_runs (starts_at);
CREATE INDEX maintenance_runs_that_last ON maintenance_runs (ends_at) WHERE ended_at IS NULL;

-- `alert_rules` rises with every change of a rule. `judge` is when the judge worked last, in Unix ms.
INSERT INTO versions (name, version) VALUES ('alert_rules', 0), ('judge', 0);

INSERT INTO role_scopes (role_id, scope) VALUES
    ('admin', 'alert:read'),
    ('admin', 'alert:respond'),
    ('admin', 'alert:write'),
    ('admin', 'channel:write'),
    ('viewer', 'alert:read');
