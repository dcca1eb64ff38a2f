-- Rises with every change of what a user signs in by: a sign-in that began before such a change is worth nothing after it.
ALTER TABLE users ADD COLUMN credentials_version INTEGER NOT NULL DEFAULT 0;
