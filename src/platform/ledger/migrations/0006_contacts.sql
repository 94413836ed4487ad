-- The hosts that a build has asked for, with the bytes exchanged, as JSON.

ALTER TABLE builds ADD COLUMN contacts TEXT NOT NULL DEFAULT '[]';
