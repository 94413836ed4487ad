-- The size of an app's dynos of a type; none is the default one.
ALTER TABLE formations ADD COLUMN size TEXT;
