//! Names in certificates, issuing rules and the private certificate authority.
