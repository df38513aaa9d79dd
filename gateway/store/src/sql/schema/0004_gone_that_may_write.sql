-- Asked with every batch: few rows, among many of recordings that are too old.
CREATE INDEX gone_that_may_write ON gone (tenant, call_id) WHERE may_write = 1;
