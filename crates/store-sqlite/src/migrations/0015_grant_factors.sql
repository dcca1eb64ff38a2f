-- What was shown at the sign-in that began the family: password, and each factor as kind:id, a JSON array.
ALTER TABLE grants ADD COLUMN factors TEXT NOT NULL DEFAULT '[]';
