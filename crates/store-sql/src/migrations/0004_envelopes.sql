-- Secrets on their way to an HSM token that the node which sealed them does not reach. A row stands beside the seals of the same
-- secret, until the node that reaches the token made a seal of it: crates/core/src/keys/envelope.rs says what is in it.
CREATE TABLE envelopes (
    tenant   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    row_id   TEXT NOT NULL,
    hsm      TEXT NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, row_id, hsm)
) STRICT, WITHOUT ROWID;

CREATE INDEX envelopes_by_hsm ON envelopes (hsm, tenant, kind, row_id);

-- Which transport key of an HSM token secrets may be encrypted to, said by a node that reaches the token: mac is under the
-- deployment's secret. complete_at is when every secret had come to the token.
CREATE TABLE transports (
    hsm         TEXT NOT NULL PRIMARY KEY,
    key_id      TEXT NOT NULL,
    mac         BLOB NOT NULL CHECK (length(mac) = 32),
    complete_at INTEGER
) STRICT, WITHOUT ROWID;

-- Nodes that ask to be given the deployment's secret, with the HSM token that they bring, and the answer: a JWS of the node that
-- vouches. Nothing here decides: an operator compares a code, and the new node checks the answer's signature.
CREATE TABLE joins (
    hsm          TEXT    NOT NULL PRIMARY KEY,
    node         TEXT    NOT NULL,
    label        TEXT    NOT NULL,
    manufacturer TEXT    NOT NULL,
    model        TEXT    NOT NULL,
    serial       TEXT    NOT NULL,
    firmware     TEXT    NOT NULL,
    cka_id       BLOB    NOT NULL,
    public_jwk   TEXT    NOT NULL,
    requested_at INTEGER NOT NULL,
    admission    TEXT
) STRICT, WITHOUT ROWID;
