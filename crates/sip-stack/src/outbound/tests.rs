//! Tokens: what is written is read; everything else is refused.

use node::{ConnectionId, Flow, ListenerId};
use proptest::prelude::*;
use sip_message::Uri;

use super::{TemporaryGruu, TokenError, Tokens, public_gruu, read_public_gruu};

fn tokens() -> Tokens {
    Tokens::new([1; 32], [2; 32])
}

fn flows() -> Vec<Flow> {
    let datagram = |listener, remote: &str| Flow::Datagram {
        listener: ListenerId(listener),
        remote: remote.parse().unwrap(),
    };
    vec![
        Flow::Connection(ConnectionId(0)),
        Flow::Connection(ConnectionId(u64::MAX)),
        datagram(0, "192.0.2.1:5060"),
        datagram(u16::MAX, "255.255.255.255:65535"),
        datagram(3, "[2001:db8::1]:5060"),
        datagram(3, "[::ffff:192.0.2.1]:5060"),
        datagram(3, "[fe80::1%7]:5060"),
    ]
}

#[test]
fn flow_tokens_come_back_and_fit_a_user_part() {
    for flow in flows() {
        let token = tokens().flow_token(flow);
        assert!(token.len() <= super::FLOW_TOKEN_CHARACTERS_MAX && token.len() <= 80, "{token}");
        assert_eq!(tokens().read_flow_token(&token), Ok(flow));
        let uri = format!("sip:{token}@edge.example.com;lr");
        assert_eq!(Uri::parse(&uri).unwrap().user(), Some(token.as_str()));
    }
}

/// Every text that differs from `token` by one bit, and every shorter one, is refused.
fn check_every_change(token: &str, read: impl Fn(&str) -> bool) {
    for index in 0..token.len() {
        for bit in 0..8 {
            let mut changed = token.as_bytes().to_vec();
            changed[index] ^= 1 << bit;
            if let Ok(changed) = str::from_utf8(&changed) {
                assert!(!read(changed), "bit {bit} of character {index} of {token}");
            }
        }
        assert!(!read(&token[..index]), "{index} characters of {token}");
    }
    for more in ["A", "=", "AAAA", "%41"] {
        assert!(!read(&format!("{token}{more}")));
    }
}

#[test]
fn every_change_of_a_flow_token_is_a_forgery() {
    for flow in flows() {
        check_every_change(&tokens().flow_token(flow), |t| {
            tokens().read_flow_token(t) != Err(TokenError::Forged)
        });
    }
}

#[test]
fn another_boot_makes_connections_stale_and_leaves_datagrams() {
    let rebooted = Tokens::new([1; 32], [3; 32]);
    for flow in flows() {
        let expected = match flow {
            Flow::Connection(_) => Err(TokenError::Stale),
            Flow::Datagram { .. } => Ok(flow),
        };
        assert_eq!(rebooted.read_flow_token(&tokens().flow_token(flow)), expected);
    }
}

#[test]
fn another_secret_believes_nothing() {
    let other = Tokens::new([9; 32], [2; 32]);
    for flow in flows() {
        assert_eq!(other.read_flow_token(&tokens().flow_token(flow)), Err(TokenError::Forged));
    }
    let gruu = tokens().temporary_gruu("a@example.com", "urn:uuid:1", "call", 1);
    assert_eq!(other.read_temporary_gruu(&gruu), Err(TokenError::Forged));
    assert_ne!(other.call_id_digest("call"), tokens().call_id_digest("call"));
}

#[test]
fn temporary_gruus_come_back_and_show_nothing() {
    let address = "alice@example.com";
    let instance = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    let first = tokens().temporary_gruu(address, instance, "call-1", 1);
    let second = tokens().temporary_gruu(address, instance, "call-1", 2);
    let expected = TemporaryGruu {
        address: address.to_owned(),
        instance: instance.to_owned(),
        call_id_digest: tokens().call_id_digest("call-1"),
    };
    assert_eq!(tokens().read_temporary_gruu(&first), Ok(expected.clone()));
    assert_eq!(tokens().read_temporary_gruu(&second), Ok(expected));
    assert_ne!(tokens().call_id_digest("call-1"), tokens().call_id_digest("call-2"));
    // Unlinkable: as far as two random texts agree, they agree.
    let behind = |gruu: &str| gruu.strip_prefix("tgruu.").unwrap().to_owned();
    let agree = behind(&first).bytes().zip(behind(&second).bytes()).filter(|(a, b)| a == b).count();
    assert!(agree < 16, "{agree} characters agree");
    let bob = tokens().temporary_gruu("bob@example.com", instance, "call-1", 1);
    assert_eq!(first.len(), bob.len(), "the length tells no name");
    let uri = format!("sip:{first}@example.com;gr");
    assert_eq!(Uri::parse(&uri).unwrap().user(), Some(first.as_str()));
    assert_eq!(
        first,
        tokens().temporary_gruu(address, instance, "call-1", 1),
        "the same arguments, the same text"
    );
}

#[test]
fn every_change_of_a_temporary_gruu_is_a_forgery() {
    let gruu = tokens().temporary_gruu("alice@example.com", "urn:uuid:1", "call", 1);
    check_every_change(&gruu, |t| tokens().read_temporary_gruu(t) != Err(TokenError::Forged));
}

#[test]
fn public_gruus_come_back() {
    for (address, instance, written) in [
        (
            "alice@example.com",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "sip:alice@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        ),
        ("alice@example.com", "urn:x?y;z=\"@é", "sip:alice@example.com;gr=urn:x%3Fy%3Bz%3D%22%40%C3%A9"),
        ("a%40b@example.com", "100%", "sip:a%40b@example.com;gr=100%25"),
    ] {
        let gruu = public_gruu(address, instance);
        assert_eq!(gruu, written);
        let read = read_public_gruu(&Uri::parse(&gruu).unwrap()).unwrap();
        assert_eq!((read.address.as_str(), read.instance.as_str()), (address, instance));
    }
    for none in ["sip:alice@example.com", "sip:alice@example.com;gr", "sip:example.com;gr=x"] {
        assert_eq!(read_public_gruu(&Uri::parse(none).unwrap()), None, "{none}");
    }
}

proptest! {
    #[test]
    fn no_text_is_believed_or_fatal(text in ".{0,120}") {
        prop_assert_eq!(tokens().read_flow_token(&text), Err(TokenError::Forged));
        prop_assert_eq!(tokens().read_temporary_gruu(&text), Err(TokenError::Forged));
        prop_assert_eq!(tokens().read_temporary_gruu(&format!("tgruu.{text}")), Err(TokenError::Forged));
    }

    #[test]
    fn any_name_comes_back(address in "\\PC{0,200}", instance in "\\PC{0,200}", call_id: String, counter: u64) {
        let gruu = tokens().temporary_gruu(&address, &instance, &call_id, counter);
        let call_id_digest = tokens().call_id_digest(&call_id);
        prop_assert_eq!(tokens().read_temporary_gruu(&gruu), Ok(TemporaryGruu { address, instance, call_id_digest }));
    }
}
