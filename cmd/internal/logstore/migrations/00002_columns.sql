-- +goose Up

-- The first migration was edited three times after programs had run it, so a
-- database of version 1 has one of four forms: without frames.tallies, with
-- another index blocks_class, or with Bloom filters that hash without a seed. This
-- migration reads none of what differs. The blocks that it finds are class -2: any of
-- them may have anything, until the program has written its records anew.
DROP INDEX blocks_class;
UPDATE blocks SET terms = x'', class = CASE WHEN class < 0 THEN class ELSE -2 END;
CREATE INDEX blocks_class ON blocks (lane, class, id, records) WHERE class BETWEEN 0 AND 2;
CREATE INDEX blocks_earlier ON blocks (lane, newest, id, records) WHERE class = -2;

ALTER TABLE blocks ADD COLUMN requests INTEGER; -- that the records stand for; NULL: one each
ALTER TABLE blocks ADD COLUMN kinds BLOB;       -- counts by method, status and verdict; NULL: unknown

-- What filters and charts ask for, of the blocks that are not merged any more.
-- frames.tallies, where that exists, is not used any more: tallies are a column.
CREATE TABLE columns (
    id   INTEGER PRIMARY KEY, -- 8 * the block's id + the number of the column
    data BLOB NOT NULL
);
