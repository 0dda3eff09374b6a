-- +goose Up

-- What tells this database from every other one, to those who publish its
-- keys.
CREATE TABLE identity (
    id TEXT NOT NULL PRIMARY KEY
) STRICT;

INSERT INTO identity (id) VALUES (lower(hex(randomblob(16))));
