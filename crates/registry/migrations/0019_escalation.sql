-- Since when the steps of routes count: since an incident was opened again. Absent: since it was opened. `step` is how many
-- steps have come since then.
ALTER TABLE incidents ADD COLUMN escalates_from BIGINT;
