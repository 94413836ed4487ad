-- What a token may do, and pushes that were signed.

ALTER TABLE tokens ADD COLUMN read_only INTEGER NOT NULL DEFAULT 0;
-- A JSON list of the ids of the apps that it is for; null for all there is.
ALTER TABLE tokens ADD COLUMN apps TEXT;

CREATE TABLE signed_pushes (
    id TEXT NOT NULL PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    signer TEXT,
    certificate TEXT NOT NULL,
    user_name TEXT NOT NULL,
    created_at TEXT NOT NULL
);

CREATE INDEX signed_pushes_app ON signed_pushes (app_id);
