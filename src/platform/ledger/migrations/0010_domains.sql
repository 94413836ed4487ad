-- The host names of apps besides their own; a name belongs to one app.

CREATE TABLE domains (
    id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    hostname TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
);
CREATE INDEX domains_of_app ON domains (app_id);
