//! Flow tokens (RFC 5626 §5.2) and GRUUs (RFC 5627): texts that we hand out and believe only with our own signature.
//!
//! A flow token names a flow, or a server of ours, in the user part of our own Path or Record-Route URI. It is signed, not hidden: the client
//! knows its own address. A temporary GRUU hides who it means from everybody but us (RFC 5627 §3.1.2), so it is
//! encrypted; two of one registration have nothing in common.
//!
//! What this module is not: it keeps no table, so nothing here knows whether a flow is still up or a registration still there.

mod gruu;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use node::{ConnectionId, Flow, ListenerId};
use sha2::Sha256;
use smallvec::SmallVec;

use crate::route::{Facing, ServerMark};

pub use gruu::{PublicGruu, TemporaryGruu, public_gruu, read_public_gruu};

/// Signs and reads flow tokens and GRUUs.
pub struct Tokens {
    /// Ready with its key: what signs flow tokens.
    flow: Hmac<Sha256>,
    /// Ready with its key: what makes nonces of temporary GRUUs.
    nonce: Hmac<Sha256>,
    /// Ready with its key: what digests Call-IDs.
    call_id: Hmac<Sha256>,
    gruu: Aes256GcmSiv,
    /// What a connection's token shows of the boot that made it.
    boot: [u8; BOOT_OCTETS],
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not ours, or changed.
    #[error("the token does not bear our signature")]
    Forged,
    /// Ours, but of a flow that an earlier start had: answer 430 (RFC 5626 §5.3).
    #[error("the flow is of an earlier start")]
    Stale,
}

/// Octets of a signature: 96 bits, as RFC 5626 §5.2 does it. Nobody can try 2^95 of them on a server.
const SIGNATURE_OCTETS: usize = 12;
/// Octets that tell one boot from another: an earlier boot is taken for this one once in 2^32 restarts.
const BOOT_OCTETS: usize = 4;
/// Longest token that is read, in characters: of a datagram flow to a scoped IPv6 address.
const FLOW_TOKEN_CHARACTERS_MAX: usize = 50;

/// The octets of the longest token: kind, listener, port, address, scope, signature.
const TOKEN_OCTETS_MAX: usize = 1 + 2 + 2 + 16 + 4 + SIGNATURE_OCTETS;

/// What a flow token says; there is room for its signature.
type Content = SmallVec<[u8; TOKEN_OCTETS_MAX]>;

/// First octet of a flow token's content.
mod kind {
    pub(super) const CONNECTION: u8 = 1;
    pub(super) const DATAGRAM_V4: u8 = 2;
    pub(super) const DATAGRAM_V6: u8 = 3;
    pub(super) const DATAGRAM_V6_SCOPED: u8 = 4;
    pub(super) const SERVER: u8 = 5;
}

impl Tokens {
    /// `secret` is kept over restarts, `boot` is fresh: connections of an earlier boot are `Stale`, datagram flows stay good.
    pub fn new(secret: [u8; 32], boot: [u8; 32]) -> Tokens {
        let root = keyed(&secret);
        let derive = |label: &str| {
            let mut mac = root.clone();
            mac.update(label.as_bytes());
            <[u8; 32]>::from(mac.finalize().into_bytes())
        };
        let mut boots = keyed(&derive("chancery boot"));
        boots.update(&boot);
        let digest = <[u8; 32]>::from(boots.finalize().into_bytes());
        Tokens {
            flow: keyed(&derive("chancery flow token")),
            nonce: keyed(&derive("chancery temporary gruu nonce")),
            call_id: keyed(&derive("chancery call-id digest")),
            gruu: Aes256GcmSiv::new(&derive("chancery temporary gruu").into()),
            boot: digest[..BOOT_OCTETS].try_into().expect("a digest is longer than the boot's mark"),
        }
    }

    /// A token for a flow: characters of a SIP user part, at most 80.
    pub fn flow_token(&self, flow: Flow) -> String {
        let mut token = Vec::new();
        self.push_route_token(&mut token, Facing::Flow(flow));
        String::from_utf8(token).expect("base64 is ASCII")
    }

    /// The flow of a token.
    pub fn read_flow_token(&self, token: &str) -> Result<Flow, TokenError> {
        match self.read_route_token(token)? {
            Facing::Flow(flow) => Ok(flow),
            Facing::Server(_) => Err(TokenError::Forged),
        }
    }

    /// Writes [`Tokens::flow_token`] behind what stands in `text`; also of a server, whose token is good over restarts.
    pub(crate) fn push_route_token(&self, text: &mut Vec<u8>, facing: Facing) {
        let mut token = match facing {
            Facing::Flow(flow) => self.flow_content(flow),
            Facing::Server(ServerMark(mark)) => {
                let mut content = Content::new();
                content.push(kind::SERVER);
                content.extend_from_slice(&mark.to_be_bytes());
                content
            }
        };
        let mut mac = self.flow.clone();
        mac.update(&token);
        token.extend_from_slice(&mac.finalize().into_bytes()[..SIGNATURE_OCTETS]);
        let start = text.len();
        text.resize(start + FLOW_TOKEN_CHARACTERS_MAX, 0);
        let written = URL_SAFE_NO_PAD.encode_slice(&token, &mut text[start..]);
        text.truncate(start + written.expect("FLOW_TOKEN_CHARACTERS_MAX is that of the longest token"));
    }

    /// The flow or server of a token.
    pub fn read_route_token(&self, token: &str) -> Result<Facing, TokenError> {
        if token.len() > FLOW_TOKEN_CHARACTERS_MAX {
            return Err(TokenError::Forged);
        }
        let mut octets = [0; TOKEN_OCTETS_MAX];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut octets).map_err(|_| TokenError::Forged)?;
        let (content, signature) =
            octets[..length].split_last_chunk::<SIGNATURE_OCTETS>().ok_or(TokenError::Forged)?;
        let mut mac = self.flow.clone();
        mac.update(content);
        mac.verify_truncated_left(signature).map_err(|_| TokenError::Forged)?;
        match content.split_first() {
            Some((&kind::SERVER, mark)) => {
                let mark = mark.try_into().map_err(|_| TokenError::Forged)?;
                Ok(Facing::Server(ServerMark(u64::from_be_bytes(mark))))
            }
            _ => self.read_flow_content(content).map(Facing::Flow),
        }
    }

    /// The user part and `gr` value of a temporary GRUU (RFC 5627 §3.1.2) for an address (`user@domain`), an instance and the Call-ID of its registration: unlinkable, and void
    /// when the registration's Call-ID changes (the caller compares).
    ///
    /// `counter` tells the GRUUs of one registration from each other: the same arguments give the same text.
    pub fn temporary_gruu(&self, address: &str, instance: &str, call_id: &str, counter: u64) -> String {
        gruu::write(self, address, instance, call_id, counter)
    }

    /// Reads a temporary GRUU's user part.
    pub fn read_temporary_gruu(&self, user: &str) -> Result<TemporaryGruu, TokenError> {
        gruu::read(self, user)
    }

    /// What [`TemporaryGruu::call_id_digest`] must be for a registration that still has this Call-ID.
    pub fn call_id_digest(&self, call_id: &str) -> u64 {
        let mut mac = self.call_id.clone();
        mac.update(call_id.as_bytes());
        let digest = <[u8; 32]>::from(mac.finalize().into_bytes());
        u64::from_be_bytes(digest[..8].try_into().expect("a digest has more than eight octets"))
    }

    fn flow_content(&self, flow: Flow) -> Content {
        let mut content = Content::new();
        match flow {
            Flow::Connection(ConnectionId(id)) => {
                content.push(kind::CONNECTION);
                content.extend_from_slice(&self.boot);
                content.extend_from_slice(&id.to_be_bytes());
            }
            Flow::Datagram { listener: ListenerId(listener), remote } => {
                content.push(match remote {
                    SocketAddr::V4(_) => kind::DATAGRAM_V4,
                    SocketAddr::V6(v6) if v6.scope_id() == 0 => kind::DATAGRAM_V6,
                    SocketAddr::V6(_) => kind::DATAGRAM_V6_SCOPED,
                });
                content.extend_from_slice(&listener.to_be_bytes());
                content.extend_from_slice(&remote.port().to_be_bytes());
                match remote {
                    SocketAddr::V4(v4) => content.extend_from_slice(&v4.ip().octets()),
                    SocketAddr::V6(v6) => {
                        content.extend_from_slice(&v6.ip().octets());
                        if v6.scope_id() != 0 {
                            content.extend_from_slice(&v6.scope_id().to_be_bytes());
                        }
                    }
                }
            }
        }
        content
    }

    /// The flow of a content whose signature was found right.
    fn read_flow_content(&self, content: &[u8]) -> Result<Flow, TokenError> {
        let mut rest = content;
        let [kind] = take::<1>(&mut rest)?;
        let flow = if kind == kind::CONNECTION {
            let boot = take::<BOOT_OCTETS>(&mut rest)?;
            let id = u64::from_be_bytes(take(&mut rest)?);
            if boot != self.boot {
                return Err(TokenError::Stale);
            }
            Flow::Connection(ConnectionId(id))
        } else {
            let listener = ListenerId(u16::from_be_bytes(take(&mut rest)?));
            let port = u16::from_be_bytes(take(&mut rest)?);
            let remote = match kind {
                kind::DATAGRAM_V4 => SocketAddr::new(IpAddr::V4(Ipv4Addr::from(take::<4>(&mut rest)?)), port),
                kind::DATAGRAM_V6 | kind::DATAGRAM_V6_SCOPED => {
                    let ip = Ipv6Addr::from(take::<16>(&mut rest)?);
                    let scoped = kind == kind::DATAGRAM_V6_SCOPED;
                    let scope = if scoped { u32::from_be_bytes(take(&mut rest)?) } else { 0 };
                    SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))
                }
                _ => return Err(TokenError::Forged),
            };
            Flow::Datagram { listener, remote }
        };
        if rest.is_empty() { Ok(flow) } else { Err(TokenError::Forged) }
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], TokenError> {
    let (taken, behind) = rest.split_first_chunk::<N>().ok_or(TokenError::Forged)?;
    *rest = behind;
    Ok(*taken)
}
