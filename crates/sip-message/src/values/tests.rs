use super::*;
use crate::lex::Elements;
use crate::{Host, Method, Scheme};

fn addr(text: &str) -> NameAddr<'_> {
    NameAddr::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn name_addr_with_everything() {
    let addr = addr(
        "\"J \\\"<Rosenberg>\\\" \\\\\"   <sips:j@example.com;lr?a=b> \r\n ;\r\n  tag = 98asjd8 ; x=\"a;b,\\\"\" ; y",
    );
    assert_eq!(addr.display, b"\"J \\\"<Rosenberg>\\\" \\\\\"");
    assert_eq!(addr.uri.as_str(), "sips:j@example.com;lr?a=b");
    assert_eq!(addr.tag(), Some("98asjd8"));
    assert_eq!(addr.params.get("X"), Some("\"a;b,\\\"\""));
    assert_eq!(addr.params.get_unquoted("x").as_deref(), Some("a;b,\""));
    assert_eq!(addr.params.get("y"), Some(""));
    assert!(!addr.params.has("lr"));
}

#[test]
fn without_brackets_the_parameters_are_the_headers() {
    let addr = addr("sip:alice@example.com;tag=1;lr;x=\"<y>\"");
    assert_eq!(addr.uri.as_str(), "sip:alice@example.com");
    assert_eq!(addr.uri.params().text, "");
    assert_eq!(addr.tag(), Some("1"));
    assert!(addr.params.has("lr"));
    assert_eq!(addr.display, b"");
}

#[test]
fn display_names() {
    assert_eq!(addr("caller<sip:a@b.example>").display, b"caller");
    assert_eq!(addr("a  b <sip:a@b.example>").display, b"a  b");
    assert_eq!(addr("<sip:a@b.example>").display, b"");
    let latin = NameAddr::parse(b"\"J\xf6rg\" <sip:a@b.example>").expect("display names are octets");
    assert_eq!(latin.display, b"\"J\xf6rg\"");
    assert_eq!(addr("<name:John_Smith>").uri.scheme(), Scheme::Other("name"));
}

#[test]
fn what_is_no_name_addr() {
    for text in [
        "",
        "x",
        "*",
        "Bell, Alexander <sip:a@b.example>",
        "\"Mr. J. User <sip:j@b.example>",
        "\"a\" b <sip:a@b.example>",
        "\"a\"",
        "< sip:a@b.example >",
        "<sip:a@b.example",
        "<sip:a@b.example>;",
        "<sip:a@b.example>;;a",
        "<sip:a@b.example>;a=",
        "<sip:a@b.example> x",
        "<sip:a@b.example>, <sip:c@d.example>",
        "<sip:a@b.example>;x=\"y",
        "sip:a@b.example?Route=x",
        "sip:a@b.example;x=y?Route=x",
        "sip:a@b.example, sip:c@d.example",
        "sip:a@b.example x",
    ] {
        assert!(NameAddr::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(NameAddr::parse(b"<sip:a@b.example>;x=\"\xf6\"").is_err(), "parameters are UTF-8");
}

#[test]
fn via() {
    let via = Via::parse(
        b"SIP  / 2.0\r\n /TLS   [2001:db8::9] : 5061 ;branch=z9hG4bK1; received=2001:db8::9:255;rport",
    )
    .expect("a Via");
    assert_eq!((via.transport, via.port), ("TLS", Some(5061)));
    assert_eq!(via.host, Host::Address("2001:db8::9".parse().unwrap()));
    assert_eq!(via.host_text, "[2001:db8::9]");
    assert_eq!(via.branch(), Some("z9hG4bK1"));
    assert_eq!(via.params.get("received"), Some("2001:db8::9:255"));
    assert_eq!(via.params.get("rport"), Some(""));
    let via = Via::parse(b"SIP/2.0/UDP host.example;received=[2001:db8::9]").expect("a Via");
    assert_eq!((via.branch(), via.params.get("received")), (None, Some("[2001:db8::9]")));
    for text in [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0 host",
        "SIP/2.0/UDPhost:5060",
        "SIP/2.0/UDP 192.0.2.15;;,;,,",
        "SIP/2.0/UDP 192.0.2.15;branch=",
        "SIP/2.0/UDP 2001:db8::9",
        "SIP/2.0/UDP host:99999",
        "SIP/2.0/UDP host:",
        "SIP/2.0/UDP host x",
        "SIP/2.0/UDP h\u{f6}st",
    ] {
        assert!(Via::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn cseq() {
    let parse = |text: &'static str| CSeq::parse(text.as_bytes());
    assert_eq!(parse("0009\r\n  INVITE"), Ok(CSeq { number: 9, method: Method::Invite }));
    assert_eq!(parse("4294967295 X"), Ok(CSeq { number: u32::MAX, method: Method::Other("X") }));
    for text in [
        "",
        "1",
        "1INVITE",
        "INVITE",
        "4294967296 ACK",
        "-1 ACK",
        "1 AC K",
        "1 A<K",
        "99999999999999999999 ACK",
    ] {
        assert_eq!(parse(text), Err(HeaderError::Malformed("CSeq")), "{text}");
    }
}

#[test]
fn contacts() {
    let parse = |text: &'static str| Contacts::from_elements(Elements::of(text.as_bytes()));
    assert!(matches!(parse("*"), Ok(Contacts::Star)));
    let Ok(Contacts::List(list)) =
        parse("\"a,b\" <sip:a,c@b.example>;q=0.7;expires=60 , sip:c@d.example;expires=no")
    else {
        panic!("no list");
    };
    assert_eq!(list.len(), 2);
    assert_eq!((list[0].q, list[0].expires), (Some(700), Some(60)));
    assert_eq!((list[1].q, list[1].expires), (None, None));
}

#[test]
fn contact_lists_that_are_none() {
    for text in
        ["*, *", "*, sip:a@b.example", "sip:a@b.example, *", "sip:a@b.example,", "<sip:a@b.example>;q=1.1"]
    {
        assert!(Contacts::from_elements(Elements::of(text.as_bytes())).is_err(), "{text}");
    }
}

#[test]
fn qualities() {
    let q =
        |text: &str| ContactValue::parse(format!("<sip:a@b.example>;q={text}").as_bytes()).ok().map(|c| c.q);
    for (text, thousandths) in
        [("0", 0), ("1", 1000), ("1.000", 1000), ("0.5", 500), ("0.05", 50), ("0.123", 123), (".5", 500)]
    {
        assert_eq!(q(text), Some(Some(thousandths)), "{text}");
    }
    for text in ["2", "1.001", "0.1234", "-1", "x", ".", "0.x"] {
        assert_eq!(q(text), None, "{text}");
    }
}

#[test]
fn elements() {
    let split = |text: &'static str| {
        Elements::of(text.as_bytes()).map(|e| str::from_utf8(e).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(split(""), Vec::<&str>::new());
    assert_eq!(split(" \r\n "), Vec::<&str>::new());
    assert_eq!(split("a"), ["a"]);
    assert_eq!(split("a ,\r\n b"), ["a", "b"]);
    assert_eq!(split("a,,b,"), ["a", "", "b", ""]);
    assert_eq!(split("\"a,\\\",\" <x,y>;z=\",\", b"), ["\"a,\\\",\" <x,y>;z=\",\"", "b"]);
    assert_eq!(split("\"a, b"), ["\"a, b"], "an open quote ends nowhere");
    assert_eq!(split("<a, b"), ["<a, b"]);
}

#[test]
fn dates() {
    assert!(is_sip_date(b"Sat, 13 Nov 2010 23:29:00 GMT"));
    for text in [
        "Fri, 01 Jan 2010 16:00:00 EST",
        "Sat, 13 Nov 2010 24:29:00 GMT",
        "Sat, 00 Nov 2010 23:29:00 GMT",
        "Xxx, 13 Nov 2010 23:29:00 GMT",
        "Sat, 13 Xxx 2010 23:29:00 GMT",
        "Sat, 13 Nov 2010 23:29 GMT",
        "",
    ] {
        assert!(!is_sip_date(text.as_bytes()), "{text}");
    }
}

#[test]
fn retry_after() {
    let parse = |text: &str| RetryAfter::parse(text.as_bytes()).ok().map(|retry| retry.seconds);
    assert_eq!(parse("18000;duration=3600"), Some(18000));
    assert_eq!(parse("120 (I'm in a meeting)"), Some(120));
    assert_eq!(parse("99999999999"), Some(u32::MAX));
    assert_eq!(parse("x"), None);
    assert_eq!(parse("12x"), None);
}

#[test]
fn auth_params() {
    let auth = AuthParams::parse(
        b"Digest username=\"a\\\"b\", REALM=\"x, y\",\r\n qop=auth , nc=00000001,response=\"\"",
    )
    .unwrap();
    assert_eq!(auth.scheme, "Digest");
    assert_eq!(auth.get("username").as_deref(), Some("a\"b"));
    assert_eq!(auth.get("realm").as_deref(), Some("x, y"));
    assert_eq!(auth.get("qop").as_deref(), Some("auth"));
    assert_eq!(auth.get("nc").as_deref(), Some("00000001"));
    assert_eq!(auth.get("response").as_deref(), Some(""));
    assert_eq!(auth.get("opaque"), None);
    assert_eq!(auth.iter().count(), 5);
    let bearer = AuthParams::parse(b"Bearer abc.def==").unwrap();
    assert_eq!((bearer.scheme, bearer.text), ("Bearer", "abc.def=="));
    let info = AuthParams::parse_info(b"nextnonce=\"n\", qop=auth").unwrap();
    assert_eq!((info.scheme, info.get("nextnonce").as_deref()), ("", Some("n")));
    for text in
        ["", "Digest a", "Digest a=\"b", "Digest a=b c=d", "Digest a=\"b\"c", "Digest,a=b", "\"Digest\" a=b"]
    {
        assert!(AuthParams::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(AuthParams::parse(b"Digest a=\"\xf6\"").is_err());
}

#[test]
fn params_that_nobody_checked_end_quietly() {
    for text in ["x", ";", ";=", ";a=", ";a=\"b", ";a=\"\\", ";a b", ";a;;b", ";\u{e4}=\u{e4};b"] {
        let params = Params { text };
        assert!(params.iter().count() <= text.len());
    }
}

#[test]
fn parameters_of_credentials_are_shown_on_the_way() {
    let shown = |value: &str| {
        let mut shown = Vec::new();
        let result = AuthParams::parse_and_show(value.as_bytes(), |name, value| {
            shown.push((name.to_owned(), value.to_owned()))
        });
        if let Ok(params) = result {
            let is_list = params.scheme != "Bearer";
            let again: Vec<_> =
                params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(shown, if is_list { again } else { Vec::new() }, "{value}");
        }
        (result.is_ok(), shown.len())
    };
    assert_eq!(shown("Digest username=\"a\", nc = 1 ,qop=auth"), (true, 3));
    assert_eq!(shown("Digest username=\"a\", nc = 1 qop=auth"), (false, 1));
    assert_eq!(shown("Bearer a=b"), (true, 0));
}
