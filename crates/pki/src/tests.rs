use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{CertificateParams, KeyPair, SanType};

use super::*;

const NOW: u64 = 1_790_000_000;
const DAY: i64 = 24 * 3600;

fn names_of(sans: &[(&str, &str)]) -> Vec<String> {
    let mut params = CertificateParams::default();
    for (kind, value) in sans {
        let text = (*value).try_into().unwrap();
        params.subject_alt_names.push(match *kind {
            "uri" => SanType::URI(text),
            "dns" => SanType::DnsName(text),
            "mail" => SanType::Rfc822Name(text),
            _ => unreachable!("a kind of name"),
        });
    }
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    sip_domains(certificate.der()).unwrap()
}

#[test]
fn sip_uris_come_before_dns_names() {
    assert_eq!(names_of(&[("dns", "sip1.a.example"), ("uri", "sip:a.example")]), ["a.example"]);
    assert_eq!(names_of(&[("uri", "SIP:A.example"), ("uri", "sip:b.example.")]), ["a.example", "b.example"]);
    assert_eq!(names_of(&[("dns", "A.example"), ("dns", "b.example")]), ["a.example", "b.example"]);
}

#[test]
fn other_uris_do_not_hide_dns_names() {
    let names = [("uri", "https://x.example/"), ("uri", "sips:c.example"), ("dns", "a.example")];
    assert_eq!(names_of(&names), ["a.example"]);
}

#[test]
fn a_persons_certificate_proves_no_domain() {
    assert!(names_of(&[("uri", "sip:alice@a.example"), ("dns", "a.example")]).is_empty());
    assert_eq!(names_of(&[("uri", "sip:alice@a.example"), ("uri", "sip:b.example")]), ["b.example"]);
}

#[test]
fn what_is_no_domain_is_left_out() {
    for (kind, value) in [
        ("dns", "*.a.example"),
        ("dns", "a b.example"),
        ("dns", "192.0.2.1"),
        ("dns", ""),
        ("uri", "sip:192.0.2.1"),
        ("uri", "sip:[2001:db8::1]"),
        ("uri", "sip:"),
        ("uri", "sip:*.a.example"),
        ("mail", "alice@a.example"),
    ] {
        assert!(names_of(&[(kind, value)]).is_empty(), "{kind} {value}");
    }
    assert_eq!(names_of(&[("uri", "sip:a.example:5061;transport=tls")]), ["a.example"]);
}

#[test]
fn domains_are_compared_whole() {
    let identities = ["a.example".to_owned()];
    assert!(proves_domain(&identities, "A.Example."));
    for other in ["b.a.example", "example", "xa.example", ""] {
        assert!(!proves_domain(&identities, other), "{other}");
    }
}

#[test]
fn hosts_know_one_wildcard_label() {
    let names = ["*.a.example".to_owned(), "b.example".to_owned(), "*.example".to_owned()];
    assert!(covers_host(&names, "sip.A.example"));
    assert!(covers_host(&names, "b.example"));
    for other in ["a.example", "x.sip.a.example", "c.b.example", ".a.example"] {
        assert!(!covers_host(&names, other), "{other}");
    }
    assert!(!covers_host(&names[2..], "x.example"), "no wildcard over a top level");
}

#[test]
fn a_private_ca_issues_for_domains_hosts_and_addresses() {
    let authority = Authority::create("Test CA", NOW).unwrap();
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let names = ServerNames {
        domains: vec!["Contoso.example".into(), "fabrikam.example".into()],
        hosts: vec!["sip.contoso.example".into(), "localhost".into(), "contoso.example".into()],
        addresses: loopback.to_vec(),
    };
    let issued = authority.issue_server(&names, NOW).unwrap();
    let chain = certificates_in_pem(issued.certificate_pem.as_bytes()).unwrap();
    let facts = CertificateFacts::read(&chain[0]).unwrap();

    assert_eq!(chain.len(), 1);
    assert_eq!(facts.sip_domains, ["contoso.example", "fabrikam.example"]);
    assert_eq!(facts.dns_names, ["sip.contoso.example", "localhost", "contoso.example", "fabrikam.example"]);
    assert_eq!(facts.ip_addresses, loopback);
    assert!(facts.covers_host("[::1]") && facts.covers_host("LOCALHOST") && !facts.covers_host("127.0.0.2"));
    assert!(facts.may_serve && !facts.is_authority && !facts.is_self_signed);
    assert!(key_fits(&chain[0], &issued.key_pem).unwrap());
    assert!(!key_fits(&chain[0], authority.key_pem()).unwrap());
    assert!(is_issued_by(&chain[0], authority.certificate_der()).unwrap());
    assert!(!is_issued_by(authority.certificate_der(), &chain[0]).unwrap());
}

#[test]
fn validity_is_bounded_and_backdated() {
    let authority = Authority::create("Test CA", NOW).unwrap();
    let ca = CertificateFacts::read(authority.certificate_der()).unwrap();
    let names = ServerNames { hosts: vec!["a.example".into()], ..ServerNames::default() };
    let issued = authority.issue_server(&names, NOW).unwrap();
    let server =
        CertificateFacts::read(&certificates_in_pem(issued.certificate_pem.as_bytes()).unwrap()[0]).unwrap();

    let now = NOW as i64;
    assert!(ca.is_authority && ca.is_self_signed);
    assert_eq!(ca.days_left(now), AUTHORITY_VALID_DAYS as i64);
    assert_eq!(server.days_left(now), SERVER_VALID_DAYS as i64);
    assert!(server.is_valid_at(now - 3600) && !server.is_valid_at(now - 3601));
    assert!(server.not_after_unix_seconds - server.not_before_unix_seconds < 825 * DAY);
    assert_eq!(server.days_left(server.not_after_unix_seconds + 1), -1);
}

#[test]
fn an_authority_is_taken_up_again() {
    let first = Authority::create("Test CA", NOW).unwrap();
    let again = Authority::open(first.certificate_pem(), first.key_pem()).unwrap();
    let names = ServerNames { domains: vec!["a.example".into()], ..ServerNames::default() };
    let issued = again.issue_server(&names, NOW).unwrap();
    let chain = certificates_in_pem(issued.certificate_pem.as_bytes()).unwrap();
    assert!(is_issued_by(&chain[0], first.certificate_der()).unwrap());

    let other = Authority::create("Test CA", NOW).unwrap();
    assert!(!is_issued_by(&chain[0], other.certificate_der()).unwrap(), "the same name, another key");
    assert!(matches!(
        Authority::open(first.certificate_pem(), other.key_pem()),
        Err(PkiError::Refused { .. })
    ));
    assert!(matches!(
        Authority::open(&issued.certificate_pem, &issued.key_pem),
        Err(PkiError::Refused { .. })
    ));
}

#[test]
fn what_the_rules_forbid_is_refused_with_its_name() {
    let authority = Authority::create("Test CA", NOW).unwrap();
    let refused = |names: ServerNames| match authority.issue_server(&names, NOW) {
        Err(PkiError::Refused { name, .. }) => name,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("issued for {names:?}"),
    };
    let of_host = |host: &str| ServerNames { hosts: vec![host.to_owned()], ..ServerNames::default() };
    assert_eq!(refused(of_host("*.a.example")), "*.a.example");
    assert_eq!(refused(of_host("a b")), "a b");
    assert_eq!(refused(of_host("127.0.0.1")), "127.0.0.1");
    assert_eq!(refused(of_host("münchen.example")), "münchen.example");
    assert_eq!(refused(ServerNames::default()), "");
    let many = (0..=NAMES_MAX).map(|n| format!("h{n}.example")).collect();
    refused(ServerNames { hosts: many, ..ServerNames::default() });
    assert!(matches!(Authority::create("", NOW), Err(PkiError::Refused { .. })));
}

#[test]
fn octets_that_are_no_certificate_are_malformed() {
    assert!(matches!(sip_domains(b"\x30\x03abc"), Err(PkiError::Malformed { .. })));
    assert!(matches!(certificates_in_pem(b"no PEM"), Err(PkiError::Malformed { .. })));
    let authority = Authority::create("Test CA", NOW).unwrap();
    assert!(matches!(key_fits(authority.certificate_der(), "no key"), Err(PkiError::Malformed { .. })));
}
