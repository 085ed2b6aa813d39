-- The calls are packed: the rest of 0012.

-- The ids of groups are the places of their first calls in the order of arrival; some blocks would begin in the middle of one.
DELETE FROM call_blocks;
INSERT INTO call_blocks (first_call, last_call, oldest_unix_ms)
    SELECT min(id), max(id), min(oldest_unix_ms) FROM call_groups
    WHERE id <= (SELECT indexed_through FROM call_indexing) GROUP BY id / 1024;
ALTER TABLE call_blocks RENAME COLUMN first_call TO first_group;
ALTER TABLE call_blocks RENAME COLUMN last_call TO last_group;

DROP TABLE calls;
DROP TABLE call_places;
