-- Who may present a PIN to an HSM token, by what the token says of itself: crates/core/src/keys/login/record.rs says what
-- follows. hsm is what the node calls it that logged in there last; stopped, allowed and cleared are nodes.
CREATE TABLE hsm_logins (
    manufacturer       TEXT    NOT NULL,
    model              TEXT    NOT NULL,
    serial             TEXT    NOT NULL,
    label              TEXT    NOT NULL,
    hsm                TEXT    NOT NULL,
    version            INTEGER NOT NULL,
    refused_by         TEXT,
    refusal            TEXT,
    unknown            INTEGER NOT NULL,
    unknown_by         TEXT,
    unknown_end        TEXT,
    closed             INTEGER NOT NULL,
    stopped            TEXT    NOT NULL,
    allowed            TEXT    NOT NULL,
    cleared            TEXT    NOT NULL,
    presenting         TEXT,
    presenting_allowed INTEGER NOT NULL,
    presenting_until   INTEGER,
    PRIMARY KEY (manufacturer, model, serial, label)
) STRICT, WITHOUT ROWID;
