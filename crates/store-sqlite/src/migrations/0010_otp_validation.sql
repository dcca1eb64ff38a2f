-- Clients of the Yubico validation protocol. Their API keys are in seals, kind 'otp_clients.key', row_id the id.
CREATE TABLE otp_clients (
    tenant          TEXT    NOT NULL,
    id              INTEGER NOT NULL,
    name            TEXT    NOT NULL,
    needs_signature INTEGER NOT NULL,
    enabled         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
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

-- The counter of a Yubico OTP whose key another validation server has.
UPDATE factors SET counter = -1 WHERE kind = 'yubico_remote' AND counter IS NULL;
