-- +goose Up

-- Records name the entry that matched their address. Tables are as they were: this keeps
-- programs away that would take such records for damaged.
SELECT 1;
