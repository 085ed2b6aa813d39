//! Presence rules: who sees how much of a person (RFC 4745, RFC 5025).
//!
//! [`Rules::read`] makes the model of a document, [`Rules::level`] decides for a watcher, [`set_level`] changes a document and
//! leaves the rest of its text as it was.
//!
//! How a rule becomes a [`Level`]: `<sub-handling>` block, polite-block and confirm are [`Level::Blocked`], confirm with
//! the note that a decision is pending; allow is our own `<level>` where there is one, else the highest level of which
//! the transformations provide everything. A rule without `<sub-handling>` and `<level>` says nothing. Which rule decides:
//! the one that names the watcher most closely (the user, the domain, the relation to the organisation, everybody); among
//! those that name it equally closely, permissions add up (RFC 4745 §10.2). Across steps they do not, against the RFC:
//! whoever gives a colleague less than everybody else means it (`docs/deviations.md`).
//!
//! Extensions, in the namespace `urn:chancery:pres-rules`: the conditions `<same-organisation/>` and `<federated/>`, and
//! the transformation `<level>` with the name of a level. Conditions that are not known never hold (RFC 4745 §7), nor
//! does `<sphere>`: nobody's sphere is known here.

mod edit;
mod read;
#[cfg(test)]
mod tests;

use directory::{DomainName, SipAddress};

use crate::xml::{Bounds, XmlError};
use crate::{Level, Relation};

pub use edit::{EditError, set_level};

/// The type of the documents.
pub const CONTENT_TYPE: &str = "application/auth-policy+xml";
/// Rules of one person: one for each contact that somebody may have.
pub const RULES_MAX: usize = 1000;
/// How large a document may be: as large as a contact list. 1,000 users in the rules that [`set_level`] makes are 60 KB.
pub const BOUNDS: Bounds = Bounds { octets_max: 256 * 1024, depth_max: 16, elements_max: 16 * 1024 };

const COMMON_POLICY: &str = "urn:ietf:params:xml:ns:common-policy";
const PRES_RULES: &str = "urn:ietf:params:xml:ns:pres-rules";
const EXTENSION: &str = "urn:chancery:pres-rules";

/// Why a document was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Too large, or no XML that is taken.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// XML, but no rules.
    #[error("the outermost element is not <ruleset>")]
    NotRuleset,
    /// More than [`RULES_MAX`].
    #[error("more rules than a person may have")]
    TooManyRules,
    /// A rule without an identifier, or two with the same.
    #[error("a rule without an identifier of its own")]
    BadId,
    /// What the schemas (RFC 4745 §13, RFC 5025 §7) do not have.
    #[error("{0}")]
    Schema(&'static str),
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    id: Box<str>,
    /// One of them must hold.
    identities: Vec<Identity>,
    /// Must hold too, where there is one.
    relation: Option<Relation>,
    /// Something in its conditions never holds.
    is_never: bool,
    /// From and until, in milliseconds since 1970; now must be in one of them where there are any.
    validity: Option<Vec<(u64, u64)>>,
    handling: Option<Handling>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    User(SipAddress),
    Domain { domain: DomainName, except: Vec<Except> },
    Everybody { except: Vec<Except> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Except {
    User(SipAddress),
    Domain(DomainName),
}

/// Least permissive first, as RFC 5025 §3.2.1 numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Handling {
    Block,
    Confirm,
    PoliteBlock,
    Allow(Level),
}

/// How closely a rule names a watcher; closer is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Everybody,
    Relation,
    Domain,
    User,
}

/// Whom a decision is about.
#[derive(Clone, Copy, Debug)]
pub struct Watcher<'a> {
    /// Authenticated.
    pub address: &'a SipAddress,
    /// Its former addresses: what a rule says of one of them it says of the watcher.
    pub aliases: &'a [SipAddress],
    /// Where it stands to the organisation.
    pub relation: Relation,
}

/// What holds where no rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// For users of ours.
    pub same_organisation: Level,
    /// For users of partners.
    pub federated: Level,
}

impl Default for Defaults {
    /// Colleagues see what colleagues see, partners what partners see; nobody has to be asked.
    fn default() -> Defaults {
        Defaults { same_organisation: Level::Company, federated: Level::External }
    }
}

impl Defaults {
    /// The level of a relation.
    pub fn of(&self, relation: Relation) -> Level {
        match relation {
            Relation::SameOrganisation => self.same_organisation,
            Relation::Federated => self.federated,
        }
    }
}

/// What a watcher may see, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// How much.
    pub level: Level,
    /// What decided.
    pub why: Reason<'a>,
    /// The person was to be asked and has not said: blocked for now.
    pub is_pending: bool,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// The rule of this identifier.
    Rule(&'a str),
    /// No rule.
    Default(Relation),
}

/// Whom a rule can be made for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One user.
    User(SipAddress),
    /// All users of a domain.
    Domain(DomainName),
    /// All users of ours.
    SameOrganisation,
    /// All users of partners.
    Federated,
    /// Everybody.
    Everybody,
}

impl Rules {
    /// What the watcher may see at this time.
    pub fn level(&self, watcher: &Watcher<'_>, defaults: &Defaults, now_unix_ms: u64) -> Decision<'_> {
        let mut best: Option<((Closeness, Handling), &Rule)> = None;
        for rule in &self.rules {
            let Some(handling) = rule.handling else { continue };
            let Some(closeness) = rule.closeness(watcher, now_unix_ms) else { continue };
            // Of equal ones the first is the reason.
            if best.is_none_or(|(known, _)| (closeness, handling) > known) {
                best = Some(((closeness, handling), rule));
            }
        }
        match best {
            Some(((_, handling), rule)) => Decision {
                level: handling.level(),
                why: Reason::Rule(&rule.id),
                is_pending: handling == Handling::Confirm,
            },
            None => Decision {
                level: defaults.of(watcher.relation),
                why: Reason::Default(watcher.relation),
                is_pending: false,
            },
        }
    }

    /// When time alone changes a decision next, in milliseconds since 1970.
    pub fn next_change(&self, now_unix_ms: u64) -> Option<u64> {
        let bounds = self.rules.iter().filter_map(|rule| rule.validity.as_ref()).flatten();
        bounds
            .flat_map(|(from, until)| [*from, *until])
            .filter(|at| *at > now_unix_ms && *at < u64::MAX)
            .min()
    }

    /// Whom the rules name, at which level, by which rule; in the order of the document. What else a rule asks for, as a time,
    /// is not told.
    pub fn subjects(&self) -> impl Iterator<Item = (Subject, Level, &str)> {
        self.rules.iter().flat_map(|rule| {
            let level = rule.handling.filter(|_| !rule.is_never).map(Handling::level);
            let subjects = level.map(|_| rule.subjects()).unwrap_or_default();
            subjects
                .into_iter()
                .zip(level.into_iter().cycle())
                .map(|(subject, level)| (subject, level, &*rule.id))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Handling {
    fn level(self) -> Level {
        match self {
            // All three look the same from outside (design: a blocked watcher cannot tell).
            Handling::Block | Handling::Confirm | Handling::PoliteBlock => Level::Blocked,
            Handling::Allow(level) => level,
        }
    }
}

impl Rule {
    /// How closely it names the watcher, where all its conditions hold.
    fn closeness(&self, watcher: &Watcher<'_>, now_unix_ms: u64) -> Option<Closeness> {
        let is_time = |validity: &Vec<(u64, u64)>| {
            validity.iter().any(|(from, until)| (*from..*until).contains(&now_unix_ms))
        };
        let is_relation = self.relation.is_none_or(|relation| relation == watcher.relation);
        if self.is_never || !is_relation || !self.validity.as_ref().is_none_or(is_time) {
            return None;
        }
        let by_identity = self.identities.iter().filter_map(|identity| identity.closeness(watcher)).max()?;
        let by_relation = self.relation.map_or(Closeness::Everybody, |_| Closeness::Relation);
        Some(by_identity.max(by_relation))
    }

    fn subjects(&self) -> Vec<Subject> {
        let relation = match self.relation {
            Some(Relation::SameOrganisation) => Subject::SameOrganisation,
            Some(Relation::Federated) => Subject::Federated,
            None => Subject::Everybody,
        };
        let of = |identity: &Identity| match identity {
            Identity::User(address) => Subject::User(address.clone()),
            Identity::Domain { domain, .. } => Subject::Domain(domain.clone()),
            Identity::Everybody { .. } => relation.clone(),
        };
        self.identities.iter().map(of).collect()
    }
}

impl Identity {
    fn closeness(&self, watcher: &Watcher<'_>) -> Option<Closeness> {
        let holds =
            |except: &[Except]| !except.iter().any(|except| watcher.addresses().any(|a| except.is(a)));
        match self {
            Identity::User(address) => watcher.addresses().any(|a| a == address).then_some(Closeness::User),
            Identity::Domain { domain, except } => {
                let is_of = domain.as_str() == watcher.address.domain() && holds(except);
                is_of.then_some(Closeness::Domain)
            }
            Identity::Everybody { except } => holds(except).then_some(Closeness::Everybody),
        }
    }
}

impl<'a> Watcher<'a> {
    fn addresses(&self) -> impl Iterator<Item = &'a SipAddress> + use<'a> {
        std::iter::once(self.address).chain(self.aliases)
    }
}

impl Except {
    fn is(&self, address: &SipAddress) -> bool {
        match self {
            Except::User(user) => user == address,
            Except::Domain(domain) => domain.as_str() == address.domain(),
        }
    }
}
