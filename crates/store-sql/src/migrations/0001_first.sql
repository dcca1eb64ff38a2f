-- Rows carry their tenant, except where they tell of the deployment as a whole: nodes, hsm_tokens, audit_checkpoints.
-- Sets and lists are JSON arrays of text, written and read by the store; moments are milliseconds since 1970 in UTC.
-- INTEGER, TEXT, BLOB and the ends STRICT and WITHOUT ROWID are SQLite's words; src/schema.rs says what they become.

-- Who writes: each running server, by the id in its state folder, and where the chain of its records ends. lease rises each time
-- that another process becomes the node: whoever has a lower one commits nothing any more. process names who has it.
CREATE TABLE nodes (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    joined_at     INTEGER NOT NULL,
    lease         INTEGER NOT NULL,
    process       TEXT,
    leased_until  INTEGER,
    retired_at    INTEGER,
    head_sequence INTEGER NOT NULL,
    head_hash     BLOB    NOT NULL CHECK (length(head_hash) = 32),
    head_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a node's configuration says of its HSM tokens: for whoever adds up what one of them may be asked for.
CREATE TABLE node_rates (
    node            TEXT    NOT NULL,
    hsm             TEXT    NOT NULL,
    most_per_second INTEGER,
    capacity        INTEGER,
    PRIMARY KEY (node, hsm)
) STRICT, WITHOUT ROWID;

-- Nobody writes while there is a row whose restored is 0: the node found records of its own gone, so an old copy of the store, or
-- a standby that lacks the last commits, is in place. An operator decides. From then on, and from the restore of a backup,
-- restored is 1: no server writes until an operator has said what had ended since the copy.
CREATE TABLE halts (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    node     TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    restored INTEGER NOT NULL CHECK (restored IN (0, 1))
) STRICT;

-- When an operator decided that the nodes go on with a store that is behind.
CREATE TABLE restores (
    at INTEGER PRIMARY KEY
) STRICT;

-- Numbers that rise with every change of what others may remember: of a tenant's rows of one kind, or, where the tenant is the
-- empty text, of the deployment's.
CREATE TABLE generations (
    tenant TEXT    NOT NULL,
    noun   TEXT    NOT NULL,
    value  INTEGER NOT NULL,
    PRIMARY KEY (tenant, noun)
) STRICT, WITHOUT ROWID;

-- Written for nothing but to see that the store can be written: a row of its own, since every token needs its node's.
CREATE TABLE probe (
    node      TEXT    NOT NULL PRIMARY KEY,
    probed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A token that was retired stays in the list, so that it is not taken for a new one as long as it is configured.
CREATE TABLE hsm_tokens (
    name         TEXT    NOT NULL PRIMARY KEY,
    label        TEXT    NOT NULL,
    manufacturer TEXT    NOT NULL,
    model        TEXT    NOT NULL,
    serial       TEXT    NOT NULL,
    firmware     TEXT    NOT NULL,
    bound_at     INTEGER NOT NULL,
    retired_at   INTEGER
) STRICT, WITHOUT ROWID;

-- credentials_version rises with every change of what a user signs in by: a sign-in that began before such a change is
-- worth nothing after it. compared_name is the name in one spelling, by which users are found: no two are spelt alike.
CREATE TABLE users (
    tenant              TEXT    NOT NULL,
    id                  TEXT    NOT NULL,
    name                TEXT    NOT NULL,
    compared_name       TEXT    NOT NULL,
    roles               TEXT    NOT NULL,
    enabled             INTEGER NOT NULL,
    credentials_version INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    version             INTEGER NOT NULL,
    mac_key             INTEGER NOT NULL,
    mac                 BLOB    NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, compared_name)
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

-- Kinds of factor without columns of their own: detail is JSON that does not change, counter is what rises with each use.
-- handle names a factor from outside (a Yubico public id, a credential id, a key's thumbprint); serial is what is
-- printed on a token. state is enabled, disabled or pending: until an operator other than requested_by has approved it.
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
    totp_window         INTEGER,
    yubico_public_id    TEXT,
    yubico_private_id   BLOB,
    yubico_last_counter INTEGER,
    handle              TEXT,
    detail              TEXT,
    counter             INTEGER,
    serial              TEXT,
    state               TEXT    NOT NULL,
    requested_by        TEXT,
    valid_until         INTEGER,
    version             INTEGER NOT NULL,
    mac_key             INTEGER NOT NULL,
    mac                 BLOB    NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, yubico_public_id),
    FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX factors_by_user ON factors (tenant, user_id, created_at, id);
CREATE UNIQUE INDEX factors_by_handle ON factors (tenant, kind, handle);
-- One YubiKey types codes and has a PIV key: its serial number is that of two factors, and of no more.
CREATE UNIQUE INDEX factors_by_serial ON factors (tenant, serial) WHERE kind <> 'piv';
CREATE UNIQUE INDEX factors_by_piv_serial ON factors (tenant, serial) WHERE kind = 'piv';

-- kept is the HMAC of a code under the factor's secret.
CREATE TABLE recovery_codes (
    tenant    TEXT NOT NULL,
    factor_id TEXT NOT NULL,
    kept      BLOB NOT NULL CHECK (length(kept) = 32),
    spent_at  INTEGER,
    version   INTEGER NOT NULL,
    mac_key   INTEGER NOT NULL,
    mac       BLOB    NOT NULL,
    PRIMARY KEY (tenant, factor_id, kept),
    FOREIGN KEY (tenant, factor_id) REFERENCES factors (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Nonces that a PIV card signed and that were spent: id is a hash of the nonce. Made-up ones are never written.
CREATE TABLE piv_nonces (
    tenant   TEXT    NOT NULL,
    id       BLOB    NOT NULL,
    spent_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;

CREATE INDEX piv_nonces_by_time ON piv_nonces (spent_at);

-- Challenges of security keys that were answered, until they are refused for their age anyway.
CREATE TABLE spent_challenges (
    tenant    TEXT    NOT NULL,
    challenge BLOB    NOT NULL CHECK (length(challenge) = 32),
    until     INTEGER NOT NULL,
    PRIMARY KEY (tenant, challenge)
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_challenges_by_until ON spent_challenges (until);

-- Tokens that belong to nobody yet. Their secrets are in seals (kind 'stock.secret'), each bound to its row here.
CREATE TABLE stock (
    tenant      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    serial      TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    handle      TEXT,
    detail      TEXT    NOT NULL,
    model       TEXT,
    imported_at INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    mac_key     INTEGER NOT NULL,
    mac         BLOB    NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, serial),
    UNIQUE (tenant, kind, handle)
) STRICT;

-- Clients of the Yubico validation protocol. Their API keys are in seals, kind 'otp_clients.key', row_id the id.
CREATE TABLE otp_clients (
    tenant          TEXT    NOT NULL,
    id              INTEGER NOT NULL,
    name            TEXT    NOT NULL,
    needs_signature INTEGER NOT NULL,
    enabled         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    mac_key         INTEGER NOT NULL,
    mac             BLOB    NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT;

-- Yubico OTP keys that are verified for others and are no user's factor. Their AES keys are in seals, kind
-- 'otp_keys.secret', row_id the public id.
CREATE TABLE otp_keys (
    tenant       TEXT    NOT NULL,
    public_id    TEXT    NOT NULL,
    private_id   BLOB    NOT NULL CHECK (length(private_id) = 6),
    serial       TEXT,
    last_counter INTEGER NOT NULL,
    enabled      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    version      INTEGER NOT NULL,
    mac_key      INTEGER NOT NULL,
    mac          BLOB    NOT NULL,
    PRIMARY KEY (tenant, public_id)
) STRICT, WITHOUT ROWID;

-- The request that raised a key's counter last: the same OTP with the same nonce is that request again.
CREATE TABLE otp_requests (
    tenant    TEXT    NOT NULL,
    public_id TEXT    NOT NULL,
    counter   INTEGER NOT NULL,
    nonce     TEXT    NOT NULL,
    PRIMARY KEY (tenant, public_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE clients (
    tenant      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    secret_hash BLOB    NOT NULL CHECK (length(secret_hash) = 32),
    grant_types TEXT    NOT NULL,
    scopes      TEXT    NOT NULL,
    audiences   TEXT    NOT NULL,
    allow_from  TEXT    NOT NULL,
    origins     TEXT    NOT NULL,
    enabled     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    mac_key     INTEGER NOT NULL,
    mac         BLOB    NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT;

-- No foreign key leads to the client: a row that very many grants share is not locked for each. A client's grants go with it.
-- factors: what was shown at the sign-in that began the family, password, and each factor as kind:id.
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
    factors    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER,
    end_reason TEXT,
    version    INTEGER NOT NULL,
    mac_key    INTEGER NOT NULL,
    mac        BLOB    NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE
) STRICT;

-- Those of a user or client end page by page, in the order of their ids.
CREATE INDEX grants_by_client ON grants (tenant, client_id, id);
CREATE INDEX grants_by_user ON grants (tenant, user_id, id);
CREATE INDEX grants_by_expiry ON grants (expires_at);

-- The live token of a family is the one of the greatest generation.
CREATE TABLE refresh_tokens (
    tenant        TEXT    NOT NULL,
    hash          BLOB    NOT NULL CHECK (length(hash) = 32),
    grant_id      TEXT    NOT NULL,
    generation    INTEGER NOT NULL,
    spent_at      INTEGER,
    successor_hsm TEXT,
    version       INTEGER NOT NULL,
    mac_key       INTEGER NOT NULL,
    mac           BLOB    NOT NULL,
    PRIMARY KEY (tenant, hash),
    UNIQUE (tenant, grant_id, generation),
    FOREIGN KEY (tenant, grant_id) REFERENCES grants (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

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
    version             INTEGER NOT NULL,
    mac_key             INTEGER NOT NULL,
    mac                 BLOB    NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE
) STRICT;

CREATE UNIQUE INDEX sessions_by_secret ON sessions (tenant, secret_hash);
CREATE INDEX sessions_by_user ON sessions (tenant, user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- A vendor's cloned keys carry one name in several HSM tokens. algorithm: what a pair signs with, as its public half says;
-- empty for a secret key. end_reason: why the key left the JWKS, once it has. token_lifetime: how long tokens last that were
-- signed by it, in milliseconds, as far as was noted.
CREATE TABLE keys (
    tenant         TEXT    NOT NULL,
    key_id         TEXT    NOT NULL,
    hsm            TEXT    NOT NULL,
    purpose        TEXT    NOT NULL,
    algorithm      TEXT    NOT NULL,
    cka_id         BLOB    NOT NULL,
    public_jwk     TEXT,
    state          TEXT    NOT NULL,
    state_since    INTEGER NOT NULL,
    state_until    INTEGER,
    end_reason     TEXT,
    token_lifetime INTEGER NOT NULL DEFAULT 0,
    created_at     INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    mac_key        INTEGER NOT NULL,
    mac            BLOB    NOT NULL,
    PRIMARY KEY (key_id, hsm)
) STRICT;

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

CREATE TABLE revocations (
    tenant     TEXT    NOT NULL,
    jti        TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    mac_key    INTEGER NOT NULL,
    mac        BLOB    NOT NULL,
    PRIMARY KEY (tenant, jti)
) STRICT, WITHOUT ROWID;

CREATE INDEX revocations_by_expiry ON revocations (expires_at);

-- One chain for each node. text is exactly what the hash covers.
CREATE TABLE audit_records (
    node     TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    tenant   TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    text     TEXT    NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (node, sequence)
) STRICT, WITHOUT ROWID;

-- What a node counted of its own chain, so that it is not read whole at each start: up to a record, by sequence and hash.
-- counts is JSON. It says nothing that the chain does not say, and is counted anew where that record is another one.
CREATE TABLE record_counts (
    node     TEXT    NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    counts   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_checkpoints (
    node     TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    jws      TEXT    NOT NULL,
    PRIMARY KEY (node, sequence)
) STRICT, WITHOUT ROWID;
