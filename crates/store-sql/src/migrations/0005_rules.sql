-- Rules of the deployment that hold whatever a node's configuration says: a file asks for one, and two persons agree that it hold no
-- more. lowering_asked_by is the first of them.
CREATE TABLE rules (
    name              TEXT    NOT NULL PRIMARY KEY,
    holds             INTEGER NOT NULL,
    lowering_asked_by TEXT,
    version           INTEGER NOT NULL,
    mac_key           INTEGER NOT NULL,
    mac               BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
