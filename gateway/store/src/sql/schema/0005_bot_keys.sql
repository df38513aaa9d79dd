-- Public keys of bots, by their thumbprint: a token names its key, and the key its bot and tenant. `bots.jwk` is no longer read.
CREATE TABLE bot_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    bot TEXT NOT NULL,
    jwk TEXT NOT NULL,
    created_at {int} NOT NULL,
    revoked_at {int}
) {strict};
CREATE INDEX bot_keys_by_tenant ON bot_keys (tenant, bot);
