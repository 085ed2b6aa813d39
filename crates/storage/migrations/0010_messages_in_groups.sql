-- What a commit holds of messages and marks is one row, or a few, written at the end of one table. What finds messages by owner
-- is written for some thousand of them together, some neighbours of a mailbox in a row.
-- The octets in `content` are described in crates/storage/src: pack.rs, for runs sql/runs.rs.

CREATE TABLE message_groups (
    id             INTEGER PRIMARY KEY,              -- in order of arrival; never given twice, also not in mark_groups
    messages       INTEGER NOT NULL,                 -- how many are in it
    oldest_unix_ms INTEGER NOT NULL,                 -- none in it was received before
    content        BLOB NOT NULL                     -- messages, and marks that moved in the same commit
) STRICT;

-- Commits without messages. A row is here until the tables of mailboxes and devices know its marks.
CREATE TABLE mark_groups (
    id      INTEGER PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

-- Where a mailbox's messages are. Messages in groups behind indexing.indexed_through may be missing here.
CREATE TABLE message_runs (
    owner          INTEGER NOT NULL,                 -- a user; no foreign key, nothing here finds an owner's groups
    first_sequence INTEGER NOT NULL,
    last_sequence  INTEGER NOT NULL,
    content        BLOB NOT NULL,                    -- sequences, groups, and what finds a message by its identity
    PRIMARY KEY (owner, first_sequence)
) STRICT, WITHOUT ROWID;

-- Marks of groups behind it may be missing in mailboxes and devices.
ALTER TABLE indexing ADD COLUMN marks_through INTEGER NOT NULL DEFAULT 0;
