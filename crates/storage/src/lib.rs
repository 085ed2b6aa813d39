//! Durable state in SQLite behind the interface of the records crate.
