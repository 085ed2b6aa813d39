use super::*;

/// A SPNEGO token that lists mechanisms, without a token of any.
fn spnego(mechanisms: &[&[u8]]) -> Vec<u8> {
    let element = |tag: u8, content: &[u8]| {
        assert!(content.len() < 128, "short lengths are enough here");
        [&[tag, content.len() as u8], content].concat()
    };
    let list: Vec<u8> = mechanisms.iter().flat_map(|mechanism| element(0x06, mechanism)).collect();
    let init = [0x30, 0xa0, 0x30, 0xa0].into_iter().fold(list, |content, tag| element(tag, &content));
    element(0x60, &[element(0x06, b"\x2b\x06\x01\x05\x05\x02"), init].concat())
}

const KERBEROS: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
const MISSPELT: &[u8] = b"\x2a\x86\x48\x82\xf7\x12\x01\x02\x02";
const NTLM: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a";
const NEGOEX: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x1e";

#[test]
fn what_a_client_offers() {
    assert_eq!(spnego::offer(&spnego(&[KERBEROS, NTLM])), Offer::Kerberos);
    assert_eq!(spnego::offer(&spnego(&[MISSPELT, KERBEROS, NEGOEX, NTLM])), Offer::Kerberos);
    assert_eq!(spnego::offer(&spnego(&[NTLM])), Offer::Ntlm);
    assert_eq!(spnego::offer(&spnego(&[NTLM, KERBEROS])), Offer::Ntlm);
    assert_eq!(spnego::offer(b"NTLMSSP\0\x01\0\0\0"), Offer::Ntlm);
    assert_eq!(spnego::offer(&spnego(&[NEGOEX, NTLM])), Offer::WithoutKerberos);
    assert_eq!(spnego::offer(&spnego(&[])), Offer::Unknown);
    assert_eq!(spnego::offer(b""), Offer::Unknown);
    assert_eq!(spnego::offer(b"\x60\x82\xff\xff\x06"), Offer::Unknown);
    let whole = spnego(&[KERBEROS]);
    for length in 0..whole.len() {
        assert_eq!(spnego::offer(&whole[..length]), Offer::Unknown, "{length} octets");
    }
}

#[test]
fn the_header_is_read_as_http_says() {
    assert_eq!(credentials("Negotiate YII="), Some("YII="));
    assert_eq!(credentials("  negotiate   YII=  "), Some("YII="));
    assert_eq!(credentials("Basic YWxpY2U6"), None);
    assert_eq!(credentials("Negotiate"), None);
    assert_eq!(credentials("Negotiateur YII="), None);
}

#[test]
fn ntlm_and_nonsense_are_refused_by_name() {
    let reason = |encoded: &str| decode(encoded).map_err(|refusal| refusal.reason);
    assert_eq!(reason("TlRMTVNTUAABAAAA"), Err(Reason::NoKerberos));
    assert_eq!(reason(&STANDARD.encode(spnego(&[NEGOEX, NTLM]))), Err(Reason::NoKerberos));
    assert_eq!(reason("%%%"), Err(Reason::Malformed));
    assert_eq!(reason(&STANDARD.encode(vec![0; TOKEN_BYTES_MAX + 3])), Err(Reason::Malformed));
    assert_eq!(reason(&STANDARD.encode(vec![0; TOKEN_BYTES_MAX])), Ok(vec![0; TOKEN_BYTES_MAX]));
    assert_eq!(reason(&STANDARD.encode(spnego(&[KERBEROS]))), Ok(spnego(&[KERBEROS])));
}
