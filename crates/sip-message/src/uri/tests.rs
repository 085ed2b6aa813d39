use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn parts_of_a_sip_uri() {
    let uri = uri("sips:a%6cice;x=1:pa$s@[2001:db8::10]:5070;transport=tcp;lr;gr=urn:uuid:1?Subject=x&a=b");
    assert_eq!(uri.scheme(), Scheme::Sips);
    assert!(uri.is_sip());
    assert_eq!(uri.user(), Some("a%6cice;x=1"));
    assert_eq!(uri.user_unescaped().as_deref(), Some("alice;x=1"));
    assert_eq!(uri.password(), "pa$s");
    assert_eq!(uri.host(), Host::Address("2001:db8::10".parse().unwrap()));
    assert_eq!(uri.host_text(), "[2001:db8::10]");
    assert_eq!(uri.port(), Some(5070));
    assert_eq!(uri.params().get("TRANSPORT"), Some("tcp"));
    assert_eq!(uri.params().get("lr"), Some(""));
    assert_eq!(uri.params().get("gr"), Some("urn:uuid:1"));
    assert_eq!(uri.params().get("g"), None);
    assert_eq!(uri.headers_text(), "Subject=x&a=b");
    assert_eq!(uri.without_params(), "sips:a%6cice;x=1:pa$s@[2001:db8::10]:5070");
}

#[test]
fn a_port_is_no_password_without_a_user() {
    let uri = uri("sip:contoso.example:5061;lr");
    assert_eq!((uri.user(), uri.host(), uri.port()), (None, Host::Name("contoso.example"), Some(5061)));
}

#[test]
fn other_schemes() {
    let number = uri("tel:+1-201-555-0123;ext=4");
    assert_eq!((number.scheme(), number.user()), (Scheme::Tel, Some("+1-201-555-0123")));
    assert_eq!(number.params().get("ext"), Some("4"));
    assert_eq!(number.host(), Host::Name(""));
    assert_eq!(number.without_params(), "tel:+1-201-555-0123");
    assert_eq!(uri("tel:7042;phone-context=example.com").user(), Some("7042"));
    let other = uri("soap.beep://192.0.2.103:3002");
    assert_eq!((other.scheme(), other.user()), (Scheme::Other("soap.beep"), None));
    assert_eq!(uri("IM:bob@contoso.example").scheme(), Scheme::Other("IM"));
}

#[test]
fn what_is_no_uri() {
    for text in [
        "",
        "sip",
        "sip:",
        ":x",
        "sip:@host",
        "sip::pass@host",
        "sip:a b@host",
        "sip:a@b@c",
        "sip:a@",
        "sip:a%4@host",
        "sip:a%zz@host",
        "sip:user@2001:db8::10",
        "sip:[2001:db8:::192.0.2.1]",
        "sip:[2001:db8::1",
        "sip:[::1]x",
        "sip:192.0.2.256",
        "sip:192.0.2",
        "sip:192.0.02.1",
        "sip:1.2.3.4.5",
        "sip:host:",
        "sip:host:65536",
        "sip:host:-1",
        "sip:.host",
        "sip:ho..st",
        "sip:-host",
        "sip:host-",
        "sip:ho.-st",
        "sip:host;",
        "sip:host;;lr",
        "sip:host;lr=",
        "sip:host;a=b=c",
        "sip:host;l r",
        "sip:host?",
        "sip:host? a=b",
        "sip:host>",
        "<sip:host>",
        " sip:host",
        "sip:host ",
        "sip:h\u{f6}st",
        "sip:\u{e4}@host",
        "tel:",
        "tel:+",
        "tel:+1x",
        "tel:abc;",
        "1x:y",
        "x:",
        "x:a b",
        "x:<a>",
    ] {
        assert!(Uri::parse(text).is_err(), "{text}");
    }
    assert!(Uri::parse(&format!("sip:{}", "a".repeat(HEADER_BLOCK_OCTETS_MAX))).is_err());
    for (count, is_uri) in [(COMPONENTS_MAX, true), (COMPONENTS_MAX + 1, false)] {
        assert_eq!(Uri::parse(&format!("sip:h{}", ";a".repeat(count))).is_ok(), is_uri);
        assert_eq!(Uri::parse(&format!("tel:1{}", ";a".repeat(count))).is_ok(), is_uri);
        assert_eq!(Uri::parse(&format!("sip:h?a{}", "&a".repeat(count - 1))).is_ok(), is_uri);
    }
}

#[test]
fn hosts_that_are_fine() {
    for text in [
        "sip:a--b.example.",
        "sip:xn--bcher-kva.example",
        "sip:win_host.corp.example",
        "sip:3com.example",
        "sip:[2001:db8::192.0.2.1]",
        "sip:[::ffff:192.0.2.1]:5060",
        "sip:255.255.255.255:0",
    ] {
        uri(text);
    }
}

/// The examples of RFC 3261 §19.1.4, and what they do not show.
#[test]
fn equivalence() {
    let same = [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("SIP:alice@atlanta.com", "sip:alice@atlanta.com"),
        ("sip:a.example;x=1;x=2", "sip:a.example;x=2;x=1"),
        ("sip:alice@[2001:db8::1]", "sip:alice@[2001:DB8:0::1]"),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
        ("tel:7042;phone-context=example.com;ext=1", "tel:70-42;EXT=1;phone-context=Example.com"),
        ("IM:bob@contoso.example", "im:bob@contoso.example"),
    ];
    for (a, b) in same {
        assert!(uri(a).is_equivalent(&uri(b)), "{a} {b}");
        assert!(uri(b).is_equivalent(&uri(a)), "{b} {a}");
    }
    let different = [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b.example", "sips:a@b.example"),
        ("sip:a@b.example", "sip:b.example"),
        ("sip:a:x@b.example", "sip:a@b.example"),
        ("sip:a;b@c.example", "sip:a%3Bb@c.example"),
        ("sip:a@b.example?x=1&x=1", "sip:a@b.example?x=1"),
        ("sip:a@b.example;maddr=192.0.2.1", "sip:a@b.example"),
        ("tel:+12015550123", "tel:12015550123"),
        ("tel:+12015550123;ext=1", "tel:+12015550123"),
        ("im:bob@contoso.example", "im:Bob@contoso.example"),
    ];
    for (a, b) in different {
        assert!(!uri(a).is_equivalent(&uri(b)), "{a} {b}");
        assert!(!uri(b).is_equivalent(&uri(a)), "{b} {a}");
    }
}

#[test]
fn unescaping_is_done_once() {
    assert_eq!(unescape("value%2541"), "value%41");
    assert_eq!(unescape("%00x"), "\0x");
    assert_eq!(unescape("%C3%A4"), "\u{e4}");
    assert_eq!(unescape("%E4"), "%E4", "no UTF-8: as it is");
    assert_eq!(unescape("%4"), "%4");
}

mod hosts {
    use proptest::prelude::*;

    use super::super::host_at;

    /// What the walks over a host say, read off its text; nothing but a host stands there.
    fn simple(text: &str) -> Option<(usize, Option<std::net::IpAddr>)> {
        if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
            return Some((text.len(), Some(address.into())));
        }
        let is_number = text.starts_with(|first: char| first.is_ascii_digit())
            && text.bytes().all(|octet| octet == b'.' || octet.is_ascii_digit());
        let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
        let are_labels =
            labels.all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
        (!is_number && are_labels).then_some((text.len(), None))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn are_read_alike(
            host in prop_oneof![
                "[0-9.a-]{1,20}",
                "[0-9]{1,3}(\\.(0|1|9|10|25|26|249|255|256|1000|01)){2,4}[.a-]?",
                "[a-zA-Z0-9_.-]{1,30}",
                "[a-z0-9]{1,9}([.-]{1,2}[a-z0-9]{1,9}){0,4}\\.?",
            ],
            behind in "([:;> ,].{0,9})?",
        ) {
            prop_assert_eq!(host_at(format!("{host}{behind}").as_bytes()), simple(&host));
        }
    }
}
