-- What `0012_outbox.sql` does, in place: rights to the table stay, and processes of the release before go on.
ALTER TABLE deliveries ALTER COLUMN report_id DROP NOT NULL;
ALTER TABLE deliveries ADD COLUMN kind TEXT NOT NULL DEFAULT 'report';
ALTER TABLE deliveries ADD COLUMN subject_id TEXT NOT NULL DEFAULT '';
CREATE INDEX deliveries_by_subject ON deliveries (kind, subject_id, place);

-- The release before writes `report_id` and no subject; this one writes the subject, and the release before reads
-- `report_id`.
CREATE FUNCTION deliveries_of_two_releases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.subject_id = '' THEN
        NEW.subject_id := NEW.report_id;
    END IF;
    IF NEW.kind = 'report' AND NEW.report_id IS NULL THEN
        NEW.report_id := NEW.subject_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deliveries_of_two_releases BEFORE INSERT ON deliveries
FOR EACH ROW EXECUTE FUNCTION deliveries_of_two_releases();

UPDATE deliveries SET subject_id = report_id;
