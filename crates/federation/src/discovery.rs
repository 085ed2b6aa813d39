//! Budgets of discovered partners: organisations that nobody listed, which found us and proved their domain.
//!
//! Such a partner may send [`ALLOWANCE`]. One that looks as if it were collecting addresses (more than [`ADDRESSES_MAX`]
//! distinct ones asked for, or mostly unknown ones) may send [`ALLOWANCE_WATCHED`] and stands on the watch list until the
//! operator takes it off, by listing it, blocking it, or clearing it.
//!
//! # Order of calls
//!
//! [`Budgets::admit`] for each request that begins something, before it is passed on; [`Budgets::answered`] with each final
//! answer to one. The caller has judged the request before: the domain is proved.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use node::{Instant, Now, UnixMillis};

use crate::name::Normal;
use crate::rate::{Allowance, Exhausted, take};

/// What a discovered partner may send. COMPAT: Office Communications Server 2007 allows as much.
pub const ALLOWANCE: Allowance = Allowance { per_second: 20, burst: 40 };
/// What one on the watch list may send.
pub const ALLOWANCE_WATCHED: Allowance = Allowance { per_second: 1, burst: 1 };
/// How many distinct addresses of ours a partner may ask for before it is watched. COMPAT: as above.
pub const ADDRESSES_MAX: usize = 1000;
/// Answers before their ratio means anything: a few slips of the pen are no search.
const ANSWERS_MIN: u32 = 20;
/// A partner is watched when more than one in this many of its requests was for somebody unknown.
const UNKNOWN_SHARE: u32 = 2;
/// Most partners that are kept. With 1,000 addresses of 8 octets each, 16 MiB at the worst.
pub const PARTNERS_MAX: usize = 2048;
/// A partner that is not watched and sent nothing for so long is forgotten: a working day's pause and more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The budgets of all discovered partners.
#[derive(Clone, Debug)]
pub struct Budgets {
    partners: BTreeMap<Arc<str>, Partner>,
    /// Addresses are kept as digests; the seed keeps partners from making two addresses look like one.
    hasher: FixedState,
}

#[derive(Clone, Debug)]
struct Partner {
    full_at: Instant,
    last_seen: Instant,
    /// Digests of the addresses asked for, sorted; empty once the partner is watched.
    addresses: Vec<u64>,
    answers: u32,
    unknown: u32,
    watched: Option<Watched>,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    since: UnixMillis,
    why: Suspicion,
}

/// Why a partner is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// It asked for more than [`ADDRESSES_MAX`] distinct addresses.
    ManyAddresses,
    /// Most of those whom it asked for do not exist.
    ManyUnknown,
}

impl Suspicion {
    /// For the operator.
    pub fn text(self) -> &'static str {
        match self {
            Suspicion::ManyAddresses => "it asked for more than 1,000 addresses",
            Suspicion::ManyUnknown => "most of the addresses that it asked for do not exist",
        }
    }
}

/// An entry of the watch list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEntry {
    /// The partner.
    pub domain: Arc<str>,
    /// Since when.
    pub since: UnixMillis,
    /// Why.
    pub why: Suspicion,
    /// Final answers that it got.
    pub answers: u32,
    /// How many of them said that there is nobody of that address.
    pub unknown: u32,
}

/// Why a request of a discovered partner is refused for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowed {
    /// When to come again.
    pub exhausted: Exhausted,
    /// Whether the partner is on the watch list.
    pub is_watched: bool,
}

impl Budgets {
    /// Nobody is known. `seed` comes from the node's.
    pub fn new(seed: u64) -> Budgets {
        Budgets { partners: BTreeMap::new(), hasher: FixedState::with_seed(seed) }
    }

    /// Takes a request of the partner's for an address of ours into account, and says whether it may pass. The address is
    /// whatever tells people apart, such as the user part of the Request-URI in lower case.
    pub fn admit(&mut self, now: Now, domain: &str, address: &str) -> Result<(), Slowed> {
        let digest = self.hasher.hash_one(address);
        let Some(partner) = self.partner(now, domain) else {
            // A table full of partners that are all busy or watched: newcomers wait until one is forgotten or cleared.
            let exhausted = Exhausted { retry_after: FORGOTTEN_AFTER / 24 };
            return Err(Slowed { exhausted, is_watched: false });
        };
        partner.last_seen = now.monotonic;
        let allowance = if partner.watched.is_some() { ALLOWANCE_WATCHED } else { ALLOWANCE };
        let is_watched = partner.watched.is_some();
        take(&mut partner.full_at, now.monotonic, allowance)
            .map_err(|exhausted| Slowed { exhausted, is_watched })?;
        if partner.watched.is_none()
            && let Err(at) = partner.addresses.binary_search(&digest)
        {
            partner.addresses.insert(at, digest);
            if partner.addresses.len() > ADDRESSES_MAX {
                partner.watch(now, Suspicion::ManyAddresses);
            }
        }
        Ok(())
    }

    /// Takes the final answer to a request into account that [`Budgets::admit`] let pass.
    pub fn answered(&mut self, now: Now, domain: &str, status: u16) {
        let Some(partner) = lookup(domain).and_then(|domain| self.partners.get_mut(domain.as_str())) else {
            return;
        };
        partner.answers = partner.answers.saturating_add(1);
        // RFC 3261 §21.4.5, §21.6.3.
        partner.unknown = partner.unknown.saturating_add(u32::from(matches!(status, 404 | 604)));
        let is_bad = partner.answers >= ANSWERS_MIN && partner.unknown > partner.answers / UNKNOWN_SHARE;
        if is_bad && partner.watched.is_none() {
            partner.watch(now, Suspicion::ManyUnknown);
        }
    }

    /// Takes a partner off the watch list and forgets what it did; whether it was known.
    pub fn clear(&mut self, domain: &str) -> bool {
        lookup(domain).is_some_and(|domain| self.partners.remove(domain.as_str()).is_some())
    }

    /// Whether a partner stands on the watch list.
    pub fn is_watched(&self, domain: &str) -> bool {
        lookup(domain)
            .and_then(|domain| self.partners.get(domain.as_str()))
            .is_some_and(|partner| partner.watched.is_some())
    }

    /// The watch list, by domain.
    pub fn watch_list(&self) -> impl Iterator<Item = WatchEntry> {
        self.partners.iter().filter_map(|(domain, partner)| {
            let Watched { since, why } = partner.watched?;
            let Partner { answers, unknown, .. } = *partner;
            Some(WatchEntry { domain: domain.clone(), since, why, answers, unknown })
        })
    }

    /// How many partners are known, watched or not.
    pub fn len(&self) -> usize {
        self.partners.len()
    }

    /// Whether no partner is known.
    pub fn is_empty(&self) -> bool {
        self.partners.is_empty()
    }

    /// The partner's entry; `None` where there is no room for a new one.
    fn partner(&mut self, now: Now, domain: &str) -> Option<&mut Partner> {
        let domain = lookup(domain)?;
        let domain = domain.as_str();
        if !self.partners.contains_key(domain) {
            if self.partners.len() >= PARTNERS_MAX {
                let is_kept =
                    |p: &Partner| p.watched.is_some() || now.monotonic.since(p.last_seen) < FORGOTTEN_AFTER;
                self.partners.retain(|_, partner| is_kept(partner));
            }
            if self.partners.len() >= PARTNERS_MAX {
                self.forget_least();
            }
            if self.partners.len() >= PARTNERS_MAX {
                return None;
            }
            let partner = Partner {
                full_at: now.monotonic,
                last_seen: now.monotonic,
                addresses: Vec::new(),
                answers: 0,
                unknown: 0,
                watched: None,
            };
            self.partners.insert(domain.into(), partner);
        }
        self.partners.get_mut(domain)
    }

    /// Makes room for a newcomer at the cost of those that asked for least: who makes many domains up to push a busy one
    /// out loses the made-up ones first.
    fn forget_least(&mut self) {
        let asked = self.partners.iter().filter(|(_, partner)| partner.watched.is_none());
        let least = asked.map(|(domain, partner)| (partner.addresses.len(), partner.last_seen, domain)).min();
        if let Some(domain) = least.map(|(_, _, domain)| domain.clone()) {
            self.partners.remove(&domain);
        }
    }
}

impl Partner {
    fn watch(&mut self, now: Now, why: Suspicion) {
        self.watched = Some(Watched { since: now.wall, why });
        self.addresses = Vec::new();
        // What it had saved up is gone.
        self.full_at = self.full_at.max(now.monotonic);
    }
}

fn lookup(domain: &str) -> Option<Normal> {
    Normal::of(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now { monotonic: Instant(millis * 1000), wall: UnixMillis(1_795_334_400_000 + millis) }
    }

    fn watched(budgets: &Budgets) -> Vec<(String, Suspicion)> {
        budgets.watch_list().map(|entry| (entry.domain.to_string(), entry.why)).collect()
    }

    #[test]
    fn twenty_a_second() {
        let mut budgets = Budgets::new(1);
        let admitted =
            (0..10_000).filter(|n| budgets.admit(at(*n), "litware.example", "alice").is_ok()).count();
        assert!((200..=240).contains(&admitted), "{admitted} in ten seconds");
        assert_eq!(watched(&budgets), []);
        assert!(budgets.admit(at(10_000), "other.example", "alice").is_ok(), "others are not harmed");
    }

    #[test]
    fn a_search_through_the_directory_is_watched_and_slowed() {
        let mut budgets = Budgets::new(1);
        for n in 0..1000u64 {
            budgets.admit(at(n * 50), "litware.example", &format!("user{n}")).unwrap();
            budgets.admit(at(n * 50), "busy.example", &format!("user{}", n % 900)).unwrap();
        }
        assert_eq!(watched(&budgets), []);
        budgets.admit(at(50_000), "LITWARE.example.", "one-more").unwrap();
        assert_eq!(watched(&budgets), [("litware.example".to_owned(), Suspicion::ManyAddresses)]);
        let admitted =
            (0..10_000).filter(|n| budgets.admit(at(50_001 + n), "litware.example", "x").is_ok()).count();
        assert!((9..=10).contains(&admitted), "{admitted} in ten seconds");
        let slowed = budgets.admit(at(60_001), "litware.example", "x").unwrap_err();
        assert!(slowed.is_watched && slowed.exhausted.retry_after_seconds() == 1);
        assert!(budgets.clear("litware.example") && !budgets.clear("litware.example"));
        assert!(budgets.admit(at(60_001), "litware.example", "x").is_ok());
        assert_eq!(watched(&budgets), []);
    }

    #[test]
    fn guessing_at_names_is_watched() {
        let mut budgets = Budgets::new(1);
        let mut say = |domain: &str, statuses: &[u16]| {
            for (n, status) in statuses.iter().enumerate() {
                budgets.admit(at(n as u64 * 100), domain, "x").unwrap();
                budgets.answered(at(n as u64 * 100), domain, *status);
            }
            watched(&budgets).len()
        };
        assert_eq!(say("honest.example", &[200, 404, 200, 404, 202, 486, 404, 200, 200, 404].repeat(4)), 0);
        assert_eq!(say("small.example", &[404; 19]), 0);
        assert_eq!(say("guesser.example", &[[404; 11].as_slice(), &[200; 9]].concat()), 1);
        let entry = budgets.watch_list().next().unwrap();
        assert_eq!((entry.answers, entry.unknown, entry.why), (20, 11, Suspicion::ManyUnknown));
    }

    #[test]
    fn the_table_is_bounded_and_made_up_domains_push_nobody_out() {
        let mut budgets = Budgets::new(1);
        for n in 0..30 {
            budgets.admit(at(n * 100), "busy.example", &format!("user{n}")).unwrap();
        }
        for n in 0..3 * PARTNERS_MAX {
            budgets.admit(at(4000), &format!("d{n}.example"), "x").unwrap();
        }
        assert_eq!(budgets.len(), PARTNERS_MAX);
        assert!(budgets.clear("busy.example"));
        // A day later all are forgotten at once.
        budgets.admit(at(25 * 3_600_000), "new.example", "x").unwrap();
        budgets.admit(at(25 * 3_600_000), "newer.example", "x").unwrap();
        assert!(budgets.len() <= 3);
    }

    #[test]
    fn what_is_no_domain_is_not_kept() {
        let mut budgets = Budgets::new(1);
        assert!(budgets.admit(at(0), "*", "x").is_err());
        budgets.answered(at(0), "*", 404);
        assert!(budgets.is_empty());
    }
}
