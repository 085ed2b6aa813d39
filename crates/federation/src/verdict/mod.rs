//! The verdict: whether a request may cross the perimeter, over which road, and why not.
//!
//! [`judge`] is a pure function of what the policy says, what the connection proved, what the request says, and the time. The
//! edge asks it for every request in both directions, a clearinghouse for every request that it passes on; `chancery
//! explain` and `chancery federation test` ask the same function.
//!
//! - For each domain one road is valid, both ways. A request that comes by another road is refused, however well it is
//!   proved there.
//! - What a connection proved is asked for the very domain in From, under the very rule of that domain's entry
//!   (RFC 5922 §7.4, RFC 5923 §5). Nothing is remembered with a connection, so that a changed policy holds for the next
//!   request.
//! - Whatever no entry allows is refused.

mod reason;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use node::{Anchors, Expected, PeerCertificate, PeerHop, UnixMillis};
use sip_message::Method;
use smallvec::{SmallVec, smallvec};

pub use reason::{Reason, Refusal, Way};

use crate::modality::Modalities;
use crate::name::Normal;
use crate::origin::{FromProof, Member, Mode, Origin};
use crate::policy::{
    Allows, Clearinghouse, Partner, PartnerMode, Policy, Standing, Terms, Vouches, discovered,
};

/// Where a request is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From another organisation to us.
    Inbound,
    /// From us to another organisation.
    Outbound,
    /// Through us, who are a clearinghouse, from one member to another.
    Transit,
}

/// What is known of the connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub enum Provenance<'a> {
    /// It is one of our own servers': the caller asked [`server_of`](crate::server_of).
    Inside,
    /// It came from outside.
    Outside {
        /// The certificate that the peer holds the key of, if it showed one.
        certificate: Option<&'a PeerCertificate>,
        /// What [`MEMBER_HEADER`](crate::origin::MEMBER_HEADER) says; ignored unless a hub said it that is to be believed.
        member: Option<&'a Member>,
    },
}

/// What a request says.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Where it is going.
    pub direction: Direction,
    /// The domain at our end: of the Request-URI inbound, of From outbound. In transit the domain that it is going to.
    pub local: &'a str,
    /// The domain at the other end: of From inbound and in transit, of the Request-URI outbound. Within a dialog the one that it is
    /// with, whatever From says there.
    pub remote: &'a str,
    /// What it needs: [`Modalities::of`].
    pub modalities: Modalities,
    /// Its method.
    pub method: Method<'a>,
    /// Whether it belongs to a dialog that is up: what was begun may go on in both directions.
    pub within_dialog: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Allow(Road),
    /// It may not.
    Refuse(Refusal),
}

impl Verdict {
    /// The road, or why there is none.
    pub fn into_result(self) -> Result<Road, Refusal> {
        match self {
            Verdict::Allow(road) => Ok(road),
            Verdict::Refuse(refusal) => Err(refusal),
        }
    }
}

/// The one valid road to and from a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Road {
    /// The domain at its far end, in lower case: whom an inbound request comes from, whom any other goes to.
    pub domain: Arc<str>,
    /// What kind of road.
    pub mode: Mode,
    /// The hub that it leads through; exactly with [`Mode::Clearinghouse`].
    pub hub: Option<Arc<str>>,
    /// The server at its far end, and what it must prove.
    pub hop: Arc<PeerHop>,
    /// What may pass, of both ends of the road together.
    pub modalities: Modalities,
    /// The budgets that a request from outside uses up when it begins something; empty for what we send, and for
    /// discovered partners, who have budgets of their own.
    pub budgets: SmallVec<[Budget; 2]>,
    /// In transit: the member that the request comes from, to be said in [`MEMBER_HEADER`](crate::origin::MEMBER_HEADER).
    pub member: Option<Member>,
}

/// Requests a second that somebody may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Whose: a partner's domain or a hub's name.
    pub name: Arc<str>,
    /// From 1.
    pub per_second: u32,
}

impl Road {
    /// What an edge says inside about a request that came over this road, and whose From was proved like this.
    pub fn origin(&self, edge: &str, from: FromProof) -> Origin {
        Origin::Partner {
            domain: self.domain.to_string(),
            mode: self.mode,
            hub: self.hub.as_ref().map(|hub| hub.to_string()),
            from,
            edge: edge.to_owned(),
        }
    }
}

/// Whom a certificate proves, each under the rule of its entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proved<'a> {
    /// Partners and members with a road of their own, in the order of the policy; also those whose time is over.
    pub partners: Vec<&'a Partner>,
    /// Hubs, in the order of the policy.
    pub hubs: Vec<&'a Clearinghouse>,
    /// Domains that nobody listed, where discovery is on.
    pub discovered: Vec<String>,
}

impl Proved<'_> {
    /// Whether it proves nobody whom the policy knows: not a partner's connection then.
    pub fn is_nobody(&self) -> bool {
        self.partners.is_empty() && self.hubs.is_empty() && self.discovered.is_empty()
    }
}

/// Whom a certificate proves. Depends on the number of its names, not on that of the partners.
pub fn identify<'a>(policy: &'a Policy, certificate: &PeerCertificate) -> Proved<'a> {
    let is_proved = |expected: &Expected| expected.is_met_by(Some(certificate)).is_ok();
    let (partners, hubs) = those_named(policy, certificate, is_proved);
    let is_open = policy.discovery().enabled && certificate.is_trusted_by(&Anchors::Partners);
    let unlisted = certificate.sip_domains.iter().filter(|domain| {
        is_open && matches!(policy.standing(domain), Standing::Unlisted) && Normal::of(domain).is_some()
    });
    Proved { partners, hubs, discovered: unlisted.cloned().collect() }
}

/// Whether a certificate bears the name of somebody in the policy whom it does not prove: when it was judged, its chain led to no CA that
/// is believed for that one. Perhaps it does now.
pub fn claims_more(policy: &Policy, certificate: &PeerCertificate) -> bool {
    let is_only_claimed = |expected: &Expected| {
        expected.is_named_by(certificate) && expected.is_met_by(Some(certificate)).is_err()
    };
    let (partners, hubs) = those_named(policy, certificate, is_only_claimed);
    !partners.is_empty() || !hubs.is_empty()
}

/// The partners and hubs that a certificate may be of, by its names, and of whose servers something holds.
fn those_named<'a>(
    policy: &'a Policy,
    certificate: &PeerCertificate,
    holds: impl Fn(&Expected) -> bool,
) -> (Vec<&'a Partner>, Vec<&'a Clearinghouse>) {
    let addresses: SmallVec<[String; 2]> = certificate.ip_addresses.iter().map(|a| a.to_string()).collect();
    let names = certificate.dns_names.iter().chain(&certificate.sip_domains).chain(&addresses);
    let (mut partners, mut hubs) = policy.candidates(names.map(String::as_str), &certificate.sha256);
    partners.retain(|partner| partner.server.as_ref().is_some_and(|server| holds(&server.hop.expected)));
    hubs.retain(|hub| holds(&hub.server.hop.expected));
    (partners, hubs)
}

/// Decides on a request.
pub fn judge(policy: &Policy, provenance: &Provenance<'_>, facts: &Facts<'_>, now: UnixMillis) -> Verdict {
    let result = match facts.direction {
        Direction::Inbound => inbound(policy, provenance, facts, now),
        Direction::Outbound => outbound(policy, provenance, facts, now),
        Direction::Transit => transit(policy, provenance, facts, now),
    };
    match result {
        Ok(road) => Verdict::Allow(road),
        Err(reason) => Verdict::Refuse(Refusal { status: reason.status(), reason: *reason }),
    }
}

/// Boxed: most requests are allowed, and their way should not carry the room for a reason.
type Judged<T> = Result<T, Box<Reason>>;

fn inbound(policy: &Policy, provenance: &Provenance<'_>, facts: &Facts<'_>, now: UnixMillis) -> Judged<Road> {
    let road = come_from(policy, provenance, facts, now)?;
    if !policy.is_local(facts.local) {
        return refuse(Reason::Relay { domain: shown(facts.local) });
    }
    Ok(road)
}

fn outbound(
    policy: &Policy,
    provenance: &Provenance<'_>,
    facts: &Facts<'_>,
    now: UnixMillis,
) -> Judged<Road> {
    if !matches!(provenance, Provenance::Inside) || !policy.is_local(facts.local) {
        return refuse(Reason::Relay { domain: shown(facts.local) });
    }
    let domain = normal(facts.remote)?;
    let end = match policy.standing_of(&domain) {
        Standing::Ours => return refuse(Reason::StaysInside { domain: shown(facts.remote) }),
        Standing::Own(partner, _) if partner.mode == PartnerMode::Member => {
            return refuse(Reason::MembersOnly { domain: partner.domain.clone() });
        }
        standing => End::of(policy, &domain, standing)?,
    };
    end.check(facts, Way::Out, now)?;
    Ok(end.road())
}

/// Members talk with members. A hub has no domain of its own, and passes nothing on for anybody else.
fn transit(policy: &Policy, provenance: &Provenance<'_>, facts: &Facts<'_>, now: UnixMillis) -> Judged<Road> {
    let from = come_from(policy, provenance, facts, now)?;
    let domain = normal(facts.local)?;
    if domain.as_str() == &*from.domain {
        return refuse(Reason::BackToSender { domain: from.domain });
    }
    let end = match policy.standing_of(&domain) {
        standing @ Standing::Blocked(_) => End::of(policy, &domain, standing)?,
        standing @ Standing::Own(partner, _) if partner.mode == PartnerMode::Member => {
            End::of(policy, &domain, standing)?
        }
        _ => return refuse(Reason::NotMember { domain: shown(facts.local) }),
    };
    end.check(facts, Way::Out, now)?;
    let to = end.road();
    let member = Some(Member::new(&from.domain).expect("a domain of the policy is a domain"));
    Ok(Road { modalities: to.modalities.and(from.modalities), budgets: from.budgets, member, ..to })
}

/// The sender's half: that From is proved by the connection, over the one road that is valid for it.
fn come_from(
    policy: &Policy,
    provenance: &Provenance<'_>,
    facts: &Facts<'_>,
    now: UnixMillis,
) -> Judged<Road> {
    let Provenance::Outside { certificate, member } = *provenance else {
        return refuse(Reason::Relay { domain: shown(facts.remote) });
    };
    let domain = normal(facts.remote)?;
    let in_transit = facts.direction == Direction::Transit;
    let end = match policy.standing_of(&domain) {
        Standing::Ours => return refuse(Reason::SpeaksForUs { domain: shown(facts.remote) }),
        standing @ Standing::Blocked(_) => End::of(policy, &domain, standing)?,
        Standing::Own(partner, _) if !in_transit && partner.mode == PartnerMode::Member => {
            return refuse(Reason::MembersOnly { domain: partner.domain.clone() });
        }
        Standing::Own(partner, server) if !in_transit || partner.mode == PartnerMode::Member => {
            End::own(partner, server)
        }
        _ if in_transit => return refuse(Reason::NotMember { domain: shown(facts.remote) }),
        standing => End::of(policy, &domain, standing)?,
    };
    end.is_proved(policy, certificate, member)?;
    end.check(facts, Way::In, now)?;
    let road = end.road();
    Ok(Road { budgets: end.budgets(), ..road })
}

fn refuse<T>(reason: Reason) -> Judged<T> {
    Err(Box::new(reason))
}

fn normal(domain: &str) -> Judged<Normal> {
    Normal::of(domain).ok_or_else(|| Box::new(Reason::NoDomain))
}

/// A domain as the reason of a refusal names it; what is no domain is not repeated to anybody.
fn shown(domain: &str) -> Arc<str> {
    Normal::of(domain).map_or(Arc::from("?"), |domain| Arc::from(domain.as_str()))
}

/// The far end of a road.
enum End<'a> {
    Own { partner: &'a Partner, hop: &'a Arc<PeerHop> },
    Through { domain: Arc<str>, hub: &'a Clearinghouse, partner: Option<&'a Partner> },
    Discovered { domain: Arc<str>, policy: &'a Policy },
}

impl<'a> End<'a> {
    fn of(policy: &'a Policy, domain: &Normal, standing: Standing<'a>) -> Judged<End<'a>> {
        match standing {
            Standing::Blocked(_) => refuse(Reason::Blocked { domain: domain.as_str().into() }),
            Standing::Own(partner, server) => Ok(End::own(partner, server)),
            Standing::Through(hub, partner) => {
                let domain = partner.map_or_else(|| domain.as_str().into(), |partner| partner.domain.clone());
                Ok(End::Through { domain, hub, partner })
            }
            Standing::Unlisted if policy.discovery().enabled => {
                Ok(End::Discovered { domain: domain.as_str().into(), policy })
            }
            Standing::Unlisted | Standing::Ours => {
                refuse(Reason::Unlisted { domain: domain.as_str().into() })
            }
        }
    }

    fn own(partner: &'a Partner, server: &'a crate::policy::Server) -> End<'a> {
        End::Own { partner, hop: &server.hop }
    }

    /// That the connection is the one over which this domain comes.
    fn is_proved(
        &self,
        policy: &Policy,
        certificate: Option<&PeerCertificate>,
        member: Option<&Member>,
    ) -> Judged<()> {
        let (domain, met) = match self {
            End::Own { partner, hop } => (&partner.domain, hop.expected.is_met_by(certificate)),
            End::Through { domain, hub, .. } => (domain, hub.server.hop.expected.is_met_by(certificate)),
            End::Discovered { domain, .. } => (domain, discovered(domain).expected.is_met_by(certificate)),
        };
        if let Err(unmet) = met {
            return refuse(match certificate.and_then(|certificate| self.other_road(policy, certificate)) {
                Some(came) => Reason::WrongRoad { domain: domain.clone(), came, right: self.hub_name() },
                None => Reason::NotProved { domain: domain.clone(), hub: self.hub_name(), unmet },
            });
        }
        let End::Through { domain, hub, .. } = self else { return Ok(()) };
        match (hub.vouches, member) {
            (Vouches::MemberList, _) => Ok(()),
            (Vouches::MemberHeader, None) => {
                refuse(Reason::NoMember { hub: hub.name.clone(), domain: domain.clone() })
            }
            (Vouches::MemberHeader, Some(member)) if member.domain() == &**domain => Ok(()),
            (Vouches::MemberHeader, Some(member)) => refuse(Reason::OtherMember {
                hub: hub.name.clone(),
                domain: domain.clone(),
                said: member.domain().into(),
            }),
        }
    }

    /// The road that a connection with this certificate is, if it could be mistaken for one of this domain's: through
    /// `Some(hub)`, or directly.
    fn other_road(&self, policy: &Policy, certificate: &PeerCertificate) -> Option<Option<Arc<str>>> {
        if let Some(hub) = identify(policy, certificate).hubs.first() {
            return Some(Some(hub.name.clone()));
        }
        let End::Through { domain, partner, .. } = self else { return None };
        let server = partner.and_then(|partner| partner.server.as_ref());
        let is_own = server.is_some_and(|server| server.hop.expected.is_met_by(Some(certificate)).is_ok())
            || discovered(domain).expected.is_met_by(Some(certificate)).is_ok();
        is_own.then_some(None)
    }

    /// That the relationship is in force and carries what is asked for.
    fn check(&self, facts: &Facts<'_>, way: Way, now: UnixMillis) -> Judged<()> {
        if matches!(facts.method, Method::Register | Method::Publish) {
            return refuse(Reason::Method {
                domain: self.domain().clone(),
                method: facts.method.as_str().into(),
            });
        }
        for (name, terms) in self.terms() {
            if let Some(last) = terms.expires.filter(|_| terms.has_expired(now)) {
                return refuse(Reason::Expired { name: name.clone(), last });
            }
        }
        let begins = |allows: Allows| match way {
            Way::In => allows != Allows::Outbound,
            Way::Out => allows != Allows::Inbound,
        };
        if !facts.within_dialog && !self.allows().all(begins) {
            return refuse(Reason::OneWay { domain: self.domain().clone(), way });
        }
        let refused = facts.modalities.without(self.modalities());
        if !refused.is_empty() {
            return refuse(Reason::Modality { domain: self.domain().clone(), refused });
        }
        Ok(())
    }

    fn road(&self) -> Road {
        let (mode, hop) = match self {
            End::Own { hop, .. } => (Mode::Direct, Arc::clone(hop)),
            End::Through { hub, .. } => (Mode::Clearinghouse, Arc::clone(&hub.server.hop)),
            End::Discovered { domain, .. } => (Mode::Discovered, discovered(domain)),
        };
        Road {
            domain: self.domain().clone(),
            mode,
            hub: self.hub_name(),
            hop,
            modalities: self.modalities(),
            budgets: SmallVec::new(),
            member: None,
        }
    }

    fn domain(&self) -> &Arc<str> {
        match self {
            End::Own { partner, .. } => &partner.domain,
            End::Through { domain, .. } | End::Discovered { domain, .. } => domain,
        }
    }

    fn hub_name(&self) -> Option<Arc<str>> {
        match self {
            End::Through { hub, .. } => Some(hub.name.clone()),
            End::Own { .. } | End::Discovered { .. } => None,
        }
    }

    /// The terms that hold, each with whose they are: the hub's for all its members, an entry's for its domain.
    fn terms(&self) -> SmallVec<[(&Arc<str>, &Terms); 2]> {
        match self {
            End::Own { partner, .. } => smallvec![(&partner.domain, &partner.terms)],
            End::Through { hub, partner, .. } => {
                let own = partner.map(|partner| (&partner.domain, &partner.terms));
                std::iter::once((&hub.name, &hub.terms)).chain(own).collect()
            }
            End::Discovered { .. } => SmallVec::new(),
        }
    }

    fn allows(&self) -> impl Iterator<Item = Allows> {
        let discovery = match self {
            End::Discovered { policy, .. } => Some(policy.discovery().allows),
            End::Own { .. } | End::Through { .. } => None,
        };
        self.terms().into_iter().map(|(_, terms)| terms.allows).chain(discovery)
    }

    fn modalities(&self) -> Modalities {
        match self {
            End::Discovered { policy, .. } => policy.discovery().modalities,
            End::Own { .. } | End::Through { .. } => {
                self.terms().iter().fold(Modalities::ALL, |all, (_, terms)| all.and(terms.modalities))
            }
        }
    }

    fn budgets(&self) -> SmallVec<[Budget; 2]> {
        let budget = |(name, terms): (&Arc<str>, &Terms)| Budget {
            name: name.clone(),
            per_second: terms.rate_per_second,
        };
        self.terms().into_iter().map(budget).collect()
    }
}
