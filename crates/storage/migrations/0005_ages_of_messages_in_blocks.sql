-- Pruning finds old messages by blocks of them, written with the indices, instead of by an index that each message writes
-- to: messages arrive nearly in the order of their ages, so that few blocks are read in vain.

-- Messages behind indexing.indexed_through are in no block.
CREATE TABLE message_blocks (
    first_message  INTEGER PRIMARY KEY,              -- messages.id
    last_message   INTEGER NOT NULL,
    oldest_unix_ms INTEGER NOT NULL                  -- none in the block was received before
) STRICT;

CREATE INDEX message_blocks_by_age ON message_blocks (oldest_unix_ms);

INSERT INTO message_blocks (first_message, last_message, oldest_unix_ms)
    SELECT min(id), max(id), min(received_unix_ms) FROM messages
    WHERE id <= (SELECT indexed_through FROM indexing) GROUP BY id / 1024;

DROP INDEX messages_by_age;
