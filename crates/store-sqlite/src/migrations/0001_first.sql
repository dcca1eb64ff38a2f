-- Rows carry their tenant, except where they tell of the deployment as a whole: deployment, hsm_tokens, audit_checkpoints.
-- Sets and lists are JSON arrays of text, written and read by the adapter; moments are milliseconds since 1970 in UTC.

-- One row: how far the audit chain reaches, and the number that rises with every change of a user, factor, client or key.
CREATE TABLE deployment (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    generation    INTEGER NOT NULL,
    head_sequence INTEGER NOT NULL,
    head_hash     BLOB    NOT NULL CHECK (length(head_hash) = 32),
    head_at       INTEGER NOT NULL,
    probed_at     INTEGER NOT NULL
) STRICT;

INSERT INTO deployment (id, generation, head_sequence, head_hash, head_at, probed_at)
VALUES (1, 0, 0, x'0000000000000000000000000000000000000000000000000000000000000000', 0, 0);

CREATE TABLE hsm_tokens (
    name         TEXT    NOT NULL PRIMARY KEY,
    label        TEXT    NOT NULL,
    manufacturer TEXT    NOT NULL,
    model        TEXT    NOT NULL,
    serial       TEXT    NOT NULL,
    firmware     TEXT    NOT NULL,
    bound_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    roles      TEXT    NOT NULL,
    enabled    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT;

-- Secrets at rest: one blob per HSM token that can open it. kind is the table and column that the secret belongs to.
CREATE TABLE seals (
    tenant TEXT NOT NULL,
    kind   TEXT NOT NULL,
    row_id TEXT NOT NULL,
    hsm    TEXT NOT NULL,
    blob   BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, row_id, hsm)
) STRICT, WITHOUT ROWID;

CREATE TABLE factors (
    tenant              TEXT    NOT NULL,
    id                  TEXT    NOT NULL,
    user_id             TEXT    NOT NULL,
    label               TEXT    NOT NULL,
    kind                TEXT    NOT NULL,
    created_at          INTEGER NOT NULL,
    last_used_at        INTEGER,
    totp_hash           TEXT,
    totp_digits         INTEGER,
    totp_step_seconds   INTEGER,
    totp_drift          INTEGER,
    totp_last_step      INTEGER,
    yubico_public_id    TEXT,
    yubico_private_id   BLOB,
    yubico_last_counter INTEGER,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, yubico_public_id),
    FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX factors_by_user ON factors (tenant, user_id, created_at, id);

CREATE TABLE clients (
    tenant      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    secret_hash BLOB    NOT NULL CHECK (length(secret_hash) = 32),
    grant_types TEXT    NOT NULL,
    scopes      TEXT    NOT NULL,
    audiences   TEXT    NOT NULL,
    enabled     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT;

CREATE TABLE grants (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    client_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,
    audiences  TEXT    NOT NULL,
    auth_time  INTEGER NOT NULL,
    acr        TEXT    NOT NULL,
    amr        TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER,
    end_reason TEXT,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, client_id) REFERENCES clients (tenant, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX grants_by_client ON grants (tenant, client_id);
CREATE INDEX grants_by_user ON grants (tenant, user_id);
CREATE INDEX grants_by_expiry ON grants (expires_at);

-- The live token of a family is the one of the greatest generation.
CREATE TABLE refresh_tokens (
    tenant        TEXT    NOT NULL,
    hash          BLOB    NOT NULL CHECK (length(hash) = 32),
    grant_id      TEXT    NOT NULL,
    generation    INTEGER NOT NULL,
    spent_at      INTEGER,
    successor_hsm TEXT,
    PRIMARY KEY (tenant, hash),
    UNIQUE (tenant, grant_id, generation),
    FOREIGN KEY (tenant, grant_id) REFERENCES grants (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- A vendor's cloned keys carry one name in several HSM tokens.
CREATE TABLE keys (
    tenant      TEXT    NOT NULL,
    key_id      TEXT    NOT NULL,
    hsm         TEXT    NOT NULL,
    purpose     TEXT    NOT NULL,
    cka_id      BLOB    NOT NULL,
    public_jwk  TEXT,
    state       TEXT    NOT NULL,
    state_since INTEGER NOT NULL,
    state_until INTEGER,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (key_id, hsm)
) STRICT;

-- account is derived in the HSM: nobody can tell from it whose it is.
CREATE TABLE throttles (
    tenant  TEXT    NOT NULL,
    account BLOB    NOT NULL CHECK (length(account) = 32),
    tries   INTEGER NOT NULL,
    free_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, account)
) STRICT, WITHOUT ROWID;

CREATE INDEX throttles_by_age ON throttles (tenant, free_at);

CREATE TABLE revocations (
    tenant     TEXT    NOT NULL,
    jti        TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, jti)
) STRICT, WITHOUT ROWID;

CREATE INDEX revocations_by_expiry ON revocations (expires_at);

-- One chain for the deployment. text is exactly what the hash covers.
CREATE TABLE audit_records (
    sequence INTEGER PRIMARY KEY,
    tenant   TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    text     TEXT    NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE audit_checkpoints (
    sequence INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    jws      TEXT    NOT NULL
) STRICT;
