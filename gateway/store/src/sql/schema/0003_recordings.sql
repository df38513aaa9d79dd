-- The file with a call's sound, on the machine that took the call.
ALTER TABLE calls ADD COLUMN recording TEXT;

-- Calls whose files are to be removed, by each machine that has some: the person was forgotten, or the recording is too old.
CREATE TABLE gone (
    tenant TEXT NOT NULL,
    call_id TEXT NOT NULL,
    recording TEXT,
    is_forgotten {int} NOT NULL,
    -- The call had no end yet: what it still tells must not bring the person back.
    may_write {int} NOT NULL,
    gone_at {int} NOT NULL,
    PRIMARY KEY (tenant, call_id)
) {strict};
CREATE INDEX gone_by_time ON gone (gone_at, call_id);
