//! The world's own idea of who may see how much of whom: rules and contact lists as they became durable.
//!
//! Documents are read here by a reader of the world's own, and a watcher's level is found by a few lines that follow
//! the documentation and not the server's code: this is the oracle of the presence checkers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use directory::{Standing, UserId, UserState};
use node::{Instant, Outcome};
use presence::{Level, Manual};
use records::{CallSettings, Change};

use super::{accounts, domain_of};
use crate::event::What;
use crate::notice::address_of;
use crate::xml::Element;

/// Everybody, with what was decided about them and when.
#[derive(Default)]
pub(super) struct People {
    ids: BTreeMap<UserId, String>,
    /// The machine that is somebody's home.
    homes: BTreeMap<String, usize>,
    rules: BTreeMap<String, Vec<(Instant, Vec<Rule>)>>,
    contacts: BTreeMap<String, Vec<String>>,
    /// Whose account cannot be used, by the directory and by an administrator.
    ended: [BTreeSet<UserId>; 2],
    manual: BTreeMap<String, Manual>,
    calls: BTreeMap<String, Vec<CallSettings>>,
}

/// A rule of RFC 5025, as far as it matters.
#[derive(Clone, Debug)]
struct Rule {
    whom: Whom,
    level: Level,
}

/// To whom a rule applies, least special first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Everybody,
    Federated,
    SameOrganisation,
    Domain(String),
    One(String),
}

impl People {
    /// Learns of what became durable.
    pub(super) fn observe(&mut self, at: Instant, what: &What) {
        let What::Durable { machine, change, outcome } = what else { return };
        for (id, address) in accounts(change) {
            self.homes.insert(address.to_string(), *machine);
            self.ids.insert(id, address.to_string());
        }
        match &**change {
            Change::SetUserState { user, state, .. } => {
                match state {
                    UserState::Enabled => self.ended[1].remove(user),
                    UserState::Disabled => self.ended[1].insert(*user),
                };
            }
            Change::Replicate(step) => {
                for user in &step.users {
                    match user.account.standing {
                        Standing::Active => self.ended[0].remove(&user.id),
                        _ => self.ended[0].insert(user.id),
                    };
                }
            }
            Change::SetManual { user, manual } => {
                self.manual.extend(self.ids.get(user).map(|user| (user.clone(), manual.clone())));
            }
            Change::SetCallSettings { user, settings } => {
                if let Some(user) = self.ids.get(user) {
                    self.calls.entry(user.clone()).or_default().push(settings.clone());
                }
            }
            Change::PutDocument(document) if *outcome == Outcome::Applied => {
                self.document(at, document.owner, &document.application, &document.body);
            }
            Change::RemoveDocument { owner, application, .. } => {
                self.document(at, *owner, application, b"<empty/>");
            }
            _ => {}
        }
    }

    fn document(&mut self, at: Instant, owner: UserId, application: &str, body: &[u8]) {
        let (Some(owner), Ok(root)) = (self.ids.get(&owner).cloned(), Element::parse(body)) else { return };
        match application {
            "pres-rules" => {
                let rules = root.all().into_iter().filter(|e| e.name == "rule").flat_map(rules_of).collect();
                self.rules.entry(owner).or_default().push((at, rules));
            }
            "resource-lists" => {
                let entries = root.all().into_iter().filter(|e| e.name == "entry");
                let contacts = entries.filter_map(|e| e.attribute("uri")).map(address_of).collect();
                self.contacts.insert(owner, contacts);
            }
            _ => {}
        }
    }

    /// The highest level that `watcher` had with `watched` at any moment of the `window` before `at`.
    pub(super) fn level(&self, watched: &str, watcher: &str, at: Instant, window: Duration) -> Level {
        if watched == watcher {
            return Level::Personal;
        }
        let nothing = (Instant(0), Vec::new());
        let history = self.rules.get(watched).into_iter().flatten();
        let history: Vec<_> = std::iter::once(&nothing).chain(history).collect();
        let ended = |i: usize| history.get(i + 1).map(|(end, _)| *end);
        let in_window = history
            .iter()
            .enumerate()
            .filter(|(i, (began, _))| *began <= at && ended(*i).is_none_or(|end| end + window >= at));
        in_window.map(|(_, (_, rules))| level_by(rules, watched, watcher)).max().unwrap_or(Level::Blocked)
    }

    /// Whether somebody's account cannot be used.
    pub(super) fn has_ended(&self, user: &str) -> bool {
        let ended = |id: &UserId| self.ended.iter().any(|ended| ended.contains(id));
        self.ids.iter().any(|(id, address)| address == user && ended(id))
    }

    /// The machine where somebody is at home.
    pub(super) fn home(&self, user: &str) -> Option<usize> {
        self.homes.get(user).copied()
    }

    /// The address of an account.
    pub(super) fn address(&self, user: UserId) -> Option<&str> {
        self.ids.get(&user).map(String::as_str)
    }

    pub(super) fn contacts(&self, owner: &str) -> &[String] {
        self.contacts.get(owner).map_or(&[], Vec::as_slice)
    }

    pub(super) fn manual(&self, user: &str) -> Manual {
        self.manual.get(user).cloned().unwrap_or_default()
    }

    /// Everybody who may ring when `callee` is called: where anything that was ever decided sends its calls.
    pub(super) fn may_ring(&self, callee: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::from([callee.to_owned()]);
        let mut open = vec![callee.to_owned()];
        while let Some(user) = open.pop() {
            for settings in self.calls.get(&user).into_iter().flatten() {
                let targets = [
                    &settings.forward_always,
                    &settings.forward_busy,
                    &settings.forward_no_answer,
                    &settings.forward_unregistered,
                    &settings.forward_do_not_disturb,
                ];
                let targets = targets.into_iter().flatten().chain(&settings.ring_also);
                for target in targets.map(ToString::to_string) {
                    if reached.insert(target.clone()) {
                        open.push(target);
                    }
                }
            }
        }
        reached
    }
}

/// Design section 5: the most special rule decides, among equals the highest; inside the company nobody needs one, and partners
/// are external without one.
fn level_by(rules: &[Rule], watched: &str, watcher: &str) -> Level {
    let domain = domain_of(watcher);
    let is_colleague = domain == domain_of(watched);
    let applies = |rule: &&Rule| match &rule.whom {
        Whom::One(address) => address == watcher,
        Whom::Domain(of) => of == domain,
        Whom::Everybody => true,
        Whom::SameOrganisation => is_colleague,
        Whom::Federated => !is_colleague,
    };
    let rank = |whom: &Whom| match whom {
        Whom::Everybody => 0,
        Whom::Federated | Whom::SameOrganisation => 1,
        Whom::Domain(_) => 2,
        Whom::One(_) => 3,
    };
    let best = rules.iter().filter(applies).max_by_key(|r| (rank(&r.whom), r.level));
    best.map_or(if is_colleague { Level::Company } else { Level::External }, |r| r.level)
}

fn rules_of(rule: &Element) -> Vec<Rule> {
    let all = rule.all();
    let named = |name: &str| all.iter().find(|e| e.name == name);
    let handling = named("sub-handling").map_or("allow", |handling| handling.text.as_str());
    let level = match (handling, named("level")) {
        ("allow", Some(level)) => Level::from_name(&level.text).unwrap_or(Level::Blocked),
        ("allow", None) => Level::External,
        _ => Level::Blocked,
    };
    let conditions = rule.child("conditions").map(Element::all).unwrap_or_default();
    let mut whom: Vec<Whom> = conditions
        .iter()
        .filter_map(|condition| match condition.name.as_str() {
            "one" => Some(Whom::One(address_of(condition.attribute("id")?))),
            "many" => {
                Some(condition.attribute("domain").map_or(Whom::Everybody, |d| Whom::Domain(d.to_owned())))
            }
            "same-organisation" => Some(Whom::SameOrganisation),
            "federated" => Some(Whom::Federated),
            _ => None,
        })
        .collect();
    if whom.is_empty() {
        whom.push(Whom::Everybody);
    }
    whom.into_iter().map(|whom| Rule { whom, level }).collect()
}
