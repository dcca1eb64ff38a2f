-- The deployment's secret is being renewed while servers run: generation is the new one's, as its seals are named. Rows are written by it
-- once writes_since is set, which is when every node that serves had opened it.
CREATE TABLE secret_renewals (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    generation   TEXT    NOT NULL,
    began_at     INTEGER NOT NULL,
    writes_since INTEGER
) STRICT;

-- The newest generation of the secret that a node has opened.
CREATE TABLE secret_openings (
    node       TEXT NOT NULL PRIMARY KEY,
    generation TEXT NOT NULL
) STRICT, WITHOUT ROWID;
