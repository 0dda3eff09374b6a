-- +goose Up

-- Records of different nodes are in different blocks, so that one node's can go
-- before another's: blocks.lane is 8 * nodes.id + how late its records came. 0 is
-- the server's own, and what an earlier version wrote.
CREATE TABLE nodes (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE INDEX blocks_lane ON blocks (lane, newest, id, records);

ALTER TABLE taken ADD COLUMN node INTEGER NOT NULL DEFAULT 0;
CREATE INDEX taken_node ON taken (node, newest);
