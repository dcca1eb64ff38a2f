-- Nonces that a PIV card signed and that were spent: id is a hash of the nonce. Made-up ones are never written.
CREATE TABLE piv_nonces (
    tenant   TEXT NOT NULL,
    id       BLOB NOT NULL,
    spent_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX piv_nonces_by_time ON piv_nonces (spent_at);
