-- The rules for alerts that were made because a release ships them, by their names in the program: one that ships more makes
-- those, once, and what people delete stays deleted.
CREATE TABLE shipped_rules (
    name TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;

-- A suite that has had its first rules has had all of these.
INSERT INTO shipped_rules (name)
SELECT v.column1 FROM (VALUES
    ('Server silent'), ('Server enrolled but never heard'), ('Disk nearly full'), ('Memory nearly full'),
    ('Processor overloaded'), ('Too hot'), ('Monitoring is late'), ('Messages were put aside'), ('Mail fails'),
    ('A channel fails'), ('The disk of the data folder is nearly full'), ('A report failed'), ('A rule is too wide')
) AS v WHERE EXISTS (SELECT 1 FROM versions WHERE name = 'alert_rules' AND version > 0);

-- That about deafness came later: whoever has one, or has deleted one, needs no other.
INSERT INTO shipped_rules (name)
SELECT 'Monitoring hears nobody'
WHERE EXISTS (SELECT 1 FROM alert_rules WHERE kind = 'self' AND metric = 'deaf')
    OR EXISTS (SELECT 1 FROM audit WHERE action = 'alert_rule.delete' AND state_before LIKE '%"deaf"%');
