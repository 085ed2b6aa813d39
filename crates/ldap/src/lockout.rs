//! At how many wrong passwords Active Directory locks one person: fine-grained password policies ([MS-ADTS] 3.1.1.4.5.36).
//!
//! The domain's threshold ([`directory_source::ServerFacts::lockout_threshold`]) counts for whom no policy names, by itself or by a group.
//! Of several the server works out which one counts, and says so in `msDS-ResultantPSO`. The policies themselves are readable
//! for administrators of the domain alone, unless somebody grants it.

use directory::ObjectId;

use crate::connection::Connection;
use crate::error::Error;
use crate::search::{base, read_one};

/// What locks somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockoutPolicy {
    /// What locks everybody.
    OfDomain,
    /// A policy of fewer people.
    Own {
        /// Wrong passwords; 0 never locks.
        threshold: u32,
    },
    /// The same, which may not be read.
    Hidden {
        /// Its distinguished name.
        name: String,
    },
}

pub(crate) async fn read(connection: &mut Connection, person: ObjectId) -> Result<LockoutPolicy, Error> {
    let search = base(&format!("<GUID={person}>"), &["msDS-ResultantPSO"]);
    let person = read_one(connection, "reading whose password policy counts", &search, &[]).await?;
    let Some(name) = person.as_ref().and_then(|person| person.text("msDS-ResultantPSO")) else {
        return Ok(LockoutPolicy::OfDomain);
    };
    let search = base(name, &["msDS-LockoutThreshold"]);
    let policy = read_one(connection, "reading a password policy", &search, &[]).await?;
    Ok(match policy.as_ref().and_then(|policy| policy.number("msDS-LockoutThreshold")) {
        Some(threshold) => LockoutPolicy::Own { threshold },
        None => LockoutPolicy::Hidden { name: name.to_owned() },
    })
}
