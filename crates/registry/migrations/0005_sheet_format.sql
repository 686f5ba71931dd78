-- As what the sheet of a report is attached.
ALTER TABLE reports ADD COLUMN sheet_format TEXT NOT NULL DEFAULT 'xlsx';
ALTER TABLE report_schedules ADD COLUMN sheet_format TEXT NOT NULL DEFAULT 'xlsx';
