-- +goose Up

-- One row for each transaction that changed keys. Its mark is random: a copy of
-- the database that went on by itself has other marks for the same numbers.
-- total is the sum of the active keys' digests after the change (see digest in
-- row.go): it tells a table of keys of which a part is older than the rest.
CREATE TABLE changes (
    revision INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL,
    mark     INTEGER NOT NULL,
    total    INTEGER NOT NULL
) STRICT;

-- The claims to a fleet's bucket that were made with this database, see
-- fleet.Owner. A copy that somebody else went on with lacks the later ones.
CREATE TABLE claims (
    nonce TEXT    NOT NULL PRIMARY KEY,
    time  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The buckets that this database must not publish to until it is adopted, and
-- why. A bucket named '*' stands for all of them.
CREATE TABLE fences (
    bucket TEXT    NOT NULL PRIMARY KEY,
    reason TEXT    NOT NULL,
    time   INTEGER NOT NULL
) STRICT;
