-- The hash function of an app's repository.

ALTER TABLE apps ADD COLUMN object_format TEXT NOT NULL DEFAULT 'sha1' CHECK (object_format IN ('sha1', 'sha256'));
