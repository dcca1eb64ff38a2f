-- algorithm: what a pair signs with, as its public half says; empty for a secret key. end_reason: why the key left the
-- JWKS, once it has. token_lifetime: how long tokens last that were signed by it, in milliseconds; a day, the longest that
-- can be configured, where nobody wrote it down.
ALTER TABLE keys ADD COLUMN algorithm TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN end_reason TEXT;
ALTER TABLE keys ADD COLUMN token_lifetime INTEGER NOT NULL DEFAULT 0;

UPDATE keys SET algorithm = json_extract(public_jwk, '$.alg') WHERE public_jwk IS NOT NULL;
UPDATE keys SET token_lifetime = 86400000 WHERE purpose = 'token_signing' AND state = 'active';
UPDATE keys SET end_reason = 'expired' WHERE state = 'destroyed';

-- Two processes could make an active key of the same kind at once. The oldest is the one that was used; the others are
-- published, and what they sealed still opens.
UPDATE keys SET state = 'next'
WHERE state = 'active' AND EXISTS (
    SELECT 1 FROM keys AS older
    WHERE older.state = 'active' AND older.tenant = keys.tenant AND older.hsm = keys.hsm
      AND older.purpose = keys.purpose AND older.algorithm = keys.algorithm
      AND (older.created_at < keys.created_at OR (older.created_at = keys.created_at AND older.key_id < keys.key_id))
);

CREATE UNIQUE INDEX keys_one_active ON keys (tenant, hsm, purpose, algorithm) WHERE state = 'active';

-- Pairs that are about to be generated: what a process that died leaves in an HSM token is found by these.
CREATE TABLE announced_keys (
    cka_id       BLOB    NOT NULL PRIMARY KEY,
    tenant       TEXT    NOT NULL,
    hsm          TEXT    NOT NULL,
    purpose      TEXT    NOT NULL,
    algorithm    TEXT    NOT NULL,
    announced_at INTEGER NOT NULL,
    given_up     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What one process does at a time.
CREATE TABLE leases (
    name       TEXT    NOT NULL PRIMARY KEY,
    holder     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
