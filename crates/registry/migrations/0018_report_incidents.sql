-- What a report says of the incidents of its time, and in which language. `incidents` is JSON: what is said of all of them
-- together, and the longest by name; absent in reports that were computed before.
ALTER TABLE reports ADD COLUMN language TEXT NOT NULL DEFAULT 'en';
ALTER TABLE reports ADD COLUMN incidents TEXT;
ALTER TABLE report_schedules ADD COLUMN language TEXT NOT NULL DEFAULT 'en';
ALTER TABLE report_rows ADD COLUMN incidents BIGINT NOT NULL DEFAULT 0;
ALTER TABLE report_rows ADD COLUMN longest_incident_ms BIGINT;
ALTER TABLE report_rows ADD COLUMN resolved_in_ms BIGINT;
