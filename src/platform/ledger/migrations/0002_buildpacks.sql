-- How an app is built: its buildpacks, where, and which of its directories.

CREATE TABLE buildpacks (
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,
    -- A built-in one's name or a URL, as a person writes it.
    reference TEXT NOT NULL,
    PRIMARY KEY (app_id, ordinal)
);

ALTER TABLE apps ADD COLUMN build_dir TEXT NOT NULL DEFAULT 'app' CHECK (build_dir IN ('app', 'separate'));
-- Relative to the repository's root; null for the root itself.
ALTER TABLE apps ADD COLUMN root TEXT;
