-- +goose Up

-- Has a row when there is a file PATH-acked beside the database, see acked.go: one
-- that is missing then was removed.
CREATE TABLE acked (
    since INTEGER NOT NULL PRIMARY KEY
) STRICT;
