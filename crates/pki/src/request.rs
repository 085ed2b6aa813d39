//! What a certificate is asked to be: its kind, its names, its usages.

use std::net::IpAddr;

use rcgen::{ExtendedKeyUsagePurpose, SanType};

use crate::names::is_dns_name;
use crate::{CertificateFacts, Constraints, PkiError, ServerNames};

/// How long a server certificate is valid, in days. Apple's systems refuse more than 825 from any CA; some days
/// are left for the backdating.
pub const SERVER_VALID_DAYS: u64 = 820;
/// How long a person's or device's certificate is valid, in days: devices are lost, and people leave.
pub const CLIENT_VALID_DAYS: u64 = 365;
/// Most names of one kind in a certificate: an organisation's domains and hosts fit, and the TLS handshake stays in a
/// few packets.
pub const NAMES_MAX: usize = 100;
/// Longest user part of an address in a certificate, in octets: RFC 5280 bounds nothing here, mail allows 64.
const USER_OCTETS_MAX: usize = 64;

/// `id-kp-sipDomain` (RFC 5924 §4): the certificate speaks for SIP domains.
pub(crate) const SIP_DOMAIN_USAGE: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 20];

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A Front End or Director.
    Server,
    /// The inside of an Access Edge: one of our servers, which speaks for no SIP domain.
    EdgeInside,
    /// The outside of an Access Edge or a clearinghouse: speaks for SIP domains to partners, and serves remote users.
    EdgeOutside,
    /// A person or device that signs in with it.
    Client,
    /// The edge of another organisation, where that organisation has no CA of its own.
    Partner,
}

impl Kind {
    /// All of them, in the order in which they are told.
    pub const ALL: [Kind; 5] =
        [Kind::Server, Kind::EdgeInside, Kind::EdgeOutside, Kind::Client, Kind::Partner];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Server => "server",
            Kind::EdgeInside => "edge-inside",
            Kind::EdgeOutside => "edge-outside",
            Kind::Client => "client",
            Kind::Partner => "partner",
        }
    }

    /// How long one is valid unless asked otherwise, in days; also the longest.
    pub fn valid_days(self) -> u64 {
        match self {
            Kind::Client => CLIENT_VALID_DAYS,
            Kind::Server | Kind::EdgeInside | Kind::EdgeOutside | Kind::Partner => SERVER_VALID_DAYS,
        }
    }
}

/// What a certificate may be used for (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usages {
    /// `serverAuth`: it may answer a TLS handshake.
    pub server: bool,
    /// `clientAuth`: it may begin one.
    pub client: bool,
    /// `sipDomain` (RFC 5924): it may speak for a SIP domain.
    pub sip_domain: bool,
}

/// Names and usages of a certificate to be issued. Checked: all names are well formed, and there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(crate) hosts: Vec<String>,
    pub(crate) domains: Vec<String>,
    pub(crate) persons: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) usages: Usages,
    pub(crate) days: u64,
}

impl Request {
    /// A certificate of `kind` for `name`: a host name or, for a client, also a person's address (`alice@a.example`).
    /// `domains` are the SIP domains that it speaks for.
    pub fn new(
        kind: Kind,
        name: &str,
        domains: &[String],
        addresses: &[IpAddr],
        days: Option<u64>,
    ) -> Result<Request, PkiError> {
        match kind {
            Kind::EdgeInside | Kind::Client if !domains.is_empty() => {
                let reason = "a certificate of this kind speaks for no SIP domain: leave --domain away";
                return Err(PkiError::refused(&domains[0], reason));
            }
            Kind::EdgeOutside | Kind::Partner if domains.is_empty() => {
                let reason = "it needs the SIP domains that it speaks for (RFC 5922): give --domain";
                return Err(PkiError::refused(name, reason));
            }
            _ => {}
        }
        let is_person = kind == Kind::Client && name.contains('@');
        let (mut hosts, mut persons) = (Vec::new(), Vec::new());
        match is_person {
            true => persons.push(name.to_owned()),
            false => hosts.push(name.to_owned()),
        }
        // Clients that know no `sip:` URI names compare the domain of their account with the DNS names. Servers of
        // partners connect to the host, and the fewer names a partner's certificate bears, the better.
        if matches!(kind, Kind::Server | Kind::EdgeOutside) {
            hosts.extend_from_slice(domains);
        }
        let usages = Usages {
            server: kind != Kind::Client,
            // Each of our servers opens connections too, and partners must prove themselves in both directions.
            client: true,
            sip_domain: !domains.is_empty(),
        };
        let days = days.unwrap_or(kind.valid_days());
        if !(1..=kind.valid_days()).contains(&days) {
            let reason = format!("a certificate of this kind is valid for 1 to {} days", kind.valid_days());
            return Err(PkiError::refused(name, reason));
        }
        Request { hosts, domains: domains.to_vec(), persons, addresses: addresses.to_vec(), usages, days }
            .checked()
    }

    /// A server's certificate with these names.
    pub fn for_server(names: &ServerNames, days: u64) -> Result<Request, PkiError> {
        Request {
            hosts: names.hosts.iter().chain(&names.domains).cloned().collect(),
            domains: names.domains.clone(),
            persons: Vec::new(),
            addresses: names.addresses.clone(),
            usages: Usages { server: true, client: true, sip_domain: !names.domains.is_empty() },
            days,
        }
        .checked()
    }

    /// The same names and usages once more.
    pub fn renewing(certificate: &CertificateFacts, days: Option<u64>) -> Result<Request, PkiError> {
        let kind_days = if certificate.usages.server { SERVER_VALID_DAYS } else { CLIENT_VALID_DAYS };
        let days = days.unwrap_or(kind_days);
        if certificate.is_authority || !(1..=kind_days).contains(&days) {
            let reason = match certificate.is_authority {
                true => "it is a CA".to_owned(),
                false => format!("a certificate of this kind is valid for 1 to {kind_days} days"),
            };
            return Err(PkiError::refused(&certificate.subject, reason));
        }
        Request {
            hosts: certificate.dns_names.clone(),
            domains: certificate.sip_uri_domains.clone(),
            persons: certificate.persons.clone(),
            addresses: certificate.ip_addresses.clone(),
            usages: certificate.usages,
            days,
        }
        .checked()
    }

    /// In the order of the certificate: domains, persons, hosts, addresses.
    pub fn names(&self) -> Vec<String> {
        let domains = self.domains.iter().map(|domain| format!("sip:{domain}"));
        let persons = self.persons.iter().map(|person| format!("sip:{person}"));
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        domains.chain(persons).chain(self.hosts.iter().cloned()).chain(addresses).collect()
    }

    fn checked(mut self) -> Result<Request, PkiError> {
        for list in [&mut self.hosts, &mut self.domains] {
            for name in list.iter_mut() {
                *name = checked_name(name)?;
            }
            keep_first_of_each(list);
        }
        for person in &mut self.persons {
            *person = checked_person(person)?;
        }
        keep_first_of_each(&mut self.addresses);
        for count in [self.hosts.len(), self.domains.len(), self.addresses.len()] {
            if count > NAMES_MAX {
                return Err(PkiError::refused("", format!("more than {NAMES_MAX} names of one kind")));
            }
        }
        match self.shown_name() {
            Some(_) => Ok(self),
            None => Err(PkiError::refused("", "it has no name")),
        }
    }

    /// Refuses a name that a CA with these constraints may not issue for.
    pub(crate) fn hold_against(&self, constraints: &Constraints) -> Result<(), PkiError> {
        let reason = || format!("the CA may issue for these only: {constraints}");
        let persons = self.persons.iter().filter_map(|person| Some((person, person.split_once('@')?.1)));
        let names = self.hosts.iter().chain(&self.domains).map(|name| (name, name.as_str())).chain(persons);
        for (name, host) in names {
            if !constraints.permit_domain(host) {
                return Err(PkiError::refused(name, reason()));
            }
        }
        match self.addresses.iter().find(|address| !constraints.permit_address(**address)) {
            Some(address) => Err(PkiError::refused(&address.to_string(), reason())),
            None => Ok(()),
        }
    }

    /// The common name: what people see in lists.
    pub(crate) fn shown_name(&self) -> Option<String> {
        let first = self.persons.first().or(self.hosts.first()).or(self.domains.first()).cloned();
        first.or_else(|| self.addresses.first().map(IpAddr::to_string))
    }

    pub(crate) fn alternative_names(&self) -> Result<Vec<SanType>, PkiError> {
        let text = |name: &str, text: String| {
            text.try_into().map_err(|_| PkiError::refused(name, "it holds a character outside ASCII"))
        };
        let mut names = Vec::new();
        for name in self.domains.iter().chain(&self.persons) {
            names.push(SanType::URI(text(name, format!("sip:{name}"))?));
        }
        for name in &self.hosts {
            names.push(SanType::DnsName(text(name, name.clone())?));
        }
        names.extend(self.addresses.iter().map(|address| SanType::IpAddress(*address)));
        Ok(names)
    }

    pub(crate) fn extended_key_usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        let Usages { server, client, sip_domain } = self.usages;
        let sip_domain_usage = ExtendedKeyUsagePurpose::Other(SIP_DOMAIN_USAGE.to_vec());
        [
            (server, ExtendedKeyUsagePurpose::ServerAuth),
            (client, ExtendedKeyUsagePurpose::ClientAuth),
            (sip_domain, sip_domain_usage),
        ]
        .into_iter()
        .filter_map(|(is_wanted, usage)| is_wanted.then_some(usage))
        .collect()
    }
}

/// RFC 5922 §7.2 compares whole names: a wildcard would prove nothing to a SIP server, so none is issued.
pub(crate) fn checked_name(name: &str) -> Result<String, PkiError> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if name.contains('*') {
        return Err(PkiError::refused(&name, "SIP knows no wildcards in certificates (RFC 5922 §7.2)"));
    }
    if !is_dns_name(&name) {
        return Err(PkiError::refused(&name, "it is no DNS name"));
    }
    Ok(name)
}

/// A user part of characters that need no escape in a URI (RFC 3261 §25.1), so that nobody compares two spellings.
fn checked_person(address: &str) -> Result<String, PkiError> {
    let (user, domain) =
        address.split_once('@').ok_or_else(|| PkiError::refused(address, "it is no address"))?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$".contains(&b);
    if user.is_empty() || user.len() > USER_OCTETS_MAX || !user.bytes().all(is_plain) {
        return Err(PkiError::refused(address, "its user part cannot stand in a certificate"));
    }
    Ok(format!("{user}@{}", checked_name(domain)?))
}

fn keep_first_of_each<T: Ord + Clone>(list: &mut Vec<T>) {
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|item| seen.insert(item.clone()));
}
