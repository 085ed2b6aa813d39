//! Our own entries in Route and Record-Route: how they are written, and how they are believed when they come back.
//!
//! A proxied dialog gets two Record-Route entries, one for each side (RFC 5658): the upper one faces the callee, the lower one the caller. Each bears the
//! flow token of the device that it faces (RFC 5626 §5.3) and a keyed digest of the address that this device speaks for. A request within the
//! dialog that comes back through them so proves, without any state here, where it must go and that it was sent by a party of the dialog.
//!
//! An entry that faces another server of ours names that server and no connection: many dialogs share one connection, and outlive it.
//! Such a request goes on to the next Route entry, which is that server's own.

use std::hash::Hasher;
use std::net::IpAddr;

use node::{Flow, Listener, Transport};
use sip_message::{HeaderId, Host, Message, NameAddr, Uri};
use siphasher::sip::SipHasher13;

use crate::digits::hex;
use crate::outbound::{TokenError, Tokens};

/// Most Route entries of ours that are taken off one request. Ours are never more than two in a row; clients with a preloaded route add one.
const OWN_ROUTES_MAX: usize = 4;

/// The names and sockets under which requests reach this server.
#[derive(Clone, Debug)]
pub struct Names {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

impl Names {
    /// From the listeners and further names of the host.
    pub fn new<'a>(listeners: &'a [Listener], further: impl IntoIterator<Item = &'a str>) -> Names {
        let advertised = listeners.iter().map(|l| l.advertised_host.as_str());
        let mut names = Vec::new();
        let mut addresses: Vec<IpAddr> =
            listeners.iter().map(|l| l.address.ip()).filter(|ip| !ip.is_unspecified()).collect();
        for host in advertised.chain(further) {
            match host.trim_matches(['[', ']']).parse() {
                Ok(address) => addresses.push(address),
                Err(_) => names.push(host.to_ascii_lowercase()),
            }
        }
        names.sort();
        names.dedup();
        addresses.sort();
        addresses.dedup();
        let mut ports: Vec<u16> = listeners.iter().map(|l| l.address.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        Names { names, addresses, ports }
    }

    /// Whether a URI names this server: one of its hosts, and no port or one that it listens on.
    pub fn is_self(&self, uri: &Uri<'_>) -> bool {
        let host_is_ours = match uri.host() {
            Host::Name(name) => self.names.iter().any(|n| n.eq_ignore_ascii_case(name)),
            Host::Address(address) => self.addresses.contains(&address),
        };
        uri.is_sip() && host_is_ours && uri.port().is_none_or(|p| self.ports.contains(&p))
    }
}

/// Where a dialog goes on at one of its two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facing {
    /// Over this flow.
    Flow(Flow),
    /// To this server of ours, over whatever connection leads there.
    Server(ServerMark),
}

/// Stands for the name of a server of ours in a token; see [`Routes::server_mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerMark(pub u64);

/// What the topmost Route entries of a request, as far as they are ours, say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRoutes {
    /// How many entries are ours and to be taken off.
    pub count: usize,
    /// Where the request must go, if the last of them bears a token; or why the token is not believed.
    pub destination: Option<Result<Facing, TokenError>>,
    /// Whether the first of them faces the very flow (or server) that the request came from, and was made for the address in its From: the sender is a party of the dialog.
    pub sender_is_party: bool,
}

/// Writes and reads our Route entries.
pub struct Routes {
    tokens: Tokens,
    names: Names,
    key: [u8; 16],
}

impl Routes {
    /// `secret` is kept over restarts, `boot` is fresh.
    pub fn new(names: Names, secret: [u8; 32], boot: [u8; 32]) -> Routes {
        let key = secret[..16].try_into().expect("a secret has 32 octets");
        Routes { tokens: Tokens::new(secret, boot), names, key }
    }

    /// The tokens of this server.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The names of this server.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What stands for a server in tokens: the same for the same host name in any case, over restarts too.
    pub fn server_mark(&self, host: &str) -> ServerMark {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(b"server ");
        host.bytes().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
        ServerMark(hasher.finish())
    }

    /// Writes a Record-Route entry that faces the device on a flow or behind a server, which speaks for `party` (the From or To of the dialog).
    pub(crate) fn push_record_route(
        &self,
        text: &mut Vec<u8>,
        facing: Facing,
        transport: Transport,
        sent_by: &str,
        party: &Uri<'_>,
    ) {
        text.extend_from_slice(b"<sip:");
        let token_start = text.len();
        self.tokens.push_route_token(text, facing);
        let id = hex(self.party_digest(&text[token_start..], party));
        for part in ["@", sent_by, ";transport=", transport.uri_parameter(), ";lr;id="] {
            text.extend_from_slice(part.as_bytes());
        }
        text.extend_from_slice(id.as_bytes());
        text.push(b'>');
    }

    /// Looks at the topmost Route entries of a request that came in from `arrival`.
    pub fn own_routes(&self, message: &Message, arrival: Facing) -> OwnRoutes {
        let mut own = OwnRoutes { count: 0, destination: None, sender_is_party: false };
        for route in message.name_addrs(HeaderId::Route).take(OWN_ROUTES_MAX) {
            let Ok(route) = route else { break };
            if !self.names.is_self(&route.uri) {
                break;
            }
            let facing = route.uri.user().map(|token| self.tokens.read_route_token(token));
            if own.count == 0 {
                own.sender_is_party = facing == Some(Ok(arrival)) && self.names_sender(&route, message);
            }
            own.count += 1;
            own.destination = facing;
        }
        own
    }

    fn names_sender(&self, route: &NameAddr<'_>, message: &Message) -> bool {
        let Ok(from) = message.from() else { return false };
        let Some(token) = route.uri.user() else { return false };
        let id = route.uri.params().get("id").and_then(|id| u64::from_str_radix(id, 16).ok());
        id == Some(self.party_digest(token.as_bytes(), &from.uri))
    }

    fn party_digest(&self, token: &[u8], party: &Uri<'_>) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(token);
        hasher.write_u8(0);
        hasher.write(party.user().unwrap_or("").as_bytes());
        hasher.write_u8(0);
        let host = party.host_text().as_bytes();
        // Nearly all are written so, or are addresses.
        match host.iter().any(u8::is_ascii_uppercase) {
            false => hasher.write(host),
            true => hasher.write(&host.to_ascii_lowercase()),
        }
        hasher.finish()
    }
}
