-- Client certificates that sign users in. A certificate is one user's.

CREATE TABLE certificates (
    sha256          BLOB PRIMARY KEY CHECK (length(sha256) = 32),  -- of the whole certificate
    owner           INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX certificates_by_owner ON certificates (owner, sha256);
