//! The examples of MS-NLMP §4.2, and the vectors of the conformance folder where it is there.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;

fn key(hex: &str) -> Key {
    Key::new(hex::decode(hex).unwrap().try_into().unwrap())
}

fn utf16le(text: &str) -> Vec<u8> {
    utf16(text.encode_utf16())
}

#[test]
fn hashes_of_a_password() {
    // MS-NLMP §4.2.2.1.2, §4.2.4.1.1.
    let nt = nt_hash("Password");
    assert_eq!(hex::encode(nt.octets()), "a4f49c406510bdcab6824ee7c30fd852");
    let v2 = ntlmv2_key(&nt, "User", "Domain");
    assert_eq!(hex::encode(v2.octets()), "0c868a403bfd7a93a3001ef22ef02e3f");
    assert_eq!(v2.octets(), ntlmv2_key(&nt, "uSER", "Domain").octets());
    assert_ne!(v2.octets(), ntlmv2_key(&nt, "User", "DOMAIN").octets());
    // RFC 1320 §A.5.
    assert_eq!(hex::encode(nt_hash("").octets()), "31d6cfe0d16ae931b73c59d7e0c089c0");
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!("straße".chars().map(capital).collect::<String>(), "STRAßE");
    assert_eq!(format!("{nt:?}"), "Key(..)");
}

#[test]
fn right_responses_pass_and_every_change_fails() {
    let v2 = ntlmv2_key(&nt_hash("Password"), "User", "Domain");
    let challenge = [1, 2, 3, 4, 5, 6, 7, 8];
    let mut rest = vec![1, 1];
    rest.resize(48, 0);
    let mut response = nt_proof(&v2, &challenge, &rest).to_vec();
    response.extend_from_slice(&rest);
    assert!(check_ntlmv2(&v2, &challenge, &response).is_some());
    for index in 0..response.len() {
        for bit in 0..8 {
            let mut changed = response.clone();
            changed[index] ^= 1 << bit;
            assert!(check_ntlmv2(&v2, &challenge, &changed).is_none(), "bit {bit} of octet {index}");
        }
        assert!(check_ntlmv2(&v2, &challenge, &response[..index]).is_none(), "{index} octets");
    }
    assert!(check_ntlmv2(&v2, &[0; 8], &response).is_none());
    let wrong = ntlmv2_key(&nt_hash("password"), "User", "Domain");
    assert!(check_ntlmv2(&wrong, &challenge, &response).is_none());

    let lm = lmv2_response(&v2, &challenge, &[7; 8]);
    assert!(
        check_lmv2(&v2, &challenge, &lm)
            && !check_lmv2(&v2, &[0; 8], &lm)
            && !check_lmv2(&wrong, &challenge, &lm)
    );
    for index in 0..lm.len() {
        let mut changed = lm;
        changed[index] ^= 1;
        assert!(!check_lmv2(&v2, &challenge, &changed));
        assert!(!check_lmv2(&v2, &challenge, &lm[..index]));
    }
    // A right proof over too little is an older protocol's, or nobody's.
    for short in [&rest[..8], &[0; 48]] {
        let proof = nt_proof(&v2, &challenge, short);
        assert!(check_ntlmv2(&v2, &challenge, &[&proof, short].concat()).is_none());
    }
}

#[test]
fn signatures_differ_by_side_sequence_and_text() {
    let exported = key("55555555555555555555555555555555");
    let base = sip_signature(&exported, Side::Client, Strength::Bits128, 100, b"text");
    assert!(is_same_signature(&base, &base.clone()));
    for other in [
        sip_signature(&exported, Side::Server, Strength::Bits128, 100, b"text"),
        sip_signature(&exported, Side::Client, Strength::Bits56, 100, b"text"),
        sip_signature(&exported, Side::Client, Strength::Bits128, 101, b"text"),
        sip_signature(&exported, Side::Client, Strength::Bits128, 100, b"test"),
        sip_signature_plain(&exported, 100, b"text"),
    ] {
        assert!(!is_same_signature(&base, &other));
    }
    assert!(!is_same_signature(&base, &base[..15]) && !is_same_signature(&base, &[]));
    let forty = Side::Client.seal_key(&exported, Strength::Bits40);
    assert_ne!(forty.octets(), Side::Client.seal_key(&exported, Strength::Bits56).octets());
}

fn vectors_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/vectors/ntlm.json")
}

/// Gives the vectors to a test, or says that it is skipped.
fn with_vectors(check: impl FnOnce(&Value)) {
    match std::fs::read(vectors_file()) {
        Ok(text) => check(&serde_json::from_slice(&text).unwrap()),
        Err(_) => eprintln!("skipped: {} is not there", vectors_file().display()),
    }
}

fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    octets(value).try_into().unwrap()
}

#[test]
fn vectors_of_ntlmv1() {
    with_vectors(|file| {
        let (common, v) = (&file["common"], &file["ntlmv1"]);
        let nt = nt_hash(common["password"].as_str().unwrap());
        assert_eq!(nt.octets(), &fixed(&common["ntowfv1"]));
        assert_eq!(session_base_key_v1(&nt).octets(), &fixed(&v["session_base_key"]));
        let exchange = Key::new(fixed(&v["key_exchange_key"]));
        let exported = exported_session_key(&exchange, &fixed(&v["encrypted_session_key"]));
        assert_eq!(exported.octets(), &fixed(&common["random_session_key"]));
        let mut sealing = Sealing::new(&exported);
        let mut text = utf16le("Plaintext");
        sealing.apply(&mut text);
        assert_eq!(text, octets(&v["sealed_plaintext"]));
        // The printed signature keeps a random pad where everybody sends zeros.
        let mut expected: Signature = fixed(&v["signature"]);
        expected[4..8].fill(0);
        assert_eq!(signature_plain(&mut sealing, 0, &utf16le("Plaintext")), expected);
    });
}

#[test]
fn vectors_of_ntlmv1_with_extended_security() {
    with_vectors(|file| {
        let (common, v) = (&file["common"], &file["ntlmv1_ess"]);
        let base = session_base_key_v1(&nt_hash(common["password"].as_str().unwrap()));
        let client_challenge = octets(&v["lm_response"])[..8].try_into().unwrap();
        let exported =
            key_exchange_key_extended(&base, &fixed(&common["server_challenge"]), &client_challenge);
        assert_eq!(exported.octets(), &fixed(&v["key_exchange_key"]));
        let sign = Side::Client.sign_key(&exported);
        assert_eq!(sign.octets(), &fixed(&v["client_sign_key"]));
        let seal = Side::Client.seal_key(&exported, Strength::Bits56);
        assert_eq!(seal.octets(), &fixed(&v["client_seal_key"]));
        let mut text = utf16le("Plaintext");
        Sealing::new(&seal).apply(&mut text);
        assert_eq!(text, octets(&v["sealed_plaintext"]));
        assert_eq!(signature_extended(&sign, None, 0, &utf16le("Plaintext")), fixed(&v["signature"]));
    });
}

#[test]
fn vectors_of_ntlmv2() {
    with_vectors(|file| {
        let (common, v) = (&file["common"], &file["ntlmv2"]);
        let nt = nt_hash(common["password"].as_str().unwrap());
        let v2 = ntlmv2_key(&nt, common["user"].as_str().unwrap(), common["domain"].as_str().unwrap());
        assert_eq!(v2.octets(), &fixed(&v["ntowfv2"]));
        let challenge: Challenge = fixed(&common["server_challenge"]);
        assert_eq!(nt_proof(&v2, &challenge, &octets(&v["temp"])), fixed(&v["nt_proof"]));
        let lm = lmv2_response(&v2, &challenge, &fixed(&common["client_challenge"]));
        assert_eq!(lm, fixed(&v["lm_response"]));
        assert!(check_lmv2(&v2, &challenge, &lm));
        let response = [octets(&v["nt_proof"]), octets(&v["temp"])].concat();
        let base = check_ntlmv2(&v2, &challenge, &response).expect("the response is right");
        assert_eq!(base.octets(), &fixed(&v["session_base_key"]));
        let exported = exported_session_key(&base, &fixed(&v["encrypted_session_key"]));
        assert_eq!(exported.octets(), &fixed(&common["random_session_key"]));
        let sign = Side::Client.sign_key(&exported);
        assert_eq!(sign.octets(), &fixed(&v["client_sign_key"]));
        let seal = Side::Client.seal_key(&exported, Strength::Bits128);
        assert_eq!(seal.octets(), &fixed(&v["client_seal_key"]));
        let mut sealing = Sealing::new(&seal);
        let mut text = utf16le("Plaintext");
        sealing.apply(&mut text);
        assert_eq!(text, octets(&v["sealed_plaintext"]));
        let signature = signature_extended(&sign, Some(&mut sealing), 0, &utf16le("Plaintext"));
        assert_eq!(signature, fixed(&v["signature"]));
    });
}

/// A field of an AUTHENTICATE message: length, room, offset.
fn field(message: &[u8], at: usize) -> &[u8] {
    let length = usize::from(u16::from_le_bytes(message[at..at + 2].try_into().unwrap()));
    let offset = u32::from_le_bytes(message[at + 4..at + 8].try_into().unwrap()) as usize;
    &message[offset..offset + length]
}

#[test]
fn vectors_of_sip_version_4() {
    with_vectors(|file| {
        let v = &file["sip_ocs2007r2_version4"];
        let (challenge, authenticate) = (octets(&v["challenge_message"]), octets(&v["authenticate_message"]));
        let text = |name: &str| v[name].as_str().unwrap();
        let v2 = ntlmv2_key(&nt_hash(text("password")), text("user"), text("domain"));
        let server_challenge = challenge[24..32].try_into().unwrap();
        let response = field(&authenticate, 20);
        assert_eq!(response[..KEY_OCTETS], octets(&v["nt_proof"]));
        let base = check_ntlmv2(&v2, &server_challenge, response).expect("the client's response is right");
        assert!(check_lmv2(&v2, &server_challenge, field(&authenticate, 12)));
        let exported = exported_session_key(&base, field(&authenticate, 52).try_into().unwrap());
        let sequence = u32::try_from(v["sequence_number"].as_u64().unwrap()).unwrap();
        for (side, what) in [(Side::Client, "request"), (Side::Server, "response")] {
            let signed = text(&format!("{what}_signature_string")).as_bytes();
            let signature = sip_signature(&exported, side, Strength::Bits128, sequence, signed);
            assert!(is_same_signature(&signature, &octets(&v[format!("{what}_signature")])), "{what}");
        }
        let wrong = ntlmv2_key(&nt_hash("Pa$$Word"), text("user"), text("domain"));
        assert!(check_ntlmv2(&wrong, &server_challenge, response).is_none());
    });
}

#[test]
fn vectors_of_sip_version_2() {
    with_vectors(|file| {
        let v = &file["sip_ocs2007_version2"];
        let exported = Key::new(fixed(&v["exported_session_key"]));
        let sequence = u32::try_from(v["sequence_number"].as_u64().unwrap()).unwrap();
        let signed = v["response_signature_string"].as_str().unwrap().as_bytes();
        let signature = sip_signature_plain(&exported, sequence, signed);
        assert_eq!(signature, fixed(&v["response_signature"]));
    });
}
