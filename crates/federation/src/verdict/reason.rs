//! Why a request may not cross: told to the operator in full, to our own user in a sentence, to the stranger not at all.

use std::fmt;
use std::sync::Arc;

use node::Unmet;

use crate::modality::{Modalities, Modality};
use crate::policy::Date;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the response: [`Reason::status`].
    pub status: u16,
    /// Why.
    pub reason: Reason,
}

/// Towards us or away from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Towards us.
    In,
    /// Away from us.
    Out,
}

/// Why a request may not cross. `Display` is the text for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The address at the other end has no domain: it is malformed, or an IP address.
    NoDomain,
    /// From outside, in the name of one of our own domains.
    SpeaksForUs {
        /// Ours.
        domain: Arc<str>,
    },
    /// To one of our own domains, on the way out.
    StaysInside {
        /// Ours.
        domain: Arc<str>,
    },
    /// Neither end is ours.
    Relay {
        /// The one that should be.
        domain: Arc<str>,
    },
    /// The policy does not name the domain.
    Unlisted {
        /// The other organisation's.
        domain: Arc<str>,
    },
    /// The policy blocks the domain.
    Blocked {
        /// The other organisation's.
        domain: Arc<str>,
    },
    /// The relationship's last day is over.
    Expired {
        /// The partner's domain or the hub's name.
        name: Arc<str>,
        /// The day.
        last: Date,
    },
    /// The connection does not prove the domain in From.
    NotProved {
        /// The domain in From.
        domain: Arc<str>,
        /// The hub that it would have to come through, if any.
        hub: Option<Arc<str>>,
        /// What is wrong with the certificate.
        unmet: Unmet,
    },
    /// The domain is proved, over another road than the one that is valid for it.
    WrongRoad {
        /// The domain in From.
        domain: Arc<str>,
        /// The hub that it came through; `None` where it came directly.
        came: Option<Arc<str>>,
        /// The hub that it has to come through; `None` where directly.
        right: Option<Arc<str>>,
    },
    /// The hub does not say which member the request comes from.
    NoMember {
        /// The hub.
        hub: Arc<str>,
        /// The domain in From.
        domain: Arc<str>,
    },
    /// The hub says that the request comes from another member than From does.
    OtherMember {
        /// The hub.
        hub: Arc<str>,
        /// The domain in From.
        domain: Arc<str>,
        /// The member that the hub names.
        said: Arc<str>,
    },
    /// A domain is no member of the clearinghouse that we are.
    NotMember {
        /// The domain.
        domain: Arc<str>,
    },
    /// The entry has mode `member`, which an organisation's edge has no use for.
    MembersOnly {
        /// The domain.
        domain: Arc<str>,
    },
    /// A member's request to itself, through us.
    BackToSender {
        /// The member.
        domain: Arc<str>,
    },
    /// The relationship does not let this side begin.
    OneWay {
        /// The other organisation's.
        domain: Arc<str>,
        /// The way that is closed.
        way: Way,
    },
    /// The relationship does not carry this.
    Modality {
        /// The other organisation's.
        domain: Arc<str>,
        /// What it does not carry.
        refused: Modalities,
    },
    /// A method that has no business with another organisation.
    Method {
        /// The other organisation's.
        domain: Arc<str>,
        /// The method.
        method: Arc<str>,
    },
    /// The budget is used up.
    TooFast {
        /// Whose: a partner's domain or a hub's name.
        name: Arc<str>,
        /// Requests a second.
        per_second: u32,
    },
    /// A discovered partner's budget is used up.
    Discovered {
        /// The partner.
        domain: Arc<str>,
        /// Whether it stands on the watch list.
        is_watched: bool,
    },
}

impl Reason {
    /// The status of the response.
    pub fn status(&self) -> u16 {
        match self {
            // The caller may try again without the picture (RFC 3261 §21.4.26).
            Reason::Modality { refused, .. } if *refused == Modality::Video.into() => 488,
            Reason::BackToSender { .. } => 482,
            Reason::Method { .. } => 405,
            Reason::TooFast { .. } | Reason::Discovered { .. } => 503,
            _ => 403,
        }
    }

    /// A word for metrics, logs and `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::NoDomain => "no-domain",
            Reason::SpeaksForUs { .. } => "speaks-for-us",
            Reason::StaysInside { .. } => "stays-inside",
            Reason::Relay { .. } => "relay",
            Reason::Unlisted { .. } => "unlisted",
            Reason::Blocked { .. } => "blocked",
            Reason::Expired { .. } => "expired",
            Reason::NotProved { .. } => "not-proved",
            Reason::WrongRoad { .. } => "wrong-road",
            Reason::NoMember { .. } => "no-member",
            Reason::OtherMember { .. } => "other-member",
            Reason::NotMember { .. } => "not-member",
            Reason::MembersOnly { .. } => "members-only",
            Reason::BackToSender { .. } => "back-to-sender",
            Reason::OneWay { .. } => "one-way",
            Reason::Modality { .. } => "modality",
            Reason::Method { .. } => "method",
            Reason::TooFast { .. } => "too-fast",
            Reason::Discovered { .. } => "discovered-budget",
        }
    }

    /// Every [`Reason::code`], in the order of the enum: the label values of a metric.
    pub const CODES: [&str; 19] = [
        "no-domain",
        "speaks-for-us",
        "stays-inside",
        "relay",
        "unlisted",
        "blocked",
        "expired",
        "not-proved",
        "wrong-road",
        "no-member",
        "other-member",
        "not-member",
        "members-only",
        "back-to-sender",
        "one-way",
        "modality",
        "method",
        "too-fast",
        "discovered-budget",
    ];

    /// How the operator can change it.
    pub fn mend(&self) -> String {
        match self {
            Reason::NoDomain => {
                "the address must end in a domain name: only those can be proved and listed".to_owned()
            }
            Reason::SpeaksForUs { .. } => {
                "nothing to mend here: a user of ours who is outside signs in as a remote user, without a partner's certificate"
                    .to_owned()
            }
            Reason::StaysInside { domain } => {
                format!("take {domain} out of what the front ends send to the edge: its users are at home inside")
            }
            Reason::Relay { domain } => {
                format!("if {domain} is ours, add it to `domains` of every server of ours, the edge included")
            }
            Reason::Unlisted { domain } => format!("chancery federation allow {domain} --next-hop EDGE:5061"),
            Reason::Blocked { domain } => {
                format!("if this is no longer meant, chancery federation allow {domain}")
            }
            Reason::Expired { name, .. } => {
                format!("set a later `expires` for {name} in federation.toml, or remove the key")
            }
            Reason::NotProved { domain, hub, .. } => format!(
                "chancery federation test {domain}; then mend the certificate of {}, or the rule in federation.toml",
                hub.as_deref().unwrap_or(domain)
            ),
            Reason::WrongRoad { domain, came: Some(hub), right: None } => format!(
                "ask {domain} to send to us directly; or move it to the hub: mode = \"clearinghouse\", via = \"{hub}\""
            ),
            Reason::WrongRoad { domain, came: _, right: Some(hub) } => format!(
                "ask {domain} to send through {hub}; or give it a road of its own: mode = \"direct\" with a next_hop"
            ),
            Reason::WrongRoad { domain, came: None, right: None } => {
                format!("chancery federation test {domain}")
            }
            Reason::NoMember { hub, .. } => {
                format!("if {hub} is of another make, write vouches = \"member-list\" in its [[clearinghouse]]")
            }
            Reason::OtherMember { hub, .. } => {
                format!("report it to {hub}: one of its members speaks for another, or the hub does")
            }
            Reason::NotMember { domain } => {
                format!("to make it a member, add a [[partner]] {domain} with mode = \"member\"")
            }
            Reason::MembersOnly { domain } => {
                format!("write mode = \"direct\" for {domain}: members are for the role clearinghouse")
            }
            Reason::BackToSender { domain } => {
                format!("the edge of {domain} must keep requests to its own domain: its `domains` may lack one")
            }
            Reason::OneWay { domain, .. } => format!("write direction = \"both\" for {domain} in federation.toml"),
            Reason::Modality { domain, refused } => {
                let names: Vec<String> = refused.iter().map(|m| format!("{:?}", m.name())).collect();
                format!("add {} to `modalities` of {domain} in federation.toml", names.join(", "))
            }
            Reason::Method { .. } => {
                "nothing to mend here: registrations and publications stay within an organisation".to_owned()
            }
            Reason::TooFast { name, .. } => format!("if this is honest traffic, raise `rate` of {name}"),
            Reason::Discovered { domain, .. } => format!(
                "if it is known, list it: chancery federation allow {domain}; if not, chancery federation block {domain}"
            ),
        }
    }

    /// A sentence for the user of ours who asked. ASCII without quotes, as a Warning's text needs it (RFC 3261 §20.43).
    pub fn for_user(&self) -> String {
        match self {
            Reason::NoDomain => "The address has no domain that could be reached".to_owned(),
            Reason::SpeaksForUs { .. } | Reason::StaysInside { .. } | Reason::Relay { .. } => {
                "This request cannot leave the organisation".to_owned()
            }
            Reason::Unlisted { domain } => format!("Your organisation is not federated with {domain}"),
            Reason::Blocked { domain } => format!("Your organisation has blocked {domain}"),
            Reason::Expired { name, .. } => format!("The relationship with {name} has expired"),
            Reason::NotProved { domain, .. }
            | Reason::WrongRoad { domain, .. }
            | Reason::NoMember { domain, .. }
            | Reason::OtherMember { domain, .. } => format!("{domain} could not prove who it is"),
            Reason::NotMember { domain } => format!("{domain} is not a member of this clearinghouse"),
            Reason::MembersOnly { domain } => format!("{domain} cannot be reached from here"),
            Reason::BackToSender { domain } => format!("{domain} sent a request to itself"),
            Reason::OneWay { domain, .. } => {
                format!("Your organisation does not begin conversations with {domain}")
            }
            Reason::Modality { domain, refused } => {
                format!("Not allowed with {domain}: {refused}")
            }
            Reason::Method { method, domain } => format!("{method} is not exchanged with {domain}"),
            Reason::TooFast { name, .. } => format!("Too many requests with {name}, try again later"),
            Reason::Discovered { domain, .. } => format!("Too many requests with {domain}, try again later"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoDomain => f.write_str("the address at the other end has no domain"),
            Reason::SpeaksForUs { domain } => {
                write!(f, "somebody outside speaks for {domain}, which is ours")
            }
            Reason::StaysInside { domain } => write!(f, "{domain} is ours and not reached through the edge"),
            Reason::Relay { domain } => write!(f, "{domain} is not ours: neither end of the request is"),
            Reason::Unlisted { domain } => write!(f, "the policy does not name {domain}"),
            Reason::Blocked { domain } => write!(f, "the policy blocks {domain}"),
            Reason::Expired { name, last } => write!(f, "the entry of {name} expired on {last}"),
            Reason::NotProved { domain, hub: None, unmet } => {
                write!(f, "the connection does not prove {domain}: {unmet}")
            }
            Reason::NotProved { domain, hub: Some(hub), unmet } => {
                write!(f, "{domain} comes through {hub}, and the connection does not prove {hub}: {unmet}")
            }
            Reason::WrongRoad { domain, came, right } => {
                let road = |hub: &Option<Arc<str>>| match hub {
                    Some(hub) => format!("through {hub}"),
                    None => "directly".to_owned(),
                };
                write!(f, "{domain} came {}, and comes {} only", road(came), road(right))
            }
            Reason::NoMember { hub, domain } => {
                write!(f, "{hub} does not say which member it speaks for; From is of {domain}")
            }
            Reason::OtherMember { hub, domain, said } => {
                write!(f, "{hub} vouches for {said}, but From is of {domain}")
            }
            Reason::NotMember { domain } => write!(f, "{domain} is no member of this clearinghouse"),
            Reason::MembersOnly { domain } => {
                write!(f, "{domain} is listed as a member, and this is no clearinghouse")
            }
            Reason::BackToSender { domain } => write!(f, "{domain} sent a request to itself"),
            Reason::OneWay { domain, way: Way::In } => write!(f, "{domain} may not begin anything with us"),
            Reason::OneWay { domain, way: Way::Out } => write!(f, "we do not begin anything with {domain}"),
            Reason::Modality { domain, refused } => {
                write!(f, "the relationship with {domain} does not carry {refused}")
            }
            Reason::Method { domain, method } => {
                write!(f, "{method} is not exchanged with {domain} or anybody")
            }
            Reason::TooFast { name, per_second } => {
                write!(f, "{name} began more than {per_second} requests a second")
            }
            Reason::Discovered { domain, is_watched: false } => {
                write!(f, "the discovered partner {domain} sent more than its budget")
            }
            Reason::Discovered { domain, is_watched: true } => {
                write!(
                    f,
                    "the discovered partner {domain} stands on the watch list and sent more than its budget"
                )
            }
        }
    }
}

#[cfg(test)]
/// One of each, in the order of the enum: what tests hold the manual against.
pub(crate) fn examples() -> Vec<Reason> {
    let (domain, hub): (Arc<str>, Arc<str>) = ("fabrikam.example".into(), "hub.trade.example".into());
    let ours: Arc<str> = "contoso.example".into();
    vec![
        Reason::NoDomain,
        Reason::SpeaksForUs { domain: ours.clone() },
        Reason::StaysInside { domain: ours.clone() },
        Reason::Relay { domain: domain.clone() },
        Reason::Unlisted { domain: domain.clone() },
        Reason::Blocked { domain: domain.clone() },
        Reason::Expired { name: domain.clone(), last: Date::new(2026, 12, 31).expect("a day") },
        Reason::NotProved {
            domain: domain.clone(),
            hub: None,
            unmet: Unmet::WrongHost("edge.fabrikam.example".to_owned()),
        },
        Reason::WrongRoad { domain: domain.clone(), came: Some(hub.clone()), right: None },
        Reason::NoMember { hub: hub.clone(), domain: domain.clone() },
        Reason::OtherMember { hub, domain: domain.clone(), said: "northwind.example".into() },
        Reason::NotMember { domain: domain.clone() },
        Reason::MembersOnly { domain: domain.clone() },
        Reason::BackToSender { domain: domain.clone() },
        Reason::OneWay { domain: domain.clone(), way: Way::Out },
        Reason::Modality { domain: domain.clone(), refused: Modality::Video.into() },
        Reason::Method { domain: domain.clone(), method: "REGISTER".into() },
        Reason::TooFast { name: domain.clone(), per_second: 100 },
        Reason::Discovered { domain, is_watched: true },
    ]
}
