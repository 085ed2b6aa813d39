//! What our servers tell each other about where a request came from (design: a request's life).
//!
//! An edge carries many people and partners on one inner connection, so the flow alone tells the next server nothing.
//! The edge computes the provenance from the outer flow and says it in one header, `Chancery-Origin`:
//!
//! ```text
//! Chancery-Origin: remote;flow=TOKEN;edge=edge.contoso.example;cert=<64 hex>
//! Chancery-Origin: partner;domain=fabrikam.example;mode=direct;edge=edge.contoso.example
//! Chancery-Origin: partner;domain=northwind.example;mode=clearinghouse;hub=hub.trade.example;edge=edge.contoso.example
//! Chancery-Origin: partner;domain=fabrikam.example;mode=direct;from=dialog;edge=edge.contoso.example
//! Chancery-Origin: remote;flow=TOKEN;from=dialog;edge=edge.contoso.example
//! ```
//!
//! There is one spelling for each origin: what [`Origin::parse`] takes, [`Origin`] prints again octet by octet. Anything
//! else is refused, never repaired; it was written by a server of ours, or by somebody who would like to be one.
//!
//! The header is worth as much as the flow that it came on: [`server_of`] says whether a flow is one of our servers',
//! [`ServerRole::may_assert`] what a server of its role may say. Every hop removes [`TRUST_HEADERS`] from everybody else.

use std::borrow::Borrow;
use std::fmt;

use node::{Anchors, Peer, Side, Transport};
use sip_message::Message;

use crate::name::{Normal, domain_name, host_name};

/// Name of the header that holds an [`Origin`].
pub const ORIGIN_HEADER: &str = "Chancery-Origin";
/// Name of the header in which a clearinghouse names the member that it speaks for.
pub const MEMBER_HEADER: &str = "Chancery-Member";
/// The headers that are believed from our own servers and hubs only, and removed from everybody else's messages.
pub const TRUST_HEADERS: [&str; 4] =
    [ORIGIN_HEADER, MEMBER_HEADER, "P-Asserted-Identity", "P-Preferred-Identity"];

/// Longest flow token, in octets. The edge's own are far shorter; the limit keeps a header within a line of the log.
const FLOW_TOKEN_OCTETS_MAX: usize = 256;

/// What a server of ours does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerRole {
    /// Homes users.
    FrontEnd,
    /// Authenticates users who come from outside.
    Director,
    /// The SIP border.
    AccessEdge,
}

/// What a server of ours can say about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assertion {
    /// An [`Origin::Remote`].
    RemoteOrigin,
    /// An [`Origin::Partner`].
    PartnerOrigin,
    /// P-Asserted-Identity of a user of ours (RFC 3325 §9.1).
    OurUser,
}

impl ServerRole {
    /// Every role, in the order of their names' table.
    pub const ALL: [ServerRole; 3] = [ServerRole::FrontEnd, ServerRole::Director, ServerRole::AccessEdge];

    /// As configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            ServerRole::FrontEnd => "front-end",
            ServerRole::Director => "director",
            ServerRole::AccessEdge => "access-edge",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<ServerRole> {
        ServerRole::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether a server of this role is believed when it says so. An edge authenticates nobody, so it never asserts a
    /// user; a Front End stands behind the perimeter, so nothing from outside comes through it.
    pub fn may_assert(self, assertion: Assertion) -> bool {
        match self {
            ServerRole::FrontEnd => assertion == Assertion::OurUser,
            ServerRole::Director => true,
            ServerRole::AccessEdge => assertion != Assertion::OurUser,
        }
    }
}

/// A server of ours, as the configuration lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedServer {
    /// The host name that its certificate bears.
    pub host: String,
    /// What it does.
    pub role: ServerRole,
}

/// The listed server that the connection is with: from inside, over TLS, with a certificate of our own anchors that bears
/// its host name. The first in the list, where a certificate bears several.
pub fn server_of<'a, S: Borrow<TrustedServer>>(servers: &'a [S], peer: &Peer) -> Option<&'a S> {
    if peer.side != Side::Inside || peer.transport != Transport::Tls {
        return None;
    }
    let certificate = peer.identity.certificate()?;
    if !certificate.is_trusted_by(&Anchors::Servers) {
        return None;
    }
    servers.iter().find(|server| certificate.names_host(&(*server).borrow().host))
}

/// Whether a server that the connection is with is listed under this name too. One of several behind one name bears that name and its own,
/// and the list may hold both.
pub fn is_listed_as<S: Borrow<TrustedServer>>(
    servers: &[S],
    peer: &Peer,
    host: &str,
    role: ServerRole,
) -> bool {
    let is_meant = |server: &TrustedServer| server.role == role && server.host.eq_ignore_ascii_case(host);
    servers.iter().any(|server| is_meant(server.borrow()))
        && server_of(servers, peer).is_some()
        && peer.identity.certificate().is_some_and(|certificate| certificate.names_host(host))
}

/// By which kind of relationship a partner's request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Over the partner's own connection, by policy.
    Direct,
    /// Through a hub that vouches for it.
    Clearinghouse,
    /// Over the partner's own connection, found by DNS.
    Discovered,
}

impl Mode {
    /// As the header writes it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Direct => "direct",
            Mode::Clearinghouse => "clearinghouse",
            Mode::Discovered => "discovered",
        }
    }

    fn from_name(name: &str) -> Option<Mode> {
        [Mode::Direct, Mode::Clearinghouse, Mode::Discovered].into_iter().find(|mode| mode.name() == name)
    }
}

/// What an edge knows of From.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FromProof {
    /// Of a partner's request: it is of the domain that was proved. Of a remote user's: nothing, but that it is of a domain of ours.
    Domain,
    /// It is the very address that this end of the dialog was called by, or called with, whoever's it is: a call may have been
    /// forwarded to it (RFC 3261 §8.1.3.4 keeps To). The edge's sealed Route says so; it is worth something within that dialog alone.
    Dialog,
}

/// Where a request came from, as the first of our servers saw it. Names stand in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// From outside, over a connection that proved no partner: perhaps a user of ours, who is to be authenticated.
    Remote {
        /// Names the connection at its edge; a `token` of RFC 3261 §25.1.
        flow: String,
        /// What is known of From.
        from: FromProof,
        /// The edge.
        edge: String,
        /// SHA-256 of the certificate that the client presented.
        certificate: Option<[u8; 32]>,
    },
    /// From another organisation.
    Partner {
        /// The SIP domain that was proved.
        domain: String,
        /// By which kind of relationship.
        mode: Mode,
        /// The hub that vouches for the domain; exactly with [`Mode::Clearinghouse`].
        hub: Option<String>,
        /// What that says of From.
        from: FromProof,
        /// The edge.
        edge: String,
    },
}

/// Why a trust header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It stands more than once, so that nobody can say which is meant.
    #[error("{0} stands more than once")]
    Repeated(&'static str),
    /// It is not what one of our servers writes.
    #[error("{0} is malformed")]
    Malformed(&'static str),
}

impl Origin {
    /// Reads a header's value.
    pub fn parse(value: &str) -> Result<Origin, OriginError> {
        Origin::read(value).ok_or(OriginError::Malformed(ORIGIN_HEADER))
    }

    /// What the message says in the header; `None` where there is none. Whether the sender may say so is for the caller to
    /// ask: [`server_of`], [`ServerRole::may_assert`].
    pub fn in_message(message: &Message) -> Result<Option<Origin>, OriginError> {
        only_value(message, ORIGIN_HEADER)?.map(Origin::parse).transpose()
    }

    /// What a server must be allowed to assert to say this.
    pub fn assertion(&self) -> Assertion {
        match self {
            Origin::Remote { .. } => Assertion::RemoteOrigin,
            Origin::Partner { .. } => Assertion::PartnerOrigin,
        }
    }

    /// The edge that saw the request first.
    pub fn edge(&self) -> &str {
        match self {
            Origin::Remote { edge, .. } | Origin::Partner { edge, .. } => edge,
        }
    }

    fn read(value: &str) -> Option<Origin> {
        let (kind, rest) = value.split_once(';')?;
        let mut params = Params(rest);
        let origin = match kind {
            "remote" => Origin::Remote {
                flow: params.next("flow")?.to_owned(),
                from: params.next_from()?,
                edge: params.next("edge")?.to_owned(),
                certificate: match params.next("cert") {
                    Some(digest) => Some(sha256(digest)?),
                    None => None,
                },
            },
            "partner" => {
                let domain = params.next("domain")?.to_owned();
                let mode = Mode::from_name(params.next("mode")?)?;
                let hub = params.next("hub").map(str::to_owned);
                let from = params.next_from()?;
                Origin::Partner { domain, mode, hub, from, edge: params.next("edge")?.to_owned() }
            }
            _ => return None,
        };
        // One spelling: brackets where there is no address, or anything behind the last parameter, does not come back.
        (origin.is_well_formed() && origin.to_string() == value).then_some(origin)
    }

    fn is_well_formed(&self) -> bool {
        match self {
            Origin::Remote { flow, from: _, edge, certificate: _ } => {
                (1..=FLOW_TOKEN_OCTETS_MAX).contains(&flow.len())
                    && flow.bytes().all(is_token_octet)
                    && is_host(edge)
            }
            Origin::Partner { domain, mode, hub, from: _, edge } => {
                is_domain(domain)
                    && hub.is_some() == (*mode == Mode::Clearinghouse)
                    && hub.as_deref().is_none_or(is_host)
                    && is_host(edge)
            }
        }
    }
}

/// As the header writes it.
///
/// # Panics
///
/// Where a field is none that [`Origin::parse`] would take: a header that our servers believe is not to be written from
/// what nobody checked.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(self.is_well_formed(), "an origin is made of checked names");
        match self {
            Origin::Remote { flow, from, edge, certificate } => {
                write!(f, "remote;flow={flow}")?;
                if *from == FromProof::Dialog {
                    f.write_str(";from=dialog")?;
                }
                write!(f, ";edge={}", HostText(edge))?;
                match certificate {
                    Some(sha256) => write!(f, ";cert={}", hex::encode(sha256)),
                    None => Ok(()),
                }
            }
            Origin::Partner { domain, mode, hub, from, edge } => {
                write!(f, "partner;domain={domain};mode={}", mode.name())?;
                if let Some(hub) = hub {
                    write!(f, ";hub={}", HostText(hub))?;
                }
                if *from == FromProof::Dialog {
                    f.write_str(";from=dialog")?;
                }
                write!(f, ";edge={}", HostText(edge))
            }
        }
    }
}

/// The member that a hub says it speaks for: the domain, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(String);

impl Member {
    /// The member of this domain; `None` where it is no domain.
    pub fn new(domain: &str) -> Option<Member> {
        domain_name(domain).map(Member)
    }

    /// Reads a header's value.
    pub fn parse(value: &str) -> Result<Member, OriginError> {
        match is_domain(value) {
            true => Ok(Member(value.to_owned())),
            false => Err(OriginError::Malformed(MEMBER_HEADER)),
        }
    }

    /// What the message says in the header; `None` where there is none. It is worth something on a hub's flow only; that is
    /// for [`judge`](crate::judge) to see.
    pub fn in_message(message: &Message) -> Result<Option<Member>, OriginError> {
        only_value(message, MEMBER_HEADER)?.map(Member::parse).transpose()
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value of the one header line of this name.
fn only_value<'a>(message: &'a Message, name: &'static str) -> Result<Option<&'a str>, OriginError> {
    let mut values =
        message.headers().filter(|header| header.name.eq_ignore_ascii_case(name.as_bytes())).map(|h| h.value);
    let first = values.next();
    if values.next().is_some() {
        return Err(OriginError::Repeated(name));
    }
    first.map(|value| str::from_utf8(value).map_err(|_| OriginError::Malformed(name))).transpose()
}

/// What is left of the parameters.
struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    /// What the parameter `from` says, if it is the next one; `None` where it says what is no word of ours.
    fn next_from(&mut self) -> Option<FromProof> {
        match self.next("from") {
            Some("dialog") => Some(FromProof::Dialog),
            Some(_) => None,
            None => Some(FromProof::Domain),
        }
    }

    /// The value of the next parameter, if it has this name.
    fn next(&mut self, name: &str) -> Option<&'a str> {
        let (param, rest) = self.0.split_once(';').unwrap_or((self.0, ""));
        let value = param.strip_prefix(name)?.strip_prefix('=')?;
        self.0 = rest;
        Some(value.strip_prefix('[').and_then(|value| value.strip_suffix(']')).unwrap_or(value))
    }
}

/// A host in a parameter: an IPv6 address in brackets (RFC 3261 §25.1, `gen-value`).
struct HostText<'a>(&'a str);

impl fmt::Display for HostText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.contains(':') {
            true => write!(f, "[{}]", self.0),
            false => f.write_str(self.0),
        }
    }
}

fn is_domain(text: &str) -> bool {
    Normal::of(text).is_some_and(|normal| normal.as_str() == text)
}

fn is_host(text: &str) -> bool {
    host_name(text).is_some_and(|normal| normal == text)
}

/// RFC 3261 §25.1, `token`.
fn is_token_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&octet)
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
}

#[cfg(test)]
mod tests;
