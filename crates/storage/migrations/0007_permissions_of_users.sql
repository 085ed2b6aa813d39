-- What a user may do beyond the own organisation and network: talk with other organisations, sign in from outside.

ALTER TABLE users ADD COLUMN federation INTEGER NOT NULL DEFAULT 1 CHECK (federation IN (0, 1));
ALTER TABLE users ADD COLUMN remote_access INTEGER NOT NULL DEFAULT 1 CHECK (remote_access IN (0, 1));
