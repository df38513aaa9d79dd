-- Every table of a tenant's rows begins its key, or an index, with the tenant. {int} and {bytes} are each database's words.
-- There are no foreign keys among calls, legs, transcripts and usage: the journal may write them in any order.

CREATE TABLE tenants (
    name TEXT NOT NULL PRIMARY KEY,
    document TEXT NOT NULL,
    revision {int} NOT NULL,
    deleted_at {int}
) {strict};

CREATE TABLE routes (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    revision {int} NOT NULL,
    PRIMARY KEY (tenant, name)
) {strict};

-- Wrapped by the master key. Version 0 is the salt of the look-up hashes.
CREATE TABLE tenant_keys (
    tenant TEXT NOT NULL,
    version {int} NOT NULL,
    wrapped {bytes} NOT NULL,
    created_at {int} NOT NULL,
    PRIMARY KEY (tenant, version)
) {strict};

CREATE TABLE secrets (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    body {bytes} NOT NULL,
    put_at {int} NOT NULL,
    PRIMARY KEY (tenant, name)
) {strict};

CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    sha256 {bytes} NOT NULL,
    scopes TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at {int} NOT NULL,
    expires_at {int},
    revoked_at {int}
) {strict};
CREATE INDEX keys_by_tenant ON keys (tenant, created_at);

CREATE TABLE bots (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    jwk TEXT NOT NULL,
    created_at {int} NOT NULL,
    revoked_at {int},
    PRIMARY KEY (tenant, id)
) {strict};

-- Users are named by a hash everywhere else; here is the sealed name.
CREATE TABLE users (
    tenant TEXT NOT NULL,
    user_hash {bytes} NOT NULL,
    name {bytes} NOT NULL,
    PRIMARY KEY (tenant, user_hash)
) {strict};

CREATE TABLE calls (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    route TEXT NOT NULL,
    user_hash {bytes},
    direction TEXT NOT NULL,
    caller {bytes},
    caller_hash {bytes},
    called {bytes},
    called_hash {bytes},
    started_at {int} NOT NULL,
    ended_at {int},
    outcome TEXT,
    outcome_detail TEXT,
    provider TEXT,
    model TEXT,
    answered_after_ms TEXT NOT NULL,
    cuts TEXT NOT NULL,
    redials {int} NOT NULL,
    dtmf {bytes},
    cost_micro_usd {int} NOT NULL,
    revision {int} NOT NULL,
    PRIMARY KEY (tenant, id)
) {strict};
CREATE INDEX calls_by_start ON calls (tenant, started_at, id);
CREATE INDEX calls_by_user ON calls (tenant, user_hash);
CREATE INDEX calls_by_caller ON calls (tenant, caller_hash);
CREATE INDEX calls_by_called ON calls (tenant, called_hash);

CREATE TABLE legs (
    tenant TEXT NOT NULL,
    call_id TEXT NOT NULL,
    leg {int} NOT NULL,
    kind TEXT NOT NULL,
    external_id TEXT,
    format TEXT,
    started_at {int} NOT NULL,
    ended_at {int},
    close_code {int},
    bytes_in {int},
    bytes_out {int},
    PRIMARY KEY (tenant, call_id, leg)
) {strict};

CREATE TABLE transcripts (
    tenant TEXT NOT NULL,
    call_id TEXT NOT NULL,
    seq {int} NOT NULL,
    item TEXT,
    role TEXT NOT NULL,
    at_ms {int} NOT NULL,
    body {bytes} NOT NULL,
    heard_ms {int},
    stored_at {int} NOT NULL,
    PRIMARY KEY (tenant, call_id, seq)
) {strict};

CREATE TABLE usage (
    provider TEXT NOT NULL,
    provider_session TEXT NOT NULL,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    tenant TEXT NOT NULL,
    user_hash {bytes},
    route TEXT NOT NULL,
    call_id TEXT NOT NULL,
    model TEXT NOT NULL,
    at {int} NOT NULL,
    text_in {int} NOT NULL,
    text_in_cached {int} NOT NULL,
    audio_in {int} NOT NULL,
    audio_in_cached {int} NOT NULL,
    text_out {int} NOT NULL,
    audio_out {int} NOT NULL,
    duration_ms {int} NOT NULL,
    price_version TEXT,
    cost_micro_usd {int} NOT NULL,
    quality TEXT NOT NULL CHECK (quality IN ('estimated', 'exact', 'reconciled')),
    PRIMARY KEY (provider, provider_session, kind, source)
) {strict};
CREATE INDEX usage_by_time ON usage (tenant, at);
CREATE INDEX usage_by_call ON usage (tenant, call_id);
CREATE INDEX usage_by_user ON usage (tenant, user_hash);

CREATE TABLE audit (
    seq {int} NOT NULL PRIMARY KEY,
    tenant TEXT,
    at {int} NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    before_hash TEXT,
    after_hash TEXT,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
) {strict};

-- That somebody was forgotten: whom, only as a hash.
CREATE TABLE deletions (
    tenant TEXT NOT NULL,
    subject_hash {bytes} NOT NULL,
    done_at {int} NOT NULL,
    counts TEXT NOT NULL
) {strict};
