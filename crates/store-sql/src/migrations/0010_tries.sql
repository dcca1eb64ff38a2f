-- What was tried in vain: tries is its spelling in JSON, and unanswered how many failures the person has not answered for. The place
-- is a user's id, or nobody-NNNN: a row that stands in for whoever is not there.
CREATE TABLE tries (
    tenant     TEXT    NOT NULL,
    place      TEXT    NOT NULL,
    tries      TEXT    NOT NULL,
    unanswered INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    mac_key    INTEGER NOT NULL,
    mac        BLOB    NOT NULL,
    PRIMARY KEY (tenant, place)
) STRICT, WITHOUT ROWID;

CREATE INDEX tries_unanswered ON tries (tenant, place) WHERE unanswered > 0;
