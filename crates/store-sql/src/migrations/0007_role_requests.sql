-- Roles that somebody is to be given, once another person has approved it: those that let do what operators do, under the four-eyes
-- rule. requested_by is who asked, or the first person who approved what a system account asked for.
CREATE TABLE role_requests (
    tenant       TEXT    NOT NULL,
    user_id      TEXT    NOT NULL,
    roles        TEXT    NOT NULL,
    requested_by TEXT    NOT NULL,
    requested_at INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    mac_key      INTEGER NOT NULL,
    mac          BLOB    NOT NULL,
    PRIMARY KEY (tenant, user_id),
    FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
