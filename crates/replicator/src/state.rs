//! What the home remembers for the replicator: little, because the directory and the home are read at every start.

use std::collections::BTreeMap;

use directory::ObjectId;
use directory_source::Watermark;
use serde::{Deserialize, Serialize};

/// Servers of which the invocationId is remembered. No domain has more in one place; of more, none is remembered longer than a process
/// runs.
pub(crate) const INVOCATIONS_MAX: usize = 256;

/// What the home remembers.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// The domain that is followed.
    pub(crate) domain: Option<ObjectId>,
    /// How far its changes are in what the home has.
    pub(crate) watermark: Option<Watermark>,
    /// The last change that was told and that the home has: the invocationId of the server that told it, and its number there.
    pub(crate) change: Option<(ObjectId, u64)>,
    /// Groups of the configuration by their names there, so that one may be renamed.
    pub(crate) groups: BTreeMap<String, ObjectId>,
    /// Since when accounts are gone, in milliseconds since 1970.
    pub(crate) gone: BTreeMap<ObjectId, u64>,
    /// Accounts that were cut off lately, and when, in milliseconds since 1970.
    pub(crate) cut_off: BTreeMap<ObjectId, u64>,
    /// invocationIds of servers by their hosts: a new one says that the server was restored from a backup.
    pub(crate) invocations: BTreeMap<String, ObjectId>,
    /// When everything was compared last, in milliseconds since 1970.
    pub(crate) full_read_unix_ms: Option<u64>,
}

impl State {
    pub(crate) fn read(octets: &[u8]) -> Result<State, serde_json::Error> {
        serde_json::from_slice(octets)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the state is writable as JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_again() {
        let state = State {
            domain: Some(ObjectId([1; 16])),
            watermark: Some(Watermark::Usn { usn: 7, invocation: ObjectId([2; 16]) }),
            change: Some((ObjectId([6; 16]), 8)),
            groups: BTreeMap::from([("cn=all,dc=x".to_owned(), ObjectId([3; 16]))]),
            gone: BTreeMap::from([(ObjectId([4; 16]), 5)]),
            cut_off: BTreeMap::from([(ObjectId([5; 16]), 7)]),
            invocations: BTreeMap::from([("dc1".to_owned(), ObjectId([7; 16]))]),
            full_read_unix_ms: Some(6),
        };
        assert_eq!(State::read(&state.write()).unwrap(), state);
        assert_eq!(State::read(b"{}").unwrap(), State::default());
        assert!(State::read(b"\0").is_err());
    }
}
