-- since is the moment of the first try that is counted in tries: a try that was counted before it is not among them.
ALTER TABLE throttles ADD COLUMN since INTEGER NOT NULL DEFAULT 0;

CREATE INDEX throttles_by_tries ON throttles (tenant, tries, free_at);
