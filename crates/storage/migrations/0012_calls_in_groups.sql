-- What a commit holds of call logs is one row, or a few, written at the end of one table. What finds calls by owner is written for
-- some thousand of them together, some neighbours of a log in a row.
-- The octets in `content` are described in crates/storage/src: call_pack.rs, for runs sql/call_runs.rs.

CREATE TABLE call_groups (
    id             INTEGER PRIMARY KEY,              -- in order of arrival; never given twice
    calls          INTEGER NOT NULL,                 -- how many are in it
    oldest_unix_ms INTEGER NOT NULL,                 -- none in it began before
    content        BLOB NOT NULL
) STRICT;

-- Where a log's calls are. Calls in groups behind call_indexing.indexed_through may be missing here.
CREATE TABLE call_runs (
    owner         INTEGER NOT NULL,                  -- a user; no foreign key, nothing here finds an owner's groups
    first_unix_ms INTEGER NOT NULL,                  -- when the first of them began
    first_id      BLOB NOT NULL,                     -- and its id
    has_missed    INTEGER NOT NULL,                  -- 1: one of them was missed
    content       BLOB NOT NULL,                     -- times, ids, groups, and which were missed
    PRIMARY KEY (owner, first_unix_ms, first_id)
) STRICT, WITHOUT ROWID;

-- Few calls are missed.
CREATE INDEX call_runs_missed ON call_runs (owner, first_unix_ms, first_id) WHERE has_missed = 1;
