-- What is set of a tenant: the document that holds (stage current), and one that waits for another person (proposed).
CREATE TABLE settings (
    tenant     TEXT    NOT NULL,
    stage      TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    stated_by  TEXT,
    stated_at  INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    mac_key    INTEGER NOT NULL,
    mac        BLOB    NOT NULL,
    PRIMARY KEY (tenant, stage)
) STRICT, WITHOUT ROWID;
-- What was stated by a file: such a thing may go when the file names it no more. It decides nothing else.
CREATE TABLE declared (
    tenant TEXT NOT NULL,
    noun   TEXT NOT NULL,
    id     TEXT NOT NULL,
    PRIMARY KEY (tenant, noun, id)
) STRICT, WITHOUT ROWID;
