-- Every action in the audit log is a kind and a verb, and who changes something does `change`.
UPDATE audit SET action = 'report_schedule.change' WHERE action = 'report_schedule.update';
