-- Sign-ins in a browser. secret_hash is of what the cookie holds, which is new after each step; id stays. A session counts
-- as long as its user's credentials_version is the one that it began with.
CREATE TABLE sessions (
    tenant              TEXT    NOT NULL,
    id                  TEXT    NOT NULL,
    user_id             TEXT    NOT NULL,
    secret_hash         BLOB    NOT NULL CHECK (length(secret_hash) = 32),
    credentials_version INTEGER NOT NULL,
    address             TEXT,
    auth_time           INTEGER NOT NULL,
    acr                 TEXT    NOT NULL,
    amr                 TEXT    NOT NULL,
    factors             TEXT    NOT NULL,
    created_at          INTEGER NOT NULL,
    last_seen_at        INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE
) STRICT;

CREATE UNIQUE INDEX sessions_by_secret ON sessions (tenant, secret_hash);
CREATE INDEX sessions_by_user ON sessions (tenant, user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
