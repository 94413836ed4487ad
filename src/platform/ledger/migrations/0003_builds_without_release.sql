-- A push that is built and not released owes its refs all the same.

CREATE TABLE owed (
    id TEXT NOT NULL PRIMARY KEY,
    release_id TEXT UNIQUE REFERENCES releases (id) ON DELETE CASCADE,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    quarantine TEXT NOT NULL,
    commands TEXT NOT NULL,
    created_at TEXT NOT NULL
);

INSERT INTO owed (id, release_id, app_id, quarantine, commands, created_at)
    SELECT i.id, i.release_id, i.app_id, i.quarantine, i.commands, i.created_at
    FROM intents i JOIN releases r ON r.id = i.release_id
    ORDER BY i.app_id, r.version;

DROP TABLE intents;
ALTER TABLE owed RENAME TO intents;
