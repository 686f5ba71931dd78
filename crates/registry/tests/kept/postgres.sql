CREATE TABLE _sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);
CREATE TABLE api_token_scopes (
    token_id text NOT NULL COLLATE pg_catalog."C",
    scope text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE api_tokens (
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    expires_at bigint,
    created_at bigint NOT NULL
);
CREATE TABLE audit (
    number bigint NOT NULL,
    at bigint NOT NULL,
    actor_kind text NOT NULL COLLATE pg_catalog."C",
    actor_id text COLLATE pg_catalog."C",
    actor_name text COLLATE pg_catalog."C",
    actor_folded text COLLATE pg_catalog."C",
    address text COLLATE pg_catalog."C",
    action text NOT NULL COLLATE pg_catalog."C",
    object_kind text NOT NULL COLLATE pg_catalog."C",
    object_id text COLLATE pg_catalog."C",
    state_before text COLLATE pg_catalog."C",
    state_after text COLLATE pg_catalog."C"
);
ALTER TABLE audit ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME audit_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE deliveries (
    id text NOT NULL COLLATE pg_catalog."C",
    report_id text NOT NULL COLLATE pg_catalog."C",
    place bigint NOT NULL,
    recipient text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    attempts bigint NOT NULL,
    publish_at bigint,
    message_id text COLLATE pg_catalog."C",
    error text COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL
);
CREATE TABLE enrolment_tokens (
    id text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    uses bigint NOT NULL,
    used bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint,
    created_at bigint NOT NULL,
    server_id text COLLATE pg_catalog."C",
    labels text DEFAULT '{}'::text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE enrolments (
    token_id text NOT NULL COLLATE pg_catalog."C",
    key_hash text NOT NULL COLLATE pg_catalog."C",
    server_id text NOT NULL COLLATE pg_catalog."C",
    generation bigint NOT NULL,
    enrolled_at bigint NOT NULL
);
CREATE TABLE facts (
    server_id text NOT NULL COLLATE pg_catalog."C",
    facts_at bigint NOT NULL,
    facts text NOT NULL COLLATE pg_catalog."C",
    search text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE labels (
    server_id text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE pauses (
    server_id text NOT NULL COLLATE pg_catalog."C",
    paused_at bigint NOT NULL,
    resumed_at bigint,
    ends_at bigint,
    reason text COLLATE pg_catalog."C"
);
CREATE TABLE refresh_tokens (
    hash text NOT NULL COLLATE pg_catalog."C",
    session_id text NOT NULL COLLATE pg_catalog."C",
    expires_at bigint NOT NULL,
    used_at bigint
);
CREATE TABLE report_rows (
    report_id text NOT NULL COLLATE pg_catalog."C",
    place bigint NOT NULL,
    server_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    covered_ms bigint NOT NULL,
    expected_ms bigint NOT NULL,
    longest_ms bigint NOT NULL,
    longest_at bigint
);
CREATE TABLE report_schedules (
    id text NOT NULL COLLATE pg_catalog."C",
    cron text NOT NULL COLLATE pg_catalog."C",
    time_zone text NOT NULL COLLATE pg_catalog."C",
    about text NOT NULL COLLATE pg_catalog."C",
    recipients text NOT NULL COLLATE pg_catalog."C",
    server_filter text NOT NULL COLLATE pg_catalog."C",
    since bigint NOT NULL,
    version bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    sheet_format text DEFAULT 'xlsx'::text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE report_ticks (
    schedule_id text NOT NULL COLLATE pg_catalog."C",
    local_due text NOT NULL COLLATE pg_catalog."C",
    due_at bigint NOT NULL,
    report_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE reports (
    id text NOT NULL COLLATE pg_catalog."C",
    schedule_id text COLLATE pg_catalog."C",
    from_at bigint NOT NULL,
    to_at bigint NOT NULL,
    time_zone text NOT NULL COLLATE pg_catalog."C",
    server_filter text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    error text COLLATE pg_catalog."C",
    claimed_until bigint NOT NULL,
    created_at bigint NOT NULL,
    computed_at bigint,
    sheet_format text DEFAULT 'xlsx'::text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE revocations (
    server_id text NOT NULL COLLATE pg_catalog."C",
    generation bigint NOT NULL,
    revoked_at bigint NOT NULL
);
CREATE TABLE role_scopes (
    role_id text NOT NULL COLLATE pg_catalog."C",
    scope text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE roles (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    name_folded text NOT NULL COLLATE pg_catalog."C",
    built_in bigint NOT NULL,
    created_at bigint DEFAULT 0 NOT NULL,
    updated_at bigint DEFAULT 0 NOT NULL
);
CREATE TABLE servers (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    name_folded text NOT NULL COLLATE pg_catalog."C",
    address text COLLATE pg_catalog."C",
    search text NOT NULL COLLATE pg_catalog."C",
    generation bigint NOT NULL,
    version bigint NOT NULL,
    paused_at bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    enrolled_at bigint
);
CREATE TABLE sessions (
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint
);
CREATE TABLE sightings (
    server_id text NOT NULL COLLATE pg_catalog."C",
    received_at bigint NOT NULL,
    silent_at bigint NOT NULL,
    interval_ms bigint NOT NULL,
    sampled_at bigint NOT NULL
);
CREATE TABLE users (
    id text NOT NULL COLLATE pg_catalog."C",
    username text NOT NULL COLLATE pg_catalog."C",
    username_folded text NOT NULL COLLATE pg_catalog."C",
    password_hash text NOT NULL COLLATE pg_catalog."C",
    role_id text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    version bigint NOT NULL,
    disabled_at bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    email text COLLATE pg_catalog."C"
);
CREATE TABLE versions (
    name text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL
);
CREATE TABLE workers (
    name text NOT NULL COLLATE pg_catalog."C",
    newest_settled bigint,
    oldest_in_hand bigint,
    open_since bigint,
    written_at bigint NOT NULL
);
INSERT INTO _sqlx_migrations VALUES (1, 'registry', '2026-11-27 11:51:22.061998+00', true, '\xc2897720cf2da42ac04cfa262336a528a1bb76370ca667926d2771f0f205a671bfa840175e8d9ff01d407a64b2d15c76', 171555479);
INSERT INTO _sqlx_migrations VALUES (2, 'people', '2026-11-27 11:51:22.234173+00', true, '\x7e1bcdb38d9afbc442a8eedef396d78d5e8b6bf97baab8dd97a2ec582eaac9ea51abed83c397bfc045f53835771d8fa4', 43306116);
INSERT INTO _sqlx_migrations VALUES (3, 'servers', '2026-11-27 11:51:22.282438+00', true, '\x15b325a89ead9b9cf0ccb412955a666b08a81f6daddabb038989452c43c7332f23ebecc4dabe2485790835e89e47d627', 9689975);
INSERT INTO _sqlx_migrations VALUES (4, 'reports', '2026-11-27 11:51:22.29833+00', true, '\xc6c5d42935131f29d54bdd05846998d6f24d8be10814f4bee591ee207b8d0be5714099b85c5a71a7b86a1153c0fe28c1', 103977233);
INSERT INTO _sqlx_migrations VALUES (5, 'sheet format', '2026-11-27 11:51:22.414563+00', true, '\xc91ed7b42d1810c43506c41b464e33096bd5ee916ab8e6fa06ac1d51c549f56c40c168eac74223e3143aaecbeb91f581', 2074526);
INSERT INTO _sqlx_migrations VALUES (6, 'lists', '2026-11-27 11:51:22.426431+00', true, '\x437c389acf3d3005af3205e4bb27c82fd4b54f3fa7012d5be0c72326ea216d43584627a1abd269e2fc24600f991b464b', 43637838);
INSERT INTO api_token_scopes VALUES ('01a21cd8-931c-714b-9545-d63085eb91ed', 'server:read');
INSERT INTO api_tokens VALUES ('01a21cd8-931c-714b-9545-d63085eb91ed', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'inventory', '2481529c9309f4bc7b651828686fd30a8209b2bbedc0ef9308d0c1083525159a', NULL, 1795780285212);
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (1, 1795780282787, 'system', NULL, NULL, NULL, NULL, 'user.create', 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', NULL, '{"role":"admin","username":"admin"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (2, 1795780285030, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'session.begin', 'session', '01a21cd8-9266-7d01-8592-53d613bf60a8', NULL, NULL);
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (3, 1795780285053, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'role.create', 'role', '01a21cd8-927d-7402-9395-1c450017291e', NULL, '{"name":"operator","scopes":["server:read","server:write","agent:enroll"]}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (4, 1795780285159, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'user.create', 'user', '01a21cd8-92e7-75b9-b62d-14df05361beb', NULL, '{"disabled":false,"email":"ops@example.org","role":"operator","username":"ops"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (5, 1795780285202, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'user.change', 'user', '01a21cd8-92e7-75b9-b62d-14df05361beb', '{"disabled":false,"email":"ops@example.org","role":"operator","username":"ops"}', '{"disabled":false,"email":"ops2@example.org","role":"operator","username":"ops"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (6, 1795780285212, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'token.create', 'token', '01a21cd8-931c-714b-9545-d63085eb91ed', NULL, '{"expires_at":null,"name":"inventory","scopes":["server:read"]}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (7, 1795780285220, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'enrolment_token.create', 'enrolment_token', '01a21cd8-9324-737c-b04a-1a42a8b4d300', NULL, '{"expires_at":1795783885220,"labels":{"env":"prod","site":"eu"},"server_id":null,"uses":1}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (8, 1795780285224, 'enrolment', '01a21cd8-9324-737c-b04a-1a42a8b4d300', NULL, NULL, '127.0.0.1', 'server.enrol', 'server', '01a21cd8-9328-7ae2-892e-0d62d638bd24', NULL, '{"generation":1,"name":"web-1"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (9, 1795780285258, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'enrolment_token.create', 'enrolment_token', '01a21cd8-934a-7040-b1bc-fcd4dbfa6dd1', NULL, '{"expires_at":1795783885258,"labels":{},"server_id":null,"uses":1}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (10, 1795780285270, 'enrolment', '01a21cd8-934a-7040-b1bc-fcd4dbfa6dd1', NULL, NULL, '127.0.0.1', 'server.enrol', 'server', '01a21cd8-9356-72dd-9c49-d661020f6b17', NULL, '{"generation":1,"name":"db-1"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (11, 1795780285323, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'enrolment_token.create', 'enrolment_token', '01a21cd8-938b-7fb0-9596-1c17aaa642e4', NULL, '{"expires_at":1795783885323,"labels":{},"server_id":null,"uses":1}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (12, 1795780285330, 'enrolment', '01a21cd8-938b-7fb0-9596-1c17aaa642e4', NULL, NULL, '127.0.0.1', 'server.enrol', 'server', '01a21cd8-9392-7490-874a-8a4c73ea595f', NULL, '{"generation":1,"name":"old-1"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (13, 1795780287819, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'server.change', 'server', '01a21cd8-9356-72dd-9c49-d661020f6b17', '{"address":null,"labels":{},"name":"db-1"}', '{"address":"192.0.2.7","labels":{"env":"test"},"name":"db-1"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (14, 1795780287845, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'server.pause', 'server', '01a21cd8-9356-72dd-9c49-d661020f6b17', NULL, '{"paused_at":1795780287845,"reason":"new disks","until":null}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (15, 1795780287876, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'server.revoke', 'server', '01a21cd8-9392-7490-874a-8a4c73ea595f', '{"generation":1}', '{"generation":2}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (16, 1795780287885, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'server.create', 'server', '01a21cd8-9d8d-72c6-a5cf-f3e3ddb0c785', NULL, '{"address":null,"labels":{},"name":"made-1"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (17, 1795780287893, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'server.create', 'server', '01a21cd8-9d95-78fd-b652-f762f9c6b0c5', NULL, '{"address":null,"labels":{},"name":"gone-1"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (18, 1795780287902, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'server.delete', 'server', '01a21cd8-9d95-78fd-b652-f762f9c6b0c5', '{"address":null,"labels":{},"name":"gone-1"}', NULL);
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (19, 1795780287914, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'report_schedule.create', 'report_schedule', '01a21cd8-9daa-73d4-b8c0-d8ea043aecfa', NULL, '{"cron":"59 23 * * *","filter":{},"format":"xlsx","recipients":["ops@example.org"],"time_zone":"Europe/Berlin","window":"last_24h"}');
INSERT INTO audit OVERRIDING SYSTEM VALUE VALUES (20, 1795780287921, 'user', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '127.0.0.1', 'report_schedule.update', 'report_schedule', '01a21cd8-9daa-73d4-b8c0-d8ea043aecfa', '{"cron":"59 23 * * *","filter":{},"format":"xlsx","recipients":["ops@example.org"],"time_zone":"Europe/Berlin","window":"last_24h"}', '{"cron":"59 23 * * *","filter":{},"format":"xlsx","recipients":["ops@example.org"],"time_zone":"Europe/Berlin","window":"last_24h"}');
INSERT INTO enrolment_tokens VALUES ('01a21cd8-9324-737c-b04a-1a42a8b4d300', '4314ba6fd3893a914768ca7c21c912ae7e8f321483793036118c04a2bcafe40c', 1, 1, 1795783885220, NULL, 1795780285220, NULL, '{"env":"prod","site":"eu"}');
INSERT INTO enrolment_tokens VALUES ('01a21cd8-934a-7040-b1bc-fcd4dbfa6dd1', '5ce046dba0cdbaac4c17e3c0d84fd1260ecd8eb5ba6acc194f903a8dbe7f945a', 1, 1, 1795783885258, NULL, 1795780285258, NULL, '{}');
INSERT INTO enrolment_tokens VALUES ('01a21cd8-938b-7fb0-9596-1c17aaa642e4', 'd6650d6abffbb87b69deea144187854a6a18804bb08302929626edaf6f7585d9', 1, 1, 1795783885323, NULL, 1795780285323, NULL, '{}');
INSERT INTO enrolments VALUES ('01a21cd8-9324-737c-b04a-1a42a8b4d300', 'a45211827ed21622fc2cf858a8484918ccdb51e5ce96ce5b139c06b0404f976f', '01a21cd8-9328-7ae2-892e-0d62d638bd24', 1, 1795780285224);
INSERT INTO enrolments VALUES ('01a21cd8-934a-7040-b1bc-fcd4dbfa6dd1', 'c5193d4465a594ea605d7afac571821d55f43e32d79142849eee1bd5fc1c1a89', '01a21cd8-9356-72dd-9c49-d661020f6b17', 1, 1795780285270);
INSERT INTO enrolments VALUES ('01a21cd8-938b-7fb0-9596-1c17aaa642e4', 'cfff3907d445e52e91682137398ebbf0ae98855e6039c0646a22cccff25e5d9a', '01a21cd8-9392-7490-874a-8a4c73ea595f', 1, 1795780285330);
INSERT INTO facts VALUES ('01a21cd8-9328-7ae2-892e-0d62d638bd24', 1795684260000, '{"hostname":"web-1.example.org","os":"Debian 13","kernel":"6.12","arch":"x86_64","boot_at":1795672259000}', 'web-1.example.org');
INSERT INTO labels VALUES ('01a21cd8-9328-7ae2-892e-0d62d638bd24', 'env', 'prod');
INSERT INTO labels VALUES ('01a21cd8-9328-7ae2-892e-0d62d638bd24', 'site', 'eu');
INSERT INTO labels VALUES ('01a21cd8-9356-72dd-9c49-d661020f6b17', 'env', 'test');
INSERT INTO pauses VALUES ('01a21cd8-9356-72dd-9c49-d661020f6b17', 1795780287845, NULL, NULL, 'new disks');
INSERT INTO refresh_tokens VALUES ('71fb5ad3be27e8aaec54eeb96d51a412e9365d71f2cc73baeeb7f28bb982ebe7', '01a21cd8-9266-7d01-8592-53d613bf60a8', 1798372285030, NULL);
INSERT INTO report_schedules VALUES ('01a21cd8-9daa-73d4-b8c0-d8ea043aecfa', '59 23 * * *', 'Europe/Berlin', 'last_24h', '["ops@example.org"]', '{}', 1795780287914, 2, 1795780287914, 1795780287921, 'xlsx');
INSERT INTO revocations VALUES ('01a21cd8-9392-7490-874a-8a4c73ea595f', 2, 1795780287876);
INSERT INTO revocations VALUES ('01a21cd8-9d95-78fd-b652-f762f9c6b0c5', 1, 1795780287902);
INSERT INTO role_scopes VALUES ('admin', 'server:read');
INSERT INTO role_scopes VALUES ('admin', 'server:write');
INSERT INTO role_scopes VALUES ('admin', 'user:read');
INSERT INTO role_scopes VALUES ('admin', 'user:write');
INSERT INTO role_scopes VALUES ('admin', 'report:read');
INSERT INTO role_scopes VALUES ('admin', 'report:write');
INSERT INTO role_scopes VALUES ('admin', 'agent:enroll');
INSERT INTO role_scopes VALUES ('admin', 'audit:read');
INSERT INTO role_scopes VALUES ('viewer', 'server:read');
INSERT INTO role_scopes VALUES ('viewer', 'report:read');
INSERT INTO role_scopes VALUES ('01a21cd8-927d-7402-9395-1c450017291e', 'server:read');
INSERT INTO role_scopes VALUES ('01a21cd8-927d-7402-9395-1c450017291e', 'server:write');
INSERT INTO role_scopes VALUES ('01a21cd8-927d-7402-9395-1c450017291e', 'agent:enroll');
INSERT INTO roles VALUES ('viewer', 'viewer', 'viewer', 1, 0, 0);
INSERT INTO roles VALUES ('01a21cd8-927d-7402-9395-1c450017291e', 'operator', 'operator', 0, 1795780285053, 1795780285053);
INSERT INTO roles VALUES ('admin', 'admin', 'admin', 1, 0, 0);
INSERT INTO servers VALUES ('01a21cd8-9328-7ae2-892e-0d62d638bd24', 'web-1', 'web-1', NULL, 'web-1
prod
eu', 1, 1, NULL, 1795780285224, 1795780285224, 1795780285224);
INSERT INTO servers VALUES ('01a21cd8-9356-72dd-9c49-d661020f6b17', 'db-1', 'db-1', '192.0.2.7', 'db-1
192.0.2.7
test', 1, 3, 1795780287845, 1795780285270, 1795780287845, 1795780285270);
INSERT INTO servers VALUES ('01a21cd8-9392-7490-874a-8a4c73ea595f', 'old-1', 'old-1', NULL, 'old-1', 2, 2, NULL, 1795780285330, 1795780287876, 1795780285330);
INSERT INTO servers VALUES ('01a21cd8-9d8d-72c6-a5cf-f3e3ddb0c785', 'made-1', 'made-1', NULL, 'made-1', 0, 1, NULL, 1795780287885, 1795780287885, NULL);
INSERT INTO sessions VALUES ('01a21cd8-9266-7d01-8592-53d613bf60a8', '01a21cd8-89a3-772b-8d02-a6c224fa5a23', 1, 1795780285030, 1798372285030, NULL);
INSERT INTO sightings VALUES ('01a21cd8-9328-7ae2-892e-0d62d638bd24', 1795780287520, 1795780527520, 60000, 1795780260000);
INSERT INTO sightings VALUES ('01a21cd8-9356-72dd-9c49-d661020f6b17', 1795780287734, 1795780527734, 60000, 1795780260000);
INSERT INTO sightings VALUES ('01a21cd8-9392-7490-874a-8a4c73ea595f', 1795780287760, 1795780527760, 60000, 1795780260000);
INSERT INTO users VALUES ('01a21cd8-89a3-772b-8d02-a6c224fa5a23', 'admin', 'admin', '$argon2id$v=19$m=19456,t=2,p=1$rs8dIHzD9XczKGlSsMWAUw$zIrNoj4qdDX5EHaFfK8KuHhimmzk2U8Jl8dX6qYDnnk', 'admin', 1, 1, NULL, 1795780282787, 1795780282787, NULL);
INSERT INTO users VALUES ('01a21cd8-92e7-75b9-b62d-14df05361beb', 'ops', 'ops', '$argon2id$v=19$m=19456,t=2,p=1$BHIXfrffLIk/ZdOzJUC1qw$pLRG4DSwg56U6BYpQeZeNOLLUs/8Z0+mcjNPifc3qR0', '01a21cd8-927d-7402-9395-1c450017291e', 1, 2, NULL, 1795780285159, 1795780285202, 'ops2@example.org');
INSERT INTO versions VALUES ('denylist', 2);
INSERT INTO workers VALUES ('worker-a56d0a6a28791d6f', 1795780298636, NULL, 1795780283654, 1795780304059);
SELECT pg_catalog.setval('audit_number_seq', 20, true);
ALTER TABLE ONLY _sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY api_token_scopes
    ADD CONSTRAINT api_token_scopes_pkey PRIMARY KEY (token_id, scope);
ALTER TABLE ONLY api_tokens
    ADD CONSTRAINT api_tokens_hash_key UNIQUE (hash);
ALTER TABLE ONLY api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (number);
ALTER TABLE ONLY deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY enrolment_tokens
    ADD CONSTRAINT enrolment_tokens_hash_key UNIQUE (hash);
ALTER TABLE ONLY enrolment_tokens
    ADD CONSTRAINT enrolment_tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY enrolments
    ADD CONSTRAINT enrolments_pkey PRIMARY KEY (token_id, key_hash);
ALTER TABLE ONLY facts
    ADD CONSTRAINT facts_pkey PRIMARY KEY (server_id);
ALTER TABLE ONLY labels
    ADD CONSTRAINT labels_pkey PRIMARY KEY (server_id, key);
ALTER TABLE ONLY pauses
    ADD CONSTRAINT pauses_pkey PRIMARY KEY (server_id, paused_at);
ALTER TABLE ONLY refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY report_rows
    ADD CONSTRAINT report_rows_pkey PRIMARY KEY (report_id, place);
ALTER TABLE ONLY report_schedules
    ADD CONSTRAINT report_schedules_pkey PRIMARY KEY (id);
ALTER TABLE ONLY report_ticks
    ADD CONSTRAINT report_ticks_pkey PRIMARY KEY (schedule_id, local_due);
ALTER TABLE ONLY reports
    ADD CONSTRAINT reports_pkey PRIMARY KEY (id);
ALTER TABLE ONLY revocations
    ADD CONSTRAINT revocations_pkey PRIMARY KEY (server_id);
ALTER TABLE ONLY role_scopes
    ADD CONSTRAINT role_scopes_pkey PRIMARY KEY (role_id, scope);
ALTER TABLE ONLY roles
    ADD CONSTRAINT roles_name_folded_key UNIQUE (name_folded);
ALTER TABLE ONLY roles
    ADD CONSTRAINT roles_pkey PRIMARY KEY (id);
ALTER TABLE ONLY servers
    ADD CONSTRAINT servers_name_folded_key UNIQUE (name_folded);
ALTER TABLE ONLY servers
    ADD CONSTRAINT servers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sightings
    ADD CONSTRAINT sightings_pkey PRIMARY KEY (server_id);
ALTER TABLE ONLY users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
ALTER TABLE ONLY users
    ADD CONSTRAINT users_username_folded_key UNIQUE (username_folded);
ALTER TABLE ONLY versions
    ADD CONSTRAINT versions_pkey PRIMARY KEY (name);
ALTER TABLE ONLY workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (name);
CREATE INDEX api_tokens_by_user ON api_tokens USING btree (user_id, created_at, id);
CREATE INDEX audit_by_object ON audit USING btree (object_id, at);
CREATE INDEX audit_by_time ON audit USING btree (at, number);
CREATE INDEX deliveries_by_publication ON deliveries USING btree (publish_at);
CREATE INDEX deliveries_by_report ON deliveries USING btree (report_id, place);
CREATE INDEX deliveries_by_state ON deliveries USING btree (state, updated_at);
CREATE INDEX enrolment_tokens_by_creation ON enrolment_tokens USING btree (created_at, id);
CREATE INDEX labels_by_value ON labels USING btree (key, value, server_id);
CREATE INDEX pauses_by_end ON pauses USING btree (ends_at) WHERE (resumed_at IS NULL);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens USING btree (session_id);
CREATE INDEX report_schedules_by_creation ON report_schedules USING btree (created_at, id);
CREATE INDEX report_ticks_by_due ON report_ticks USING btree (due_at);
CREATE INDEX reports_by_creation ON reports USING btree (created_at, id);
CREATE INDEX reports_by_state ON reports USING btree (state, claimed_until);
CREATE INDEX servers_by_address ON servers USING btree (address, id);
CREATE INDEX servers_by_creation ON servers USING btree (created_at, id);
CREATE INDEX servers_by_last_update ON servers USING btree (updated_at DESC, id);
CREATE INDEX servers_by_name ON servers USING btree (name_folded, id);
CREATE INDEX servers_by_newest ON servers USING btree (created_at DESC, id);
CREATE INDEX servers_by_pause ON servers USING btree (id) WHERE (paused_at IS NOT NULL);
CREATE INDEX servers_by_update ON servers USING btree (updated_at, id);
CREATE INDEX sessions_by_expiry ON sessions USING btree (expires_at);
CREATE INDEX sessions_by_user ON sessions USING btree (user_id);
CREATE INDEX users_by_role ON users USING btree (role_id);
ALTER TABLE ONLY api_token_scopes
    ADD CONSTRAINT api_token_scopes_token_id_fkey FOREIGN KEY (token_id) REFERENCES api_tokens(id) ON DELETE CASCADE;
ALTER TABLE ONLY api_tokens
    ADD CONSTRAINT api_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE ONLY deliveries
    ADD CONSTRAINT deliveries_report_id_fkey FOREIGN KEY (report_id) REFERENCES reports(id) ON DELETE CASCADE;
ALTER TABLE ONLY enrolments
    ADD CONSTRAINT enrolments_token_id_fkey FOREIGN KEY (token_id) REFERENCES enrolment_tokens(id) ON DELETE CASCADE;
ALTER TABLE ONLY facts
    ADD CONSTRAINT facts_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers(id) ON DELETE CASCADE;
ALTER TABLE ONLY labels
    ADD CONSTRAINT labels_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers(id) ON DELETE CASCADE;
ALTER TABLE ONLY pauses
    ADD CONSTRAINT pauses_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers(id) ON DELETE CASCADE;
ALTER TABLE ONLY refresh_tokens
    ADD CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE;
ALTER TABLE ONLY report_rows
    ADD CONSTRAINT report_rows_report_id_fkey FOREIGN KEY (report_id) REFERENCES reports(id) ON DELETE CASCADE;
ALTER TABLE ONLY report_ticks
    ADD CONSTRAINT report_ticks_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES report_schedules(id) ON DELETE CASCADE;
ALTER TABLE ONLY role_scopes
    ADD CONSTRAINT role_scopes_role_id_fkey FOREIGN KEY (role_id) REFERENCES roles(id) ON DELETE CASCADE;
ALTER TABLE ONLY sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE ONLY sightings
    ADD CONSTRAINT sightings_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers(id) ON DELETE CASCADE;
ALTER TABLE ONLY users
    ADD CONSTRAINT users_role_id_fkey FOREIGN KEY (role_id) REFERENCES roles(id);
