-- From a CallSid or a provider's id to the call.
CREATE INDEX legs_by_external_id ON legs (kind, external_id);
