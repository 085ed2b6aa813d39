-- What follows the organisation's directory: accounts, and the objects of the address book with what they were. And app
-- passwords, for those whose own password is not here.

ALTER TABLE users ADD COLUMN calls INTEGER NOT NULL DEFAULT 1 CHECK (calls IN (0, 1));
-- Tokens that were issued earlier sign nobody in.
ALTER TABLE users ADD COLUMN tokens_since_unix_ms INTEGER NOT NULL DEFAULT 0;

-- Former addresses that still lead to a user. None is anybody's address in users.
CREATE TABLE aliases (
    address TEXT PRIMARY KEY,
    owner   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    place   INTEGER NOT NULL                         -- in the owner's order
) STRICT, WITHOUT ROWID;

CREATE INDEX aliases_by_owner ON aliases (owner, place);

-- A row only where an account follows the directory; all others are local. What the directory says stands here, what an
-- administrator of this server decided in users: both must enable a user, both must allow, either makes an administrator.
CREATE TABLE directory_accounts (
    owner         INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    object        BLOB NOT NULL CHECK (length(object) = 16),  -- for good: objectGUID, entryUUID
    standing      TEXT NOT NULL CHECK (standing IN
        ('active', 'disabled', 'expired', 'locked-out', 'not-enabled', 'gone')),
    bind_name     TEXT NOT NULL,                     -- what a password is checked with there
    sign_in_names TEXT NOT NULL,                     -- a JSON array: what the owner signs in as beside the address
    role          TEXT NOT NULL CHECK (role IN ('person', 'administrator')),
    federation    INTEGER NOT NULL CHECK (federation IN (0, 1)),
    remote_access INTEGER NOT NULL CHECK (remote_access IN (0, 1)),
    calls         INTEGER NOT NULL CHECK (calls IN (0, 1))
) STRICT;

-- Each made for one device or program, under a user name of its own.
CREATE TABLE app_passwords (
    username        TEXT PRIMARY KEY,
    owner           INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose         TEXT NOT NULL CHECK (purpose IN ('sip', 'address-book')),
    label           TEXT NOT NULL,                   -- the owner's word for it
    ha1_md5         BLOB NOT NULL CHECK (length(ha1_md5) = 16),  -- RFC 7616 §3.4.2
    ha1_sha256      BLOB NOT NULL CHECK (length(ha1_sha256) = 32),
    created_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX app_passwords_by_owner ON app_passwords (owner, username);

-- What the objects of the directory are, and what they were: each change of one is a row. Where past_unix_ms is NULL the row
-- says what its object is.
CREATE TABLE objects (
    revision     INTEGER PRIMARY KEY,                -- in order of the changes; never given twice
    object       BLOB NOT NULL CHECK (length(object) = 16),
    at_unix_ms   INTEGER NOT NULL,                   -- when it changed
    past_unix_ms INTEGER,                            -- since when the row is history: it was followed, or the object is no more
    kind         TEXT CHECK (kind IN ('person', 'contact', 'group', 'room', 'equipment', 'server')),
    address      TEXT,                               -- its SIP address, if it has one
    display_name TEXT,
    photo        BLOB CHECK (length(photo) = 32),    -- photos.sha256, if it has one
    content      TEXT,                               -- all of it, as JSON; NULL: the object is no more
    CHECK ((kind IS NULL) = (content IS NULL) AND (display_name IS NULL) = (content IS NULL)),
    CHECK (content IS NOT NULL OR past_unix_ms IS NOT NULL)
) STRICT;

CREATE INDEX objects_by_object ON objects (object);
CREATE INDEX objects_by_past ON objects (past_unix_ms) WHERE past_unix_ms IS NOT NULL;
CREATE INDEX objects_by_photo ON objects (photo) WHERE photo IS NOT NULL;

-- As the directory has them, each once. One that no row of objects names is dropped with the next pruning.
CREATE TABLE photos (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    octets BLOB NOT NULL
) STRICT;

-- One row.
CREATE TABLE replication (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    state         BLOB,                              -- how far the directory was read; NULL: not at all
    last_revision INTEGER NOT NULL                   -- the highest of objects when rows of it were dropped last
) STRICT;

INSERT INTO replication (id, state, last_revision) VALUES (1, NULL, 0);

-- A local account that is enabled has an object; its name is made of the user's id: a UUID of version 8 (RFC 9562 §5.8).
INSERT INTO objects (object, at_unix_ms, kind, address, display_name, content)
    SELECT unhex(replace(uuid, '-', '')), CAST(strftime('%s', 'now') AS INTEGER) * 1000, 'person', address, display_name,
        json_object('id', uuid, 'kind', 'person', 'address', address, 'card', json_object('display_name', display_name))
    FROM (SELECT id, address, display_name, state, printf('63680000-0000-8000-%s-%s',
            substr(digits, 1, 4), substr(digits, 5)) AS uuid
        FROM (SELECT *, printf('%016x', id | -9223372036854775808) AS digits FROM users))
    WHERE state = 'enabled' ORDER BY id;
