-- Requests that are not to be done twice, by a key that whoever asks chose. key_hash and body_hash are HMACs by the deployment's
-- secret. status and location are empty while the request is in hand, and for good where its process ended meanwhile. Nothing but
-- the finding of a repetition is decided by a row, which is why none is authenticated: who writes one past Signet can keep a request
-- from being done, or have it done twice, and sees nothing by it.
CREATE TABLE idempotency_keys (
    tenant     TEXT    NOT NULL,
    key_hash   BLOB    NOT NULL CHECK (length(key_hash) = 32),
    operator   TEXT    NOT NULL,
    operation  TEXT    NOT NULL,
    body_hash  BLOB    NOT NULL CHECK (length(body_hash) = 32),
    node       TEXT    NOT NULL,
    claimed_at INTEGER NOT NULL,
    kept_until INTEGER NOT NULL,
    status     INTEGER,
    location   TEXT,
    PRIMARY KEY (tenant, key_hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_kept_until ON idempotency_keys (kept_until);
