//! Who has signed in from outside: by the flow's name at its edge, and as long as the registration that was asked for with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use directory::UserId;
use node::Instant;

use crate::homes::HomeId;

/// Sign-ins that are remembered; whose would end first is forgotten first, and asked again. At some 300 octets, 30 MiB.
const SIGN_INS_MAX: usize = 100_000;
/// How long a registration lasts at the most, whatever was asked for (Front Ends grant no more by default), with a minute for
/// a refresh that is on its way.
const LIFETIME_MAX: Duration = Duration::from_secs(7_260);

/// A remote client's flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RemoteFlow {
    /// The edge.
    pub(crate) edge: Box<str>,
    /// The edge's name for the flow.
    pub(crate) token: Box<str>,
}

/// Who, and over which flow.
type Key = (Arc<RemoteFlow>, HomeId, UserId);

/// The table.
#[derive(Default)]
pub(crate) struct SignIns {
    entries: BTreeMap<Key, SignIn>,
    by_end: BTreeSet<(Instant, Key)>,
}

struct SignIn {
    /// The account's version then.
    version: u64,
    end: Instant,
}

impl SignIns {
    /// Somebody proved who it is.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        flow: RemoteFlow,
        (home, user): (HomeId, UserId),
        version: u64,
        lifetime: Duration,
    ) {
        let key = (Arc::new(flow), home, user);
        self.remove(&key);
        while self.by_end.first().is_some_and(|(end, _)| *end <= now || self.entries.len() >= SIGN_INS_MAX) {
            let (_, key) = self.by_end.pop_first().expect("it was just seen");
            self.entries.remove(&key);
        }
        if lifetime.is_zero() {
            return;
        }
        let end = now + lifetime.min(LIFETIME_MAX);
        self.by_end.insert((end, key.clone()));
        self.entries.insert(key, SignIn { version, end });
    }

    /// Whether this user has signed in over this flow, as the account is now.
    pub(crate) fn has(
        &self,
        now: Instant,
        flow: &RemoteFlow,
        (home, user): (HomeId, UserId),
        version: u64,
    ) -> bool {
        let key = (Arc::new(flow.clone()), home, user);
        self.entries.get(&key).is_some_and(|sign_in| sign_in.version == version && now < sign_in.end)
    }

    /// Who has signed in over this flow, each with the account's version then.
    pub(crate) fn on(
        &self,
        now: Instant,
        flow: &RemoteFlow,
    ) -> impl Iterator<Item = ((HomeId, UserId), u64)> {
        let first = (Arc::new(flow.clone()), HomeId(0), UserId(0));
        let flow = Arc::clone(&first.0);
        let on_flow = self.entries.range(first..).take_while(move |((at, ..), _)| *at == flow);
        let valid = on_flow.filter(move |(_, sign_in)| now < sign_in.end);
        valid.map(|((_, home, user), sign_in)| ((*home, *user), sign_in.version))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn remove(&mut self, key: &Key) {
        if let Some(gone) = self.entries.remove(key) {
            self.by_end.remove(&(gone.end, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: (HomeId, UserId) = (HomeId(0), UserId(1));

    fn flow(n: usize) -> RemoteFlow {
        RemoteFlow { edge: "edge.contoso.example".into(), token: format!("f{n}").into() }
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    #[test]
    fn a_sign_in_ends_with_its_time_with_a_change_and_with_a_removal() {
        let mut table = SignIns::default();
        table.insert(at(0), flow(1), ALICE, 1, Duration::from_secs(60));
        assert!(table.has(at(59), &flow(1), ALICE, 1));
        assert!(!table.has(at(60), &flow(1), ALICE, 1));
        assert_eq!(table.on(at(59), &flow(1)).collect::<Vec<_>>(), [(ALICE, 1)]);
        assert_eq!(table.on(at(60), &flow(1)).count() + table.on(at(1), &flow(0)).count(), 0);
        assert!(!table.has(at(1), &flow(1), ALICE, 2));
        assert!(!table.has(at(1), &flow(2), ALICE, 1));
        assert!(!table.has(at(1), &flow(1), (HomeId(1), UserId(1)), 1));
        table.insert(at(1), flow(1), ALICE, 1, Duration::ZERO);
        assert!(!table.has(at(1), &flow(1), ALICE, 1));
        table.insert(at(1), flow(1), ALICE, 1, Duration::from_secs(1_000_000));
        assert!(!table.has(at(8_000), &flow(1), ALICE, 1));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = SignIns::default();
        for n in 0..SIGN_INS_MAX + 10 {
            let lifetime =
                Duration::from_secs(100) + Duration::from_millis(u64::try_from(n % 1_000).unwrap());
            table.insert(at(0), flow(n), ALICE, 1, lifetime);
        }
        assert_eq!((table.len(), table.by_end.len()), (SIGN_INS_MAX, SIGN_INS_MAX));
        table.insert(at(1_000), flow(0), ALICE, 1, Duration::from_secs(100));
        assert_eq!((table.len(), table.by_end.len()), (1, 1), "what is over goes");
    }
}
