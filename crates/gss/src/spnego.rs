//! The acceptor's side of SPNEGO (RFC 4178), as far as one round goes: a client that prefers Kerberos sends its token along,
//! and is answered that this is it.
//!
//! MIT's library could do it, too; but it hides Kerberos' reason of a refusal behind a number of its own, begins mechanisms
//! that we do not want, and keeps a state between rounds that we do not want either.
//!
//! No `mechListMIC` is owed, because the mechanism that is taken is the client's first choice (RFC 4178 §5).

/// A client's first token.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer<'a> {
    /// Kerberos' own token (RFC 4121 §4.1), without SPNEGO.
    Bare(&'a [u8]),
    /// Kerberos first in SPNEGO's list, with its token.
    Wrapped {
        /// Kerberos, as the client spells it.
        mechanism: &'a [u8],
        /// Kerberos' own token.
        token: &'a [u8],
    },
    /// Kerberos first in the list, but without a token: it wants another round.
    WithoutToken,
    /// NTLM, bare or first in the list.
    Ntlm,
    /// Another mechanism first.
    Other,
}

/// How every message of NTLM begins (MS-NLMP §2.2.1).
const NTLM_MAGIC: &[u8] = b"NTLMSSP\0";
/// 1.3.6.1.5.5.2
const SPNEGO: &[u8] = b"\x2b\x06\x01\x05\x05\x02";
/// 1.2.840.113554.1.2.2, and as Windows 2000 misspelt it, which Windows still puts first (MS-SPNG §3.1.5.1):
/// 1.2.840.48018.1.2.2.
const KERBEROS: [&[u8]; 2] =
    [b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02", b"\x2a\x86\x48\x82\xf7\x12\x01\x02\x02"];
/// 1.3.6.1.4.1.311.2.2.10
const NTLM: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a";

const OID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;
const APPLICATION: u8 = 0x60;
const fn field(number: u8) -> u8 {
    0xa0 + number
}

/// Reads a token; `None` if it is none.
pub fn read(token: &[u8]) -> Option<Offer<'_>> {
    if token.starts_with(NTLM_MAGIC) {
        return Some(Offer::Ntlm);
    }
    let (framed, []) = element(APPLICATION, token)? else { return None };
    let (mechanism, inner) = element(OID, framed)?;
    if mechanism != SPNEGO {
        return Some(if KERBEROS.contains(&mechanism) { Offer::Bare(token) } else { Offer::Other });
    }
    let (choice, _) = element(field(0), inner)?;
    let (init, _) = element(SEQUENCE, choice)?;
    let (mechanisms, mut rest) = element(field(0), init)?;
    let (list, _) = element(SEQUENCE, mechanisms)?;
    let (first, _) = element(OID, list)?;
    if first == NTLM {
        return Some(Offer::Ntlm);
    }
    if !KERBEROS.contains(&first) {
        return Some(Offer::Other);
    }
    if let Some((_flags, behind)) = element(field(1), rest) {
        rest = behind;
    }
    let Some((token, _)) = element(field(2), rest) else { return Some(Offer::WithoutToken) };
    let (token, _) = element(OCTET_STRING, token)?;
    Some(Offer::Wrapped { mechanism: first, token })
}

/// The answer that ends it (RFC 4178 §4.2.2): accepted, by this mechanism, with its token if it has one. Panics at a token
/// near 65,535 octets; Kerberos answers with some hundred.
pub fn complete(mechanism: &[u8], token: &[u8]) -> Vec<u8> {
    const ACCEPT_COMPLETED: u8 = 0;
    let mut fields = written(field(0), &written(ENUMERATED, &[ACCEPT_COMPLETED]));
    fields.extend(written(field(1), &written(OID, mechanism)));
    if !token.is_empty() {
        fields.extend(written(field(2), &written(OCTET_STRING, token)));
    }
    written(field(1), &written(SEQUENCE, &fields))
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
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        // More octets of length would count more than any token has.
        0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), &rest[2..]),
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn written(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut octets = vec![tag];
    match content.len() {
        length @ 0..=0x7f => octets.push(length as u8),
        length @ 0x80..=0xff => octets.extend([0x81, length as u8]),
        length => {
            let length = u16::try_from(length).expect("an answer of Kerberos has some hundred octets");
            octets.push(0x82);
            octets.extend(length.to_be_bytes());
        }
    }
    octets.extend_from_slice(content);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEGOEX: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x1e";

    /// A token that lists mechanisms.
    fn offer(mechanisms: &[&[u8]], token: Option<&[u8]>) -> Vec<u8> {
        let list: Vec<u8> = mechanisms.iter().flat_map(|mechanism| written(OID, mechanism)).collect();
        let mut init = written(field(0), &written(SEQUENCE, &list));
        if let Some(token) = token {
            init.extend(written(field(2), &written(OCTET_STRING, token)));
        }
        let choice = written(field(0), &written(SEQUENCE, &init));
        written(APPLICATION, &[written(OID, SPNEGO), choice].concat())
    }

    #[test]
    fn what_a_client_offers() {
        let [kerberos, misspelt] = KERBEROS;
        let long = [7; 300];
        for (list, first) in [
            (&[kerberos][..], kerberos),
            (&[kerberos, NTLM], kerberos),
            (&[misspelt, kerberos, NEGOEX, NTLM], misspelt),
        ] {
            for token in [&b"ticket"[..], &long] {
                let expected = Offer::Wrapped { mechanism: first, token };
                assert_eq!(read(&offer(list, Some(token))), Some(expected));
            }
        }
        assert_eq!(read(&offer(&[kerberos], None)), Some(Offer::WithoutToken));
        assert_eq!(read(&offer(&[NTLM], Some(b"NTLMSSP\0"))), Some(Offer::Ntlm));
        assert_eq!(read(&offer(&[NTLM, kerberos], Some(b"NTLMSSP\0"))), Some(Offer::Ntlm));
        assert_eq!(read(b"NTLMSSP\0\x01\0\0\0"), Some(Offer::Ntlm));
        assert_eq!(read(&offer(&[NEGOEX, NTLM], Some(b"nego"))), Some(Offer::Other));
        let bare = written(APPLICATION, &[&written(OID, kerberos)[..], b"\x01\0ticket"].concat());
        assert_eq!(read(&bare), Some(Offer::Bare(&bare)));
        let other = written(APPLICATION, &[&written(OID, NEGOEX)[..], b"what"].concat());
        assert_eq!(read(&other), Some(Offer::Other));
    }

    #[test]
    fn what_is_no_offer() {
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\x60\x82\xff\xff\x06"), None);
        assert_eq!(read(b"\x60\x80\x06\0\0"), None, "DER knows no end-of-contents");
        assert_eq!(read(&offer(&[], None)), None);
        let whole = offer(&[KERBEROS[0]], Some(&[7; 300]));
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length} octets");
        }
        assert_eq!(read(&[&whole[..], b"\0"].concat()), None, "something follows");
    }

    #[test]
    fn the_answer_ends_it() {
        let expected =
            b"\xa1\x1c\x30\x1a\xa0\x03\x0a\x01\x00\xa1\x0b\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\
                         \xa2\x06\x04\x04done";
        assert_eq!(complete(KERBEROS[0], b"done"), expected);
        assert_eq!(complete(KERBEROS[0], b"").len(), expected.len() - 8);
        assert_eq!(complete(KERBEROS[1], &[0; 200])[..3], [0xa1, 0x81, 0xe3]);
    }
}
