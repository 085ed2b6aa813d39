//! Octets in, octets out; and the sample messages of RFC 5769 and RFC 8489 where the conformance folder is there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use stun_types::attribute::{AttributeStaticType as _, Fingerprint, XorMappedAddress};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, ShortTermCredentials,
};

use super::{answer_binding, is_stun};

const SOURCE: &str = "192.0.2.1:32853";

fn source() -> SocketAddr {
    SOURCE.parse().unwrap()
}

/// A Binding message with the transaction id of RFC 5769 and these attributes.
fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut octets = kind.to_be_bytes().to_vec();
    octets.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    octets.extend_from_slice(&hex::decode("2112a442b7e7a701bc34d686fa87dfae").unwrap());
    octets.extend_from_slice(&body);
    octets
}

fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    message(0x0001, attributes)
}

fn answer(request: &[u8]) -> Option<String> {
    answer_binding(request, source()).map(hex::encode)
}

/// The same, with a right FINGERPRINT behind it.
fn with_fingerprint(mut octets: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(octets.len() - 20 + 8).unwrap();
    octets[2..4].copy_from_slice(&length.to_be_bytes());
    let crc = u32::from_be_bytes(Fingerprint::compute(&[&octets])) ^ 0x5354_554e;
    octets.extend_from_slice(&[0x80, 0x28, 0, 4]);
    octets.extend_from_slice(&crc.to_be_bytes());
    octets
}

#[test]
fn a_binding_request_learns_its_address() {
    // The XOR-MAPPED-ADDRESS of RFC 5769 §2.2: the same address and transaction.
    let expected = "0101000c2112a442b7e7a701bc34d686fa87dfae002000080001a147e112a643";
    assert_eq!(answer(&request(&[])).as_deref(), Some(expected));
    let mapped = answer_binding(&request(&[]), "[::ffff:192.0.2.1]:32853".parse().unwrap());
    assert_eq!(
        mapped.map(hex::encode).as_deref(),
        Some(expected),
        "an IPv4 client of a dual socket sees IPv4"
    );
    // RFC 5769 §2.3.
    let six = answer_binding(&request(&[]), "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap());
    let expected = "010100182112a442b7e7a701bc34d686fa87dfae002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9";
    assert_eq!(six.map(hex::encode).as_deref(), Some(expected));
}

#[test]
fn a_fingerprint_is_answered_with_one() {
    let request = with_fingerprint(request(&[]));
    let octets = answer_binding(&request, source()).unwrap();
    let parsed = Message::from_bytes(&octets).expect("the parser checks the fingerprint");
    assert!(parsed.has_attribute(Fingerprint::TYPE));
    assert_eq!(parsed.attribute::<XorMappedAddress>().unwrap().addr(parsed.transaction_id()), source());
    for index in 20..request.len() {
        let mut wrong = request.clone();
        wrong[index] ^= 1;
        if let Some(octets) = answer_binding(&wrong, source()) {
            let parsed = Message::from_bytes(&octets).unwrap();
            assert!(!parsed.has_attribute(Fingerprint::TYPE), "octet {index} made it another attribute");
        }
    }
    let mut wrong = request.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(answer_binding(&wrong, source()), None);
}

#[test]
fn unknown_attributes_that_must_be_understood_are_named() {
    // CHANGE-REQUEST (0x0003) and PRIORITY (0x0024), once each; 0x8022 (SOFTWARE) may be ignored.
    let strange = request(&[(0x0003, &[0; 4]), (0x8022, b"x"), (0x0024, &[0; 4]), (0x0003, &[0; 4])]);
    let answer = answer_binding(&strange, source()).unwrap();
    let expected = "011100242112a442b7e7a701bc34d686fa87dfae0009001500000414556e6b6e6f776e20417474726962757465000000000a000400030024";
    assert_eq!(hex::encode(&answer), expected);
    assert!(answer.len() < strange.len() + 40, "a stranger gains next to nothing by a forged source");
    let answer = answer_binding(&with_fingerprint(strange), source()).unwrap();
    assert!(Message::from_bytes(&answer).unwrap().has_attribute(Fingerprint::TYPE));
}

#[test]
fn everything_else_deserves_silence() {
    let cases: [(&str, Vec<u8>); 12] = [
        ("nothing", Vec::new()),
        ("a keep-alive of two CRLF", b"\r\n\r\n".to_vec()),
        ("SIP", b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n\r\n".to_vec()),
        ("an indication", message(0x0011, &[])),
        ("a success response", message(0x0101, &[])),
        ("an error response", message(0x0111, &[])),
        ("a TURN Allocate request", message(0x0003, &[])),
        ("an attribute longer than the message", [message(0x0001, &[]), vec![0x80, 0x22, 0, 9]].concat()),
        ("a length that is too short", [request(&[]), vec![0; 4]].concat()),
        ("a header that is cut", request(&[])[..19].to_vec()),
        ("a length that is too long", request(&[(0x8022, b"abcd")])[..24].to_vec()),
        ("more than a careful client sends", request(&[(0x8022, &[0; 600])])),
    ];
    for (what, octets) in cases {
        assert_eq!(answer(&octets), None, "{what}");
    }
    let mut no_cookie = request(&[]);
    no_cookie[4] ^= 1;
    assert_eq!(answer(&no_cookie), None, "RFC 3489");
    let mut high_bits = request(&[]);
    high_bits[0] |= 0x40;
    assert_eq!(answer(&high_bits), None, "ChannelData of TURN");
}

#[test]
fn stun_is_told_from_sip() {
    assert!(is_stun(&request(&[])) && is_stun(&message(0x0101, &[])));
    for other in
        [&b""[..], b"\r\n\r\n", b"INVITE sip:a@example.com SIP/2.0\r\n", &[0; 20], &request(&[])[..19]]
    {
        assert!(!is_stun(other));
    }
}

fn vectors_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/vectors/stun.json")
}

/// RFC 5769 and RFC 8489 appendix B.1: the parser that we stand on reads them, their integrity holds, and requests among them
/// are answered.
#[test]
fn the_sample_messages_of_the_rfcs() {
    let Ok(text) = std::fs::read(vectors_file()) else {
        eprintln!("skipped: {} is not there", vectors_file().display());
        return;
    };
    let file: Value = serde_json::from_slice(&text).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let octets = hex::decode(vector["message"].as_str().unwrap()).unwrap();
        assert!(is_stun(&octets), "{name}");
        let message = Message::from_bytes(&octets).unwrap_or_else(|e| panic!("{name}: {e}"));
        check_integrity(name, vector, &message);
        if let Some(address) = vector["attributes"]["XOR-MAPPED-ADDRESS"].as_str() {
            let read = message.attribute::<XorMappedAddress>().unwrap().addr(message.transaction_id());
            assert_eq!(read, address.parse().unwrap(), "{name}");
        }
        match (vector["class"].as_str().unwrap(), answer_binding(&octets, source())) {
            ("success", answer) => assert_eq!(answer, None, "{name}"),
            ("request", answer) => {
                let answer = answer.unwrap_or_else(|| panic!("{name} has no answer"));
                let answer = Message::from_bytes(&answer).unwrap();
                // The first carries attributes of ICE, which must be understood and are not.
                let ice = vector["attributes"].get("PRIORITY").is_some();
                let class = if ice { MessageClass::Error } else { MessageClass::Success };
                assert_eq!(answer.class(), class, "{name}");
                assert_eq!(
                    answer.has_attribute(Fingerprint::TYPE),
                    vector.get("fingerprint").is_some(),
                    "{name}"
                );
                assert_eq!(answer.transaction_id(), message.transaction_id(), "{name}");
            }
            (class, _) => panic!("{name}: {class} is no class"),
        }
        if vector.get("fingerprint").is_some() {
            let mut changed = octets.clone();
            changed[24] ^= 1;
            assert!(Message::from_bytes(&changed).is_err(), "{name}");
            assert_eq!(answer_binding(&changed, source()), None, "{name}");
        }
    }
}

fn check_integrity(name: &str, vector: &Value, message: &Message<'_>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (key, algorithm) = match vector.get("long_term") {
        Some(long) => {
            let (user, password) = (text(&long["username"]), text(&long["password"]));
            let credentials = LongTermKeyCredentials::new(user, password, text(&long["realm"]));
            let sha256 = long.get("password_algorithm").is_some();
            let algorithm = if sha256 { IntegrityAlgorithm::Sha256 } else { IntegrityAlgorithm::Sha1 };
            (credentials.make_key(algorithm), algorithm)
        }
        None => {
            let credentials = ShortTermCredentials::new(text(&vector["short_term_password"]));
            (credentials.make_key(), IntegrityAlgorithm::Sha1)
        }
    };
    assert_eq!(message.validate_integrity_with_key(&key).ok(), Some(algorithm), "{name}");
}

proptest! {
    #[test]
    fn no_octets_are_fatal(octets in prop::collection::vec(any::<u8>(), 0..700)) {
        answer_binding(&octets, source());
    }

    /// Octets that look like a request up to their attributes: if there is an answer, it parses and belongs to the request.
    #[test]
    fn every_answer_parses(kind in prop_oneof![Just(0x0001u16), any::<u16>()], body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut octets = message(kind, &[]);
        let body = &body[..body.len() / 4 * 4];
        octets[2..4].copy_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        octets.extend_from_slice(body);
        if let Some(answer) = answer_binding(&octets, source()) {
            let parsed = Message::from_bytes(&answer).unwrap();
            prop_assert!(parsed.is_response());
            prop_assert_eq!(&answer[4..20], &octets[4..20]);
        }
    }

    #[test]
    fn every_list_of_attributes_is_answered(
        attributes in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..10)
    ) {
        // What ends a message (integrity, fingerprint) has rules of its own.
        let attributes: Vec<(u16, &[u8])> = attributes
            .iter()
            .filter(|(kind, _)| ![0x0008, 0x001c, 0x8028].contains(kind))
            .map(|(kind, value)| (*kind, value.as_slice()))
            .collect();
        prop_assert!(answer(&request(&attributes)).is_some());
    }
}
