-- +goose Up

-- A block is a run of records. What a query needs to decide whether it must
-- read a block stands here, in narrow rows; the records stand in frames.
CREATE TABLE blocks (
    id      INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: a block is not changed but replaced
    lane    INTEGER NOT NULL, -- how late its records came
    class   INTEGER NOT NULL, -- its size, as merging sees it; 3: not merged any more; -1: damaged, left as it is
    records INTEGER NOT NULL,
    newest  INTEGER NOT NULL, -- of its records' times, nanoseconds since 1970
    oldest  INTEGER NOT NULL,
    served  INTEGER NOT NULL, -- records counted as a Bucket counts them
    blocked INTEGER NOT NULL,
    bytes   INTEGER NOT NULL, -- length of frames.data
    terms   BLOB    NOT NULL  -- Bloom filter of key IDs, methods, statuses and verdicts; newest is its seed
);
CREATE INDEX blocks_newest ON blocks (newest, oldest);
CREATE INDEX blocks_class ON blocks (lane, class, id, records) WHERE class BETWEEN 0 AND 2;

CREATE TABLE frames (
    id      INTEGER PRIMARY KEY, -- of the block
    tallies BLOB,                -- requests by key and address; NULL while the block is still merged
    data    BLOB NOT NULL        -- the records, newest first
);

-- The IDs of records that were taken, in runs without a gap. The numbers are
-- unsigned ones with the first bit flipped, so that SQLite orders them.
CREATE TABLE taken (
    epoch  INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    newest INTEGER NOT NULL, -- time of the newest record of the run
    PRIMARY KEY (epoch, first)
) WITHOUT ROWID;
