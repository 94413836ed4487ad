-- Ids are UUIDs; times are text, as 2026-01-01T00:00:00Z; JSON is text.

CREATE TABLE apps (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- Of the secret; the secret itself is nowhere.
    digest TEXT NOT NULL UNIQUE,
    -- 1 where the secret came from the administrator's file.
    adopted INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    last_used_at TEXT,
    revoked_at TEXT
);

CREATE TABLE slugs (
    id TEXT NOT NULL PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    manifest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    buildpacks TEXT NOT NULL,
    record TEXT NOT NULL,
    created_at TEXT NOT NULL
);

CREATE INDEX slugs_app ON slugs (app_id);
CREATE INDEX slugs_digest ON slugs (digest);

CREATE TABLE releases (
    id TEXT NOT NULL PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    version INTEGER NOT NULL CHECK (version > 0),
    slug_id TEXT REFERENCES slugs (id),
    config TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
    user_name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (app_id, version)
);

CREATE INDEX releases_slug ON releases (slug_id);

CREATE TABLE builds (
    -- The order of their making.
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    status TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
    source_kind TEXT NOT NULL CHECK (source_kind IN ('push', 'api')),
    commit_id TEXT,
    version TEXT,
    slug_id TEXT REFERENCES slugs (id),
    release_id TEXT REFERENCES releases (id),
    failure TEXT,
    user_name TEXT NOT NULL,
    cancelled INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE INDEX builds_app ON builds (app_id, number);
CREATE INDEX builds_status ON builds (status);

-- The ref updates that a recorded release still owes; gone when they are done.
CREATE TABLE intents (
    id TEXT NOT NULL PRIMARY KEY,
    release_id TEXT NOT NULL UNIQUE REFERENCES releases (id) ON DELETE CASCADE,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    quarantine TEXT NOT NULL,
    commands TEXT NOT NULL,
    created_at TEXT NOT NULL
);

CREATE TABLE sources (
    id TEXT NOT NULL PRIMARY KEY,
    created_at TEXT NOT NULL
);
