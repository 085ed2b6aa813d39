//! Whose an address is.
//!
//! Several accounts may say that one address is theirs; exactly one gets it:
//!
//! 1. who has it already and still says so;
//! 2. then who says so explicitly, with the attribute for it;
//! 3. then who has the lowest id.
//!
//! Who does not get what it says keeps the address that it had, and nobody takes that from it. An account that says nothing any more
//! (deleted, no user any more) keeps its address too, until somebody else says that it is theirs: then it gets a name that nobody would
//! want, so that everything of its owner is still kept. Former and further addresses go to whoever is left: every account's main
//! address comes before anybody's alias.

use std::collections::{BTreeMap, BTreeSet};

use directory::{DomainName, ObjectId, SipAddress};

use crate::known::Known;
use crate::report::FindingKind;
use crate::view::{Key, View};

/// Aliases of one account. Whoever changes names more often is not looked for under the first.
pub(crate) const ALIASES_MAX: usize = 32;

/// Addresses that the home refused, and why; nobody gets them who has not got them.
pub(crate) type Blocked = BTreeMap<SipAddress, String>;

/// Who wants what, for those whom it concerns.
pub(crate) struct Claims<'a> {
    pub(crate) view: &'a View,
    pub(crate) known: &'a Known,
    pub(crate) blocked: &'a Blocked,
    pub(crate) keep_old_addresses: bool,
    /// Whether somebody who has no account yet would get one, as far as the directory's standing is concerned.
    pub(crate) may_come: &'a dyn Fn(ObjectId) -> bool,
}

/// What becomes of addresses.
#[derive(Debug, Default)]
pub(crate) struct Assigned {
    /// Everybody who has or gets an account.
    pub(crate) accounts: BTreeMap<ObjectId, Addresses>,
    /// What could not be, for everybody who was looked at.
    pub(crate) conflicts: BTreeMap<ObjectId, Vec<FindingKind>>,
}

/// The addresses of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) address: SipAddress,
    /// In order.
    pub(crate) aliases: Vec<SipAddress>,
}

/// What somebody wants as main address, and how strong that is. The greatest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    /// It has it, and says nothing.
    Parked,
    /// It says so.
    Said,
    /// It says so explicitly.
    Explicit,
    /// It has it, and says so or could not get what it says.
    Held,
}

impl Claims<'_> {
    /// Everybody whom a change of these concerns: who wants or has an address that one of them wants or has, and so on.
    pub(crate) fn concerned(&self, changed: &BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
        let mut concerned = changed.clone();
        let mut ahead: Vec<ObjectId> = changed.iter().copied().collect();
        while let Some(id) = ahead.pop() {
            let item = self.view.get(id);
            let claimed = item.and_then(|item| item.claim.as_ref()).map(|claim| &claim.address);
            let further = item.into_iter().flat_map(|item| &*item.secondaries);
            let held = self.known.account(id).into_iter().flat_map(|account| account.addresses());
            for address in claimed.into_iter().chain(further).chain(held) {
                for other in self.view.named(Key::of_address(address)).chain(self.known.holders(address)) {
                    if concerned.insert(other) {
                        ahead.push(other);
                    }
                }
            }
        }
        concerned
    }

    /// Decides for them all. They must be all who are [concerned](Claims::concerned).
    pub(crate) fn assign(&self, concerned: &BTreeSet<ObjectId>) -> Assigned {
        let mut assigned = Assigned::default();
        let main = self.main_addresses(concerned, &mut assigned.conflicts);
        let owners: BTreeMap<&SipAddress, ObjectId> =
            main.iter().map(|(id, address)| (address, *id)).collect();
        let aliases = self.aliases(&main, &owners);
        for (id, address) in &main {
            let aliases = aliases.get(id).cloned().unwrap_or_default();
            assigned.accounts.insert(*id, Addresses { address: address.clone(), aliases });
        }
        assigned
    }

    fn main_addresses(
        &self,
        concerned: &BTreeSet<ObjectId>,
        conflicts: &mut BTreeMap<ObjectId, Vec<FindingKind>>,
    ) -> BTreeMap<ObjectId, SipAddress> {
        let mut fallen: BTreeSet<ObjectId> = BTreeSet::new();
        for id in concerned {
            if let Some(reason) = self.blocked_claim(*id) {
                fallen.insert(*id);
                let address = self.claim(*id).map_or_else(String::new, |(address, _)| address.to_string());
                let taken = FindingKind::AddressTaken { address, by: None, reason: reason.clone() };
                conflicts.entry(*id).or_default().push(taken);
            }
        }
        // Each round lets at least one more fall back to what it had, so that there are at most as many rounds as accounts; nearly always
        // one. Who falls back holds on: who lost to somebody never wins by another's fall.
        loop {
            let mut winners: BTreeMap<&SipAddress, (Strength, ObjectId)> = BTreeMap::new();
            let wishes = concerned.iter().filter_map(|id| Some((*id, self.wish(*id, &fallen)?)));
            let wishes: Vec<(ObjectId, (&SipAddress, Strength))> = wishes.collect();
            for (id, (address, strength)) in &wishes {
                let winner = winners.entry(address).or_insert((*strength, *id));
                // The ids come in order: of equals the lowest stays.
                if *strength > winner.0 {
                    *winner = (*strength, *id);
                }
            }
            let mut main = BTreeMap::new();
            let fallen_before = fallen.len();
            for (id, (address, strength)) in &wishes {
                let winner = winners[address].1;
                if winner == *id {
                    main.insert(*id, (*address).clone());
                } else if *strength == Strength::Parked {
                    main.insert(*id, parked(*id, address));
                } else {
                    fallen.insert(*id);
                    let taken = FindingKind::AddressTaken {
                        address: address.to_string(),
                        by: Some(winner),
                        reason: String::new(),
                    };
                    conflicts.entry(*id).or_default().push(taken);
                }
            }
            if fallen.len() == fallen_before {
                return main;
            }
        }
    }

    /// What the directory says of somebody who has an account or may get one.
    fn claim(&self, id: ObjectId) -> Option<(&SipAddress, bool)> {
        let item = self.view.get(id).filter(|item| item.is_account)?;
        let claim = item.claim.as_ref()?;
        let counts = self.known.account(id).is_some() || (self.may_come)(id);
        counts.then_some((&claim.address, claim.is_explicit))
    }

    fn blocked_claim(&self, id: ObjectId) -> Option<&String> {
        let (address, _) = self.claim(id)?;
        let has_it = self.known.account(id).is_some_and(|account| account.address == *address);
        self.blocked.get(address).filter(|_| !has_it)
    }

    fn wish(&self, id: ObjectId, fallen: &BTreeSet<ObjectId>) -> Option<(&SipAddress, Strength)> {
        let had = self.known.account(id).map(|account| &account.address);
        match self.claim(id) {
            Some((address, _)) if had == Some(address) => Some((address, Strength::Held)),
            Some(_) if fallen.contains(&id) => Some((had?, Strength::Held)),
            Some((address, true)) => Some((address, Strength::Explicit)),
            Some((address, false)) => Some((address, Strength::Said)),
            None => Some((had?, Strength::Parked)),
        }
    }

    fn aliases(
        &self,
        main: &BTreeMap<ObjectId, SipAddress>,
        owners: &BTreeMap<&SipAddress, ObjectId>,
    ) -> BTreeMap<ObjectId, Vec<SipAddress>> {
        // Who had an address comes before who says so; of equals the lowest id.
        let mut candidates: BTreeMap<&SipAddress, (bool, ObjectId)> = BTreeMap::new();
        for (id, address) in main {
            let known = self.known.account(*id);
            let further = self.view.get(*id).into_iter().flat_map(|item| &*item.secondaries);
            let former = known.into_iter().flat_map(|account| account.addresses());
            let is_parked = self.claim(*id).is_none();
            let former = former.filter(|former| {
                self.keep_old_addresses && !is_made_up(former)
                    || is_parked
                    || self.view.get(*id).is_some_and(|item| item.secondaries.contains(former))
            });
            for candidate in further.chain(former) {
                let had = known.is_some_and(|account| account.addresses().any(|had| had == candidate));
                if candidate == address
                    || owners.contains_key(candidate)
                    || !had && self.blocked.contains_key(candidate)
                {
                    continue;
                }
                let best = candidates.entry(candidate).or_insert((had, *id));
                if had && !best.0 {
                    *best = (had, *id);
                }
            }
        }
        let mut aliases: BTreeMap<ObjectId, Vec<SipAddress>> = BTreeMap::new();
        for (address, (_, id)) in candidates {
            let aliases = aliases.entry(id).or_default();
            if aliases.len() < ALIASES_MAX {
                aliases.push(address.clone());
            }
        }
        aliases
    }
}

/// The user part of what a parked account gets instead of an address that somebody else wants now.
const PARKED: &str = "former-account-";

fn parked(id: ObjectId, former: &SipAddress) -> SipAddress {
    let domain = DomainName::parse(former.domain()).expect("an address has a domain");
    SipAddress::new(&format!("{PARKED}{id}"), &domain).expect("a UUID is a user part")
}

fn is_made_up(address: &SipAddress) -> bool {
    address.user().starts_with(PARKED)
}
