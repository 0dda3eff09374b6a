-- +goose Up
-- Some records are of no key: of a node that was removed from the fleet.
CREATE TABLE audit_new (
    id        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    time      INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    addr      TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    key_id    TEXT    NOT NULL,
    key_name  TEXT    NOT NULL,
    before    TEXT,
    after     TEXT    NOT NULL,
    confirmed INTEGER NOT NULL CHECK (confirmed IN (0, 1))
) STRICT;
INSERT INTO audit_new SELECT id, time, actor, addr, action, key_id, key_name, before, after, confirmed FROM audit;
DROP TABLE audit;
ALTER TABLE audit_new RENAME TO audit;
CREATE INDEX audit_key ON audit (key_id);
