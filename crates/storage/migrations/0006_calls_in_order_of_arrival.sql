-- A call costs its own octets at the end of one table, and nothing else at once, as a message does. What finds it by owner is
-- written for some thousand calls together, in the order of its keys, so that they share pages; what finds it by age, in
-- blocks.

CREATE TABLE calls_new (
    arrival       INTEGER PRIMARY KEY,               -- in order of arrival; never given twice
    owner         INTEGER NOT NULL,                  -- a user; no foreign key, nothing here finds an owner's calls
    began_unix_ms INTEGER NOT NULL,                  -- when it began to ring
    id            BLOB NOT NULL,                     -- 16 octets, unique with owner and began_unix_ms
    direction     INTEGER NOT NULL CHECK (direction IN (0, 1)),  -- 0 received, 1 made by the owner
    peer          TEXT NOT NULL,                     -- the other party's address
    lasted_ms     INTEGER NOT NULL,                  -- 0: it never was up
    ended         INTEGER NOT NULL CHECK (ended BETWEEN 0 AND 5),
        -- 0 answered, 1 forwarded, 2 missed, 3 refused, 4 cancelled, 5 failed
    answered_at   TEXT NOT NULL                      -- a device in words, or an address; may be empty
) STRICT;

INSERT INTO calls_new (owner, began_unix_ms, id, direction, peer, lasted_ms, ended, answered_at)
    SELECT owner, began_unix_ms, id, CASE direction WHEN 'received' THEN 0 ELSE 1 END, peer, lasted_ms,
        CASE ended WHEN 'answered' THEN 0 WHEN 'forwarded' THEN 1 WHEN 'missed' THEN 2
            WHEN 'refused' THEN 3 WHEN 'cancelled' THEN 4 ELSE 5 END,
        answered_at
    FROM calls ORDER BY began_unix_ms, owner, id;
DROP TABLE calls;
ALTER TABLE calls_new RENAME TO calls;

-- Where an owner's calls are, in the order in which a log is read. Calls behind call_indexing.indexed_through may be
-- missing here, and are in no block.
CREATE TABLE call_places (
    owner         INTEGER NOT NULL,
    began_unix_ms INTEGER NOT NULL,
    id            BLOB NOT NULL,
    is_missed     INTEGER NOT NULL,                  -- 1: calls.ended is 2
    call          INTEGER NOT NULL,                  -- calls.arrival
    PRIMARY KEY (owner, began_unix_ms, id)
) STRICT, WITHOUT ROWID;

-- Few calls are missed.
CREATE INDEX calls_missed ON call_places (owner, began_unix_ms, id) WHERE is_missed = 1;

CREATE TABLE call_blocks (
    first_call     INTEGER PRIMARY KEY,              -- calls.arrival
    last_call      INTEGER NOT NULL,
    oldest_unix_ms INTEGER NOT NULL                  -- none in the block began before
) STRICT;

CREATE INDEX call_blocks_by_age ON call_blocks (oldest_unix_ms);

-- One row.
CREATE TABLE call_indexing (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_through INTEGER NOT NULL,                -- calls.arrival
    newest_unix_ms  INTEGER NOT NULL                 -- no call up to that one began later
) STRICT;

INSERT INTO call_places (owner, began_unix_ms, id, is_missed, call)
    SELECT owner, began_unix_ms, id, CASE ended WHEN 2 THEN 1 ELSE 0 END, arrival
    FROM calls ORDER BY owner, began_unix_ms, id;
INSERT INTO call_blocks (first_call, last_call, oldest_unix_ms)
    SELECT min(arrival), max(arrival), min(began_unix_ms) FROM calls GROUP BY arrival / 1024;
INSERT INTO call_indexing (id, indexed_through, newest_unix_ms)
    SELECT 1, coalesce(max(arrival), 0), coalesce(max(began_unix_ms), 0) FROM calls;
