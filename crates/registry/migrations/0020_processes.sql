-- Who may see what runs on a host. A command line may tell what its host keeps to itself, so it has a scope of its own.
INSERT INTO role_scopes (role_id, scope) VALUES
    ('admin', 'process:read'),
    ('admin', 'process:command'),
    ('viewer', 'process:read');
