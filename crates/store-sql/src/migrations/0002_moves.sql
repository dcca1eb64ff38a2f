-- Where this store is on its way to or from another one: at most one row. state is leaving, left, arriving or arrived; peer
-- is the other store's URL, move_id is the same on both sides.
CREATE TABLE store_moves (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    move_id TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    peer    TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
