-- word is what the tries guess at, user_id whose account it is where the name is a user's: for an operator who looks for
-- locked accounts, and lifts the lock.
ALTER TABLE throttles ADD COLUMN word TEXT NOT NULL DEFAULT '';
ALTER TABLE throttles ADD COLUMN user_id TEXT;

CREATE INDEX throttles_by_user ON throttles (tenant, user_id);

-- state is enabled, disabled or pending: until an operator other than requested_by has approved it.
ALTER TABLE factors ADD COLUMN state TEXT NOT NULL DEFAULT 'enabled';
ALTER TABLE factors ADD COLUMN requested_by TEXT;
ALTER TABLE factors ADD COLUMN valid_until INTEGER;

-- kept is the HMAC of a code under the factor's secret.
CREATE TABLE recovery_codes (
    tenant    TEXT NOT NULL,
    factor_id TEXT NOT NULL,
    kept      BLOB NOT NULL CHECK (length(kept) = 32),
    spent_at  INTEGER,
    PRIMARY KEY (tenant, factor_id, kept),
    FOREIGN KEY (tenant, factor_id) REFERENCES factors (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

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
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, serial),
    UNIQUE (tenant, kind, handle)
) STRICT;
