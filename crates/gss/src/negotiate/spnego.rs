//! What a client's first token offers, as far as it must be known to say why it is refused.

/// What the client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Kerberos, bare or first in SPNEGO's list.
    Kerberos,
    /// NTLM, bare or first in SPNEGO's list.
    Ntlm,
    /// A list of mechanisms (RFC 4178 §4.2.1) that begins with another one.
    WithoutKerberos,
    /// No token that we can read.
    Unknown,
}

/// How every message of NTLM begins (MS-NLMP §2.2.1).
const NTLM_MAGIC: &[u8] = b"NTLMSSP\0";
/// 1.3.6.1.5.5.2
const SPNEGO: &[u8] = b"\x2b\x06\x01\x05\x05\x02";
/// 1.2.840.113554.1.2.2, and as Windows 2000 misspelt it (MS-SPNG §3.1.5.1): 1.2.840.48018.1.2.2.
const KERBEROS: [&[u8]; 2] =
    [b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02", b"\x2a\x86\x48\x82\xf7\x12\x01\x02\x02"];
/// 1.3.6.1.4.1.311.2.2.10
const NTLM: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a";

pub(super) fn offer(token: &[u8]) -> Offer {
    if token.starts_with(NTLM_MAGIC) {
        return Offer::Ntlm;
    }
    match first_mechanism(token) {
        Some(mechanism) if KERBEROS.contains(&mechanism) => Offer::Kerberos,
        Some(mechanism) if mechanism == NTLM => Offer::Ntlm,
        Some(_) => Offer::WithoutKerberos,
        None => Offer::Unknown,
    }
}

/// The mechanism of a framed token (RFC 2743 §3.1); of SPNEGO, the first of its list.
fn first_mechanism(token: &[u8]) -> Option<&[u8]> {
    let framed = inside(0x60, token)?;
    let (mechanism, inner) = element(0x06, framed)?;
    if mechanism != SPNEGO {
        return Some(mechanism);
    }
    // NegTokenInit in its choice, the list in its field: [0] SEQUENCE { [0] SEQUENCE OF OID, ... }.
    let list = [0xa0, 0x30, 0xa0, 0x30].into_iter().try_fold(inner, |octets, tag| inside(tag, octets))?;
    element(0x06, list).map(|(mechanism, _)| mechanism)
}

fn inside(tag: u8, octets: &[u8]) -> Option<&[u8]> {
    element(tag, octets).map(|(content, _)| content)
}

/// The content of a DER element with this tag, and what follows.
fn element(tag: u8, octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = octets.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // Two octets count more than a token may have.
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), &rest[2..]),
        _ => return None,
    };
    rest.split_at_checked(length)
}
