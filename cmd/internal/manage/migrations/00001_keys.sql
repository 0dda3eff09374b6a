-- +goose Up

-- "ipal": how the program recognises a database as its own.
PRAGMA application_id = 0x6970616c;

-- A key and its allowlist. Times are in nanoseconds since 1970, 0 for never.
CREATE TABLE keys (
    id           TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    hash         BLOB    NOT NULL CHECK (length(hash) = 32), -- SHA-256 of the secret
    name         TEXT    NOT NULL,
    folded       TEXT    NOT NULL, -- the name without differences of case, for searching
    description  TEXT    NOT NULL,
    scopes       INTEGER NOT NULL CHECK (scopes BETWEEN 1 AND 3),
    report_only  INTEGER NOT NULL CHECK (report_only IN (0, 1)),
    created      INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    revoked      INTEGER NOT NULL,
    version      INTEGER NOT NULL, -- counts the changes of the list
    list_updated INTEGER NOT NULL,
    entries      INTEGER NOT NULL, -- the length of the list
    sum          INTEGER NOT NULL, -- CRC-32C of what decides about requests
    list         TEXT    NOT NULL  -- a line for each entry: prefix, space, label
) STRICT;

CREATE INDEX keys_all ON keys (created, id, folded);
CREATE INDEX keys_active ON keys (created, id, folded) WHERE revoked = 0;

-- When keys were used last: a table of its own, because it changes every ten
-- seconds and its rows are small.
CREATE TABLE used (
    id TEXT    NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who changed what. The states before and after are JSON.
CREATE TABLE audit (
    id        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    time      INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    addr      TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    key_id    TEXT    NOT NULL REFERENCES keys (id),
    key_name  TEXT    NOT NULL,
    before    TEXT,
    after     TEXT    NOT NULL,
    confirmed INTEGER NOT NULL CHECK (confirmed IN (0, 1))
) STRICT;

CREATE INDEX audit_key ON audit (key_id);

-- The keys that changed, in order, for those who publish them.
CREATE TABLE outbox (
    seq     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key_id  TEXT    NOT NULL REFERENCES keys (id),
    created INTEGER NOT NULL
) STRICT;
