-- The messages are packed: the rest of 0010.

UPDATE indexing SET marks_through = indexed_through;

-- The ids of groups are those of their first messages; some blocks would begin in the middle of one.
DELETE FROM message_blocks;
INSERT INTO message_blocks (first_message, last_message, oldest_unix_ms)
    SELECT min(id), max(id), min(oldest_unix_ms) FROM message_groups
    WHERE id <= (SELECT indexed_through FROM indexing) GROUP BY id / 1024;
ALTER TABLE message_blocks RENAME COLUMN first_message TO first_group;
ALTER TABLE message_blocks RENAME COLUMN last_message TO last_group;

DROP TABLE messages;
DROP TABLE message_places;
DROP TABLE message_identities;
