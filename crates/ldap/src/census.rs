//! Who is there: finds out by comparing who is gone, where nothing else tells.
//!
//! Active Directory tells of deleted objects those that may list them; OpenLDAP tells nobody. There, all names for good are listed now and
//! then, and compared with those of the last time. That also shows what was added with an old stamp.

use std::collections::BTreeSet;
use std::time::Duration;

use directory::ObjectId;
use tokio::time::Instant;

/// Between two censuses while the server says that something changes, or cannot say.
pub(crate) const CENSUS_EVERY: Duration = Duration::from_secs(20);

/// Everybody at the last count.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Nothing is known before everything was read once.
    there: Option<BTreeSet<ObjectId>>,
    /// Who was missed once, at a server that may lag behind the one where everybody was counted.
    missed: BTreeSet<ObjectId>,
    /// The server where everybody was counted.
    host: String,
    last: Option<Instant>,
}

impl Census {
    /// Everybody, of a full read at this server.
    pub(crate) fn count(&mut self, everybody: BTreeSet<ObjectId>, host: &str, now: Instant) {
        *self = Census {
            there: Some(everybody),
            missed: BTreeSet::new(),
            host: host.to_owned(),
            last: Some(now),
        };
    }

    /// Somebody was read beside.
    pub(crate) fn add(&mut self, id: ObjectId) {
        if let Some(there) = &mut self.there {
            there.insert(id);
        }
    }

    /// Whether deletions would go unseen: nobody was counted, and the server does not tell of them.
    pub(crate) fn is_missing(&self, sees_deleted: bool) -> bool {
        !sees_deleted && self.there.is_none()
    }

    /// Whether it is time to count again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.there.is_some() && self.last.is_none_or(|last| now.duration_since(last) >= CENSUS_EVERY)
    }

    /// Compares with who is there now: those that came, those that went. At another server than the one of the full read somebody is
    /// gone only when missed twice: it may just not know yet.
    pub(crate) fn compare(
        &mut self,
        everybody: BTreeSet<ObjectId>,
        host: &str,
        now: Instant,
    ) -> (Vec<ObjectId>, Vec<ObjectId>) {
        let Some(there) = &mut self.there else { return (Vec::new(), Vec::new()) };
        self.last = Some(now);
        let came: Vec<ObjectId> = everybody.difference(there).copied().collect();
        let missing: BTreeSet<ObjectId> = there.difference(&everybody).copied().collect();
        let gone: Vec<ObjectId> = match host == self.host {
            true => missing.iter().copied().collect(),
            false => missing.intersection(&self.missed).copied().collect(),
        };
        self.missed = missing;
        for id in &gone {
            there.remove(id);
            self.missed.remove(id);
        }
        there.extend(&came);
        (came, gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u8]) -> BTreeSet<ObjectId> {
        numbers.iter().map(|number| ObjectId([*number; 16])).collect()
    }

    fn numbers((came, gone): (Vec<ObjectId>, Vec<ObjectId>)) -> (Vec<u8>, Vec<u8>) {
        let numbers = |ids: Vec<ObjectId>| ids.into_iter().map(|id| id.0[0]).collect();
        (numbers(came), numbers(gone))
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_and_who_went_is_told_once() {
        let mut census = Census::default();
        assert!(!census.is_due(Instant::now()), "nobody was counted");
        assert!(census.is_missing(false) && !census.is_missing(true));
        assert_eq!(numbers(census.compare(ids(&[1]), "a", Instant::now())), (vec![], vec![]));
        census.count(ids(&[1, 2, 3]), "a", Instant::now());
        assert!(!census.is_missing(false));
        census.add(ObjectId([4; 16]));
        assert!(!census.is_due(Instant::now()));
        tokio::time::advance(CENSUS_EVERY).await;
        assert!(census.is_due(Instant::now()));
        assert_eq!(numbers(census.compare(ids(&[1, 4, 5]), "a", Instant::now())), (vec![5], vec![2, 3]));
        assert_eq!(numbers(census.compare(ids(&[1, 4, 5]), "a", Instant::now())), (vec![], vec![]));
        assert!(!census.is_due(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_lags_behind_removes_nobody_at_once() {
        let mut census = Census::default();
        census.count(ids(&[1, 2]), "a", Instant::now());
        assert_eq!(numbers(census.compare(ids(&[1]), "b", Instant::now())), (vec![], vec![]));
        assert_eq!(numbers(census.compare(ids(&[1, 2]), "b", Instant::now())), (vec![], vec![]));
        assert_eq!(numbers(census.compare(ids(&[1]), "b", Instant::now())), (vec![], vec![]));
        assert_eq!(numbers(census.compare(ids(&[1]), "b", Instant::now())), (vec![], vec![2]));
    }
}
