-- What users chose to be seen as, where their calls go, the documents that they keep, and the calls that they had.

-- A row only where a user chose or wrote something.
CREATE TABLE manual_states (
    owner                INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    state                TEXT CHECK (state IN
        ('available', 'busy', 'do-not-disturb', 'be-right-back', 'away', 'appear-offline')),  -- NULL: automatic
    expires_unix_ms      INTEGER,                    -- of the state; NULL: never
    note                 TEXT,
    note_expires_unix_ms INTEGER,                    -- NULL: never
    CHECK (note IS NOT NULL OR note_expires_unix_ms IS NULL)
) STRICT;

-- A row only where a user's calls go elsewhere than to the user's devices. Targets are addresses, user@domain.
CREATE TABLE call_settings (
    owner                  INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    forward_always         TEXT,
    forward_busy           TEXT,
    forward_no_answer      TEXT,
    no_answer_seconds      INTEGER NOT NULL,         -- until forward_no_answer; 0: the server's default
    forward_unregistered   TEXT,
    forward_do_not_disturb TEXT,                     -- NULL: do-not-disturb refuses calls
    busy_on_busy           INTEGER CHECK (busy_on_busy IN (0, 1))  -- NULL: the server's policy
) STRICT;

-- Who rings together with a user's devices, in the user's order.
CREATE TABLE ring_also (
    owner   INTEGER NOT NULL REFERENCES call_settings (owner) ON DELETE CASCADE,
    place   INTEGER NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (owner, place)
) STRICT, WITHOUT ROWID;

-- Contact lists and rules (RFC 4825), in the order in which a start reads them.
CREATE TABLE documents (
    owner       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    application TEXT NOT NULL,                       -- resource-lists, pres-rules ...
    name        TEXT NOT NULL,
    etag        TEXT NOT NULL,
    body        BLOB NOT NULL,                       -- as it was put; XML
    PRIMARY KEY (owner, application, name)
) STRICT, WITHOUT ROWID;

-- Call logs. The key is the order in which a log is read, so that a page of it is one range of this table.
CREATE TABLE calls (
    owner         INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    began_unix_ms INTEGER NOT NULL,                  -- when it began to ring
    id            BLOB NOT NULL CHECK (length(id) = 16),
    direction     TEXT NOT NULL CHECK (direction IN ('received', 'sent')),
    peer          TEXT NOT NULL,                     -- the other party's address
    lasted_ms     INTEGER NOT NULL,                  -- 0: it never was up
    ended         TEXT NOT NULL CHECK (ended IN
        ('answered', 'forwarded', 'missed', 'refused', 'cancelled', 'failed')),
    answered_at   TEXT NOT NULL,                     -- a device in words, or an address; may be empty
    PRIMARY KEY (owner, began_unix_ms, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX calls_by_id ON calls (owner, id);
CREATE INDEX calls_missed ON calls (owner, began_unix_ms, id) WHERE ended = 'missed';
CREATE INDEX calls_by_age ON calls (began_unix_ms);
