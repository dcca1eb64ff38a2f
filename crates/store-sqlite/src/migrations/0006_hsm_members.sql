-- A token that was retired stays in the list, so that it is not taken for a new one as long as it is configured.
ALTER TABLE hsm_tokens ADD COLUMN retired_at INTEGER;
