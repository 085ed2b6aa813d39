-- What of the directory must hold also while it cannot be asked: who else is a server of ours, and until when accounts may be used.

CREATE TABLE listed_servers (
    host TEXT NOT NULL,                              -- the name that its certificate bears
    role TEXT NOT NULL,                              -- as configuration writes it
    PRIMARY KEY (host, role)
) STRICT, WITHOUT ROWID;

-- From when on the account may not be used; NULL: from no time on.
ALTER TABLE directory_accounts ADD COLUMN expires_unix_ms INTEGER;
