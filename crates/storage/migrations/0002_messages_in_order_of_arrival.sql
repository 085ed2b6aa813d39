-- A message costs its own octets at the end of one table, and nothing else at once. What finds it by owner is written
-- for some thousand messages together, in the order of its keys, so that they share pages.

CREATE TABLE messages_new (
    id               INTEGER PRIMARY KEY,            -- in order of arrival; never given twice
    owner            INTEGER NOT NULL,               -- a user; no foreign key, nothing here finds an owner's messages
    sequence         INTEGER NOT NULL,               -- place in the owner's mailbox, unique in it
    direction        INTEGER NOT NULL CHECK (direction IN (0, 1)),  -- 0 received, 1 sent by the owner
    identity         BLOB NOT NULL,                  -- what a resend is recognised by, unique with owner and direction
    withdrawn        INTEGER NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1)),  -- 1: known, but delivered no more
    received_unix_ms INTEGER NOT NULL,
    peer             TEXT NOT NULL,                  -- the other party's address
    request          BLOB NOT NULL                   -- the SIP request to deliver
) STRICT;

INSERT INTO messages_new (id, owner, sequence, direction, identity, withdrawn, received_unix_ms, peer, request)
    SELECT id, owner, sequence, direction, identity, withdrawn, received_unix_ms, peer, request
    FROM messages ORDER BY id;
DROP TABLE messages;
ALTER TABLE messages_new RENAME TO messages;

CREATE INDEX messages_by_age ON messages (received_unix_ms);

-- Where a mailbox's messages are. Messages behind indexing.indexed_through may be missing here and in the next table.
CREATE TABLE message_places (
    owner    INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    message  INTEGER NOT NULL,                       -- messages.id
    PRIMARY KEY (owner, sequence)
) STRICT, WITHOUT ROWID;

-- Which messages a mailbox knows.
CREATE TABLE message_identities (
    owner     INTEGER NOT NULL,
    direction INTEGER NOT NULL,
    identity  BLOB NOT NULL,
    PRIMARY KEY (owner, direction, identity)
) STRICT, WITHOUT ROWID;

-- One row: the two tables above know all messages up to this one.
CREATE TABLE indexing (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_through INTEGER NOT NULL                 -- messages.id
) STRICT;

INSERT INTO message_places (owner, sequence, message)
    SELECT owner, sequence, id FROM messages ORDER BY owner, sequence;
INSERT INTO message_identities (owner, direction, identity)
    SELECT owner, direction, identity FROM messages ORDER BY owner, direction, identity;
INSERT INTO indexing (id, indexed_through) SELECT 1, coalesce(max(id), 0) FROM messages;
