-- Whether a message that is sent again was refused by all devices: asked only of resends. Few messages are withdrawn.
CREATE INDEX messages_withdrawn ON messages (owner, direction, identity) WHERE withdrawn = 1;
