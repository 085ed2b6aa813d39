//! STUN messages for keep-alive on SIP flows.
//!
//! A client behind a NAT keeps its UDP flow open with Binding requests to the port where it speaks SIP (RFC 5626 §3.5.2,
//! §4.4.2), and learns from the answer whether its mapping moved. The server's side of that is one pure function:
//! [`answer_binding`]. SIP begins with a letter, STUN with two zero bits, so one socket carries both (RFC 5626 §8);
//! [`is_stun`] tells them apart.
//!
//! What this crate is not: no TURN and no ICE yet. It authenticates nobody: the keep-alive usage has no credentials
//! (RFC 5626 §8), so the attributes of the STUN credential mechanisms are understood and not checked.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use bytes::Bytes;
use stun_types::attribute::{
    Attribute as _, AttributeStaticType as _, AttributeType, ErrorCode, Fingerprint, MessageIntegrity,
    MessageIntegritySha256, Nonce, PasswordAlgorithm, Realm, UnknownAttributes, Userhash, Username,
    XorMappedAddress,
};
use stun_types::message::{
    BINDING, Message, MessageClass, MessageWrite as _, MessageWriteExt as _, MessageWriteVec,
};

/// Octets of a STUN header (RFC 8489 §5).
const HEADER_OCTETS: usize = 20;
/// The second word of every STUN message (RFC 8489 §5). Clients of RFC 3489 do not send it; RFC 5626 asks for RFC 5389.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Longest request that is answered, in octets: what RFC 8489 §6.1 lets a client send where it does not know the MTU.
const REQUEST_OCTETS_MAX: usize = 548;

/// Comprehension-required attributes that a Binding request may carry without being refused: those of the credential
/// mechanisms (RFC 8489 §9), which mean nothing here, and one that is known but unexpected (RFC 8489 §6.3).
const UNDERSTOOD: [AttributeType; 8] = [
    Username::TYPE,
    Userhash::TYPE,
    Realm::TYPE,
    Nonce::TYPE,
    PasswordAlgorithm::TYPE,
    MessageIntegrity::TYPE,
    MessageIntegritySha256::TYPE,
    XorMappedAddress::TYPE,
];

/// Whether a datagram is STUN and not SIP: its first two bits are zero and the magic cookie is in its place
/// (RFC 5626 §8, RFC 8489 §5).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_OCTETS && datagram[0] & 0b1100_0000 == 0 && datagram[4..8] == MAGIC_COOKIE
}

/// The answer to a Binding request that came from `source`: where we saw it come from, or 420 with the attributes that we
/// do not understand (RFC 8489 §6.3.1). A request with a FINGERPRINT gets one.
///
/// Everything else gives `None` and deserves silence: what is malformed, what bears a wrong FINGERPRINT, indications, responses, other
/// methods (RFC 8489 §6.3).
pub fn answer_binding(request: &[u8], source: SocketAddr) -> Option<Bytes> {
    if !is_stun(request) || request.len() > REQUEST_OCTETS_MAX || !is_whole(request) {
        return None;
    }
    let request = Message::from_bytes(request).ok()?;
    if !request.has_class(MessageClass::Request) || !request.has_method(BINDING) {
        return None;
    }
    let mut unknown: Vec<AttributeType> = Vec::new();
    for (_, attribute) in request.iter_attributes() {
        let kind = attribute.get_type();
        if kind.comprehension_required() && !UNDERSTOOD.contains(&kind) && !unknown.contains(&kind) {
            unknown.push(kind);
        }
    }
    let mut answer = if unknown.is_empty() {
        let mapped = SocketAddr::new(source.ip().to_canonical(), source.port());
        let mut answer = Message::builder_success(&request, MessageWriteVec::new());
        let mapped = XorMappedAddress::new(mapped, request.transaction_id());
        answer.add_attribute(&mapped).expect("the first attribute of a message");
        answer
    } else {
        let mut answer = Message::builder_error(&request, MessageWriteVec::new());
        let error = ErrorCode::new(420, "Unknown Attribute").expect("420 is an error code");
        answer.add_attribute(&error).expect("the first attribute of a message");
        answer.add_attribute(&UnknownAttributes::new(&unknown)).expect("another attribute");
        answer
    };
    if request.has_attribute(Fingerprint::TYPE) {
        answer.add_fingerprint().expect("the last attribute of a message");
    }
    Some(Bytes::from(answer.finish()))
}

/// Whether the header's length is that of the datagram, and a multiple of four (RFC 8489 §5).
fn is_whole(datagram: &[u8]) -> bool {
    let length = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
    length % 4 == 0 && HEADER_OCTETS + length == datagram.len()
}
