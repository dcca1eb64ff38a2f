-- Nonces that a PIV card signed and that were spent: id is a hash of the nonce. Made-up ones are never written.
CREATE TABLE piv_nonces (
    tenant   TEXT NOT NULL,
    id       BLOB NOT NULL,
    spent_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX piv_nonces_by_time ON piv_nonces (spent_at);

-- One YubiKey types codes and has a PIV key: its serial number is that of two factors, and of no more.
DROP INDEX factors_by_serial;
CREATE UNIQUE INDEX factors_by_serial ON factors (tenant, serial) WHERE kind <> 'piv';
CREATE UNIQUE INDEX factors_by_piv_serial ON factors (tenant, serial) WHERE kind = 'piv';
