-- What an app is built on, and what its builds see as STACK; null for the server's own stack, and
-- for the stack's name.

ALTER TABLE apps ADD COLUMN stack TEXT;
ALTER TABLE apps ADD COLUMN stack_env TEXT;
