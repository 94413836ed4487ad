-- 1 while the release command has neither succeeded nor failed; the release is pending until then.
ALTER TABLE releases ADD COLUMN owes_phase INTEGER NOT NULL DEFAULT 0;
ALTER TABLE apps ADD COLUMN maintenance INTEGER NOT NULL DEFAULT 0;
ALTER TABLE apps ADD COLUMN rollback_on_crash INTEGER NOT NULL DEFAULT 0;
