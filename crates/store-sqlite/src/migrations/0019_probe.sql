-- Written for nothing but to see that the store can be written: a row of its own, since every token needs the deployment's.
CREATE TABLE probe (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    probed_at INTEGER NOT NULL
) STRICT;

ALTER TABLE deployment DROP COLUMN probed_at;
