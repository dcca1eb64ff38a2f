-- Challenges of security keys that were answered, until they are refused for their age anyway.
CREATE TABLE spent_challenges (
    tenant    TEXT    NOT NULL,
    challenge BLOB    NOT NULL CHECK (length(challenge) = 32),
    until     INTEGER NOT NULL,
    PRIMARY KEY (tenant, challenge)
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_challenges_by_until ON spent_challenges (until);
