-- Whoever changes a role says which version of it they have seen, as with all that people change.
ALTER TABLE roles ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
