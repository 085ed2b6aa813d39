-- What a home keeps: accounts, registrations that outlive their connections, mailboxes.
-- All times are milliseconds since 1970-01-01T00:00:00Z.

CREATE TABLE users (
    id           INTEGER PRIMARY KEY,                -- for good, never given twice
    address      TEXT NOT NULL UNIQUE,               -- user@domain, in lower case
    display_name TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
    role         TEXT NOT NULL CHECK (role IN ('person', 'administrator')),
    ha1_md5      BLOB CHECK (length(ha1_md5) = 16),  -- RFC 7616 §3.4.2
    ha1_sha256   BLOB CHECK (length(ha1_sha256) = 32),
    CHECK ((ha1_md5 IS NULL) = (ha1_sha256 IS NULL))
) STRICT;

CREATE TABLE bindings (
    owner           INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    binding_key     TEXT NOT NULL,                   -- instance and reg-id, or the contact's URI
    contact         BLOB NOT NULL,
    call_id         BLOB NOT NULL,
    cseq            INTEGER NOT NULL,
    q_thousandths   INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    udp_listener    INTEGER,                         -- where the REGISTER came in, if over UDP
    udp_peer        TEXT,                            -- and from where
    user_agent      BLOB NOT NULL,
    PRIMARY KEY (owner, binding_key),
    CHECK ((udp_listener IS NULL) = (udp_peer IS NULL))
) STRICT, WITHOUT ROWID;

-- Path values of a binding (RFC 3327), topmost first.
CREATE TABLE binding_paths (
    owner       INTEGER NOT NULL,
    binding_key TEXT NOT NULL,
    place       INTEGER NOT NULL,
    value       BLOB NOT NULL,
    PRIMARY KEY (owner, binding_key, place),
    FOREIGN KEY (owner, binding_key) REFERENCES bindings (owner, binding_key) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- One for each user. The highest sequence ever given is the higher one of last_dropped and the highest in messages.
CREATE TABLE mailboxes (
    owner        INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    taken        INTEGER NOT NULL DEFAULT 0,         -- everything up to it was taken by at least one device
    last_dropped INTEGER NOT NULL DEFAULT 0          -- the highest sequence that pruning has dropped
) STRICT;

-- How far each device that can be recognised has got.
CREATE TABLE devices (
    owner        INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device_key   TEXT NOT NULL,                      -- its +sip.instance
    through      INTEGER NOT NULL,                   -- everything up to it was taken by this device
    seen_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, device_key)
) STRICT, WITHOUT ROWID;

-- Rows stand in order of arrival, not by owner: a group of messages to many owners then fills few pages (it is half the
-- work of a table in order of owner and sequence).
CREATE TABLE messages (
    id               INTEGER PRIMARY KEY,
    owner            INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    sequence         INTEGER NOT NULL,               -- place in the owner's mailbox
    direction        INTEGER NOT NULL CHECK (direction IN (0, 1)),  -- 0 received, 1 sent by the owner
    identity         BLOB NOT NULL,                  -- what a resend is recognised by
    withdrawn        INTEGER NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1)),  -- 1: known, but delivered no more
    received_unix_ms INTEGER NOT NULL,
    peer             TEXT NOT NULL,                  -- the other party's address
    request          BLOB NOT NULL                   -- the SIP request to deliver
) STRICT;

CREATE UNIQUE INDEX messages_by_sequence ON messages (owner, sequence);
CREATE UNIQUE INDEX messages_by_identity ON messages (owner, direction, identity);
CREATE INDEX messages_by_age ON messages (received_unix_ms);
