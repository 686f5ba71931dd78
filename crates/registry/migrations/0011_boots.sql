-- Which boot a server told last and which before it, and when it went from one of these two to the other (the three newest
-- changes), all in Unix ms: two agents with one credential show as two boots in turn.
ALTER TABLE facts ADD COLUMN boot_at BIGINT;
ALTER TABLE facts ADD COLUMN boot_before BIGINT;
ALTER TABLE facts ADD COLUMN changed_1 BIGINT;
ALTER TABLE facts ADD COLUMN changed_2 BIGINT;
ALTER TABLE facts ADD COLUMN changed_3 BIGINT;
