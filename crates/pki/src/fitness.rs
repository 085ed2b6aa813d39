//! For which parts of a deployment a certificate chain will do, and what it lacks for the others.
//!
//! It is advice to the person who holds the files, before anything runs with them. Whether a peer is believed is
//! decided elsewhere, when it is there.

use crate::facts::RSA_BITS_MIN;
use crate::{CertificateFacts, KeyFacts, PkiError, is_issued_by};

/// Longest validity that Apple's systems take of a server, in days.
const SERVER_DAYS_MAX: i64 = 825;
const SECONDS_PER_DAY: i64 = 24 * 3600;

/// Where a certificate can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A Front End or Director: clients and our other servers connect to it.
    Server,
    /// The inside of an Access Edge: our servers only.
    EdgeInside,
    /// The outside of an Access Edge or of a clearinghouse: partners, hubs and remote users.
    EdgeOutside,
    /// A person's or device's sign-in.
    Client,
    /// An anchor: the file that others trust.
    Anchor,
}

impl Part {
    /// All of them, in the order in which they are told.
    pub const ALL: [Part; 5] =
        [Part::Server, Part::EdgeInside, Part::EdgeOutside, Part::Client, Part::Anchor];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Part::Server => "server",
            Part::EdgeInside => "edge-inside",
            Part::EdgeOutside => "edge-outside",
            Part::Client => "client",
            Part::Anchor => "anchor",
        }
    }
}

/// What a chain is worth in one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitness {
    /// Which.
    pub part: Part,
    /// What it lacks there. Empty: nothing.
    pub lacks: Vec<Lack>,
}

impl Fitness {
    /// Whether it will do, with or without reservations.
    pub fn fits(&self) -> bool {
        self.lacks.iter().all(|lack| lack.weight == Weight::Limits)
    }
}

/// One thing that a chain lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// How much that matters.
    pub weight: Weight,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub mend: String,
}

/// How much a lack matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It will not do.
    Prevents,
    /// It will do for some peers, or for some time.
    Limits,
}

/// Holds a chain (DER, the holder's certificate first) against each part. `anchors` are the CAs that peers trust,
/// as far as the caller knows them.
pub fn fitness(
    chain: &[Vec<u8>],
    anchors: &[Vec<u8>],
    now_unix_seconds: i64,
) -> Result<Vec<Fitness>, PkiError> {
    let certificates = chain.iter().map(|der| CertificateFacts::read(der)).collect::<Result<Vec<_>, _>>()?;
    let Some(leaf) = certificates.first() else {
        return Err(PkiError::malformed("the chain", "it holds no certificate"));
    };
    let anchor_facts =
        anchors.iter().map(|der| CertificateFacts::read(der)).collect::<Result<Vec<_>, _>>()?;
    let mut common = Lacks::default();
    common.dates(leaf, now_unix_seconds);
    common.strength(leaf);
    let mut shared = Lacks(common.0.clone());
    shared.chain(chain, &certificates, anchors)?;
    let above = certificates[1..].iter().chain(&anchor_facts).filter(|facts| facts.is_authority);
    shared.constraints(leaf, above);
    let parts = Part::ALL.into_iter().map(|part| {
        let mut lacks = if part == Part::Anchor { Lacks(common.0.clone()) } else { Lacks(shared.0.clone()) };
        match part {
            Part::Server => lacks.server(leaf),
            Part::EdgeInside => lacks.edge_inside(leaf),
            Part::EdgeOutside => lacks.edge_outside(leaf),
            Part::Client => lacks.client(leaf),
            Part::Anchor => lacks.anchor(leaf),
        }
        Fitness { part, lacks: lacks.0 }
    });
    Ok(parts.collect())
}

#[derive(Default)]
struct Lacks(Vec<Lack>);

impl Lacks {
    fn prevents(&mut self, text: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Lack { weight: Weight::Prevents, text: text.into(), mend: mend.into() });
    }

    fn limits(&mut self, text: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Lack { weight: Weight::Limits, text: text.into(), mend: mend.into() });
    }

    fn dates(&mut self, leaf: &CertificateFacts, now: i64) {
        if now < leaf.not_before_unix_seconds {
            self.prevents("it is not valid yet", "look at the clock, or wait");
        } else if !leaf.is_valid_at(now) {
            self.prevents("it has ended", "renew it");
        }
    }

    fn strength(&mut self, leaf: &CertificateFacts) {
        match leaf.key {
            KeyFacts::Rsa(bits) if bits < RSA_BITS_MIN => self.prevents(
                format!("its RSA key has {bits} bits, too few for TLS"),
                "make a new key: ECDSA P-256, or RSA with 2048 bits or more",
            ),
            KeyFacts::Other => {
                self.prevents("its key is of a kind that TLS does not take", "make an ECDSA P-256 key")
            }
            KeyFacts::Rsa(_) | KeyFacts::Curve(_) => {}
        }
        if leaf.has_weak_signature && !leaf.is_self_signed {
            self.prevents("it is signed with SHA-1 or MD5", "have the CA sign with SHA-256");
        }
    }

    /// That each certificate is issued by the next one, and the last one by an anchor where anchors are known.
    fn chain(
        &mut self,
        chain: &[Vec<u8>],
        certificates: &[CertificateFacts],
        anchors: &[Vec<u8>],
    ) -> Result<(), PkiError> {
        for (at, pair) in chain.windows(2).enumerate() {
            if !is_issued_by(&pair[0], &pair[1])? {
                self.prevents(
                    format!("certificate {} of the file is not issued by certificate {}", at + 1, at + 2),
                    format!("put {} behind it", certificates[at].issuer),
                );
                return Ok(());
            }
        }
        for (below, authority) in certificates[1..].iter().enumerate() {
            if authority.path_length.is_some_and(|length| (length as usize) < below) {
                self.prevents(
                    format!("{} may not stand above {below} further CAs (path length)", authority.subject),
                    "have it issued by a CA that may",
                );
            }
        }
        let last = certificates.last().expect("the chain holds a certificate");
        let last_der = chain.last().expect("the chain holds a certificate");
        let leads = |anchor: &Vec<u8>| anchor == last_der || is_issued_by(last_der, anchor).unwrap_or(false);
        if anchors.iter().any(leads) {
            return Ok(());
        }
        match (anchors.is_empty(), last.is_self_signed, certificates.len()) {
            (false, _, _) => self.prevents(
                format!("the file ends at {}, which none of the given CAs issued", last.subject),
                format!("append the certificate of {} to the file, or trust that CA", last.issuer),
            ),
            (true, true, 1) if !last.is_authority => self.limits(
                "it signed itself: no CA stands behind it",
                "use a CA; until then peers can only pin it (sha256 above)",
            ),
            (true, true, _) => {}
            (true, false, _) => self.limits(
                format!("peers must trust {} itself: the file ends there", last.issuer),
                "if that is an intermediate CA, append its certificate to the file; `--ca FILE` proves it",
            ),
        }
        Ok(())
    }

    fn constraints<'a>(
        &mut self,
        leaf: &CertificateFacts,
        above: impl Iterator<Item = &'a CertificateFacts>,
    ) {
        for authority in above {
            let mend = "use another CA, or have its constraints widened";
            let persons = leaf.persons.iter().filter_map(|person| Some((person, person.split_once('@')?.1)));
            let names = leaf.dns_names.iter().chain(&leaf.sip_uri_domains);
            let outside = names
                .map(|name| (name, name.as_str()))
                .chain(persons)
                .find(|(_, host)| !authority.constraints.permit_domain(host));
            let address =
                leaf.ip_addresses.iter().find(|address| !authority.constraints.permit_address(**address));
            let name = outside.map(|(name, _)| name.clone()).or(address.map(ToString::to_string));
            if let Some(name) = name {
                let text =
                    format!("{} may not issue for {name}: {}", authority.subject, authority.constraints);
                self.prevents(text, mend);
            }
        }
    }

    fn end_entity(&mut self, leaf: &CertificateFacts) {
        if leaf.is_authority {
            self.prevents("it is the certificate of a CA", "issue one of its own: chancery ca issue");
        }
        if !leaf.may_sign {
            self.prevents(
                "its key may not sign handshakes (key usage digitalSignature)",
                "have it issued with key usage digitalSignature",
            );
        }
    }

    /// What everybody wants who connects to a server.
    fn host(&mut self, leaf: &CertificateFacts) {
        self.end_entity(leaf);
        if !leaf.usages.server {
            self.prevents(
                "it may not serve (no extended key usage serverAuth)",
                "have it issued with serverAuth",
            );
        }
        let names_a_host = leaf.dns_names.iter().any(|name| !name.contains('*'));
        if !names_a_host && leaf.dns_names.is_empty() {
            self.prevents("it names no host", "have the server's FQDN added as a DNS name");
        } else if !names_a_host {
            self.prevents(
                "it names hosts by wildcard only, which proves nothing in SIP (RFC 5922)",
                "have the server's FQDN added as a DNS name",
            );
        }
        let days = (leaf.not_after_unix_seconds - leaf.not_before_unix_seconds) / SECONDS_PER_DAY;
        if days > SERVER_DAYS_MAX {
            self.limits(
                format!("it is valid for {days} days: Apple's systems refuse more than {SERVER_DAYS_MAX}"),
                "have it issued for less",
            );
        }
    }

    fn server(&mut self, leaf: &CertificateFacts) {
        self.host(leaf);
        self.client_usage(leaf, "our own servers take it where it connects");
        if leaf.sip_uri_domains.is_empty() {
            self.limits(
                format!("it has no sip: URI name: by RFC 5922 it speaks for {}", listed(&leaf.sip_domains)),
                "have `URI:sip:DOMAIN` added for each SIP domain, if clients compare them",
            );
        }
    }

    fn edge_inside(&mut self, leaf: &CertificateFacts) {
        self.host(leaf);
        self.client_usage(leaf, "our own servers take it where it connects");
    }

    fn edge_outside(&mut self, leaf: &CertificateFacts) {
        self.host(leaf);
        self.client_usage(leaf, "partners with Chancery take it, by the rule that they configured");
        if leaf.sip_uri_domains.is_empty() {
            self.limits(
                format!("it has no sip: URI name: by RFC 5922 it speaks for {}", listed(&leaf.sip_domains)),
                "partners need the rule `fqdn` or a pin, unless a SIP domain is among these names",
            );
        }
    }

    /// Public CAs have stopped issuing for clients; that is no fault of the operator's.
    fn client_usage(&mut self, leaf: &CertificateFacts, but: &str) {
        if !leaf.usages.client {
            self.limits(
                format!("it may not connect (no extended key usage clientAuth); {but}"),
                "servers of other makes need clientAuth: use a private CA for them",
            );
        }
    }

    fn client(&mut self, leaf: &CertificateFacts) {
        self.end_entity(leaf);
        if !leaf.usages.client {
            self.prevents(
                "it may not sign anybody in (no extended key usage clientAuth)",
                "issue it with --kind client",
            );
        }
        if leaf.persons.is_empty() {
            self.prevents("it names no person", "have `URI:sip:USER@DOMAIN` added");
        }
    }

    fn anchor(&mut self, leaf: &CertificateFacts) {
        if !leaf.is_authority {
            self.prevents(
                "it is no CA's certificate",
                "use it as a pin (sha256 above), or take its CA's certificate",
            );
        }
        if leaf.is_authority && !leaf.is_self_signed {
            self.limits(
                "it is an intermediate CA: some programs want the root",
                format!("take the certificate of {}, unless this CA alone is to be trusted", leaf.issuer),
            );
        }
        if leaf.is_authority && leaf.constraints.is_empty() {
            self.limits(
                "it may issue for any name in the world",
                "trust it for one partner only (`authority_file` of the partner), or use the rule `fqdn` or a pin",
            );
        }
    }
}

fn listed(names: &[String]) -> String {
    match names.is_empty() {
        true => "no domain".to_owned(),
        false => names.join(", "),
    }
}
