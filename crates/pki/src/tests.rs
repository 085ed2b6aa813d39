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

fn serial(number: u8) -> Serial {
    Serial::from_random([number; 16])
}

fn domains(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ders(pem: &str) -> Vec<Vec<u8>> {
    certificates_in_pem(pem.as_bytes()).unwrap()
}

/// A root and an issuing CA for contoso.example and addresses of 192.0.2.0/24.
fn contoso() -> (Authority, Authority) {
    let addresses = Addresses::Within(vec!["192.0.2.0/24".parse().unwrap()]);
    let constraints = Constraints::to(&domains(&["Contoso.example."]), addresses);
    let root = Authority::create_root("Contoso root", &constraints, NOW).unwrap();
    let issuing = root.create_issuing("Contoso issuing", Key::New, serial(1), NOW).unwrap();
    (root, issuing)
}

fn issue(authority: &Authority, kind: Kind, name: &str, of: &[&str]) -> Result<CertificateFacts, PkiError> {
    let request = Request::new(kind, name, &domains(of), &[], None)?;
    let issued = authority.issue(&request, Key::New, serial(9), NOW)?;
    CertificateFacts::read(&ders(&issued.certificate_pem)[0])
}

#[test]
fn an_issuing_ca_stands_below_a_root_and_above_none() {
    let (root, issuing) = contoso();
    assert!(is_issued_by(issuing.certificate_der(), root.certificate_der()).unwrap());
    assert_eq!((root.facts().path_length, issuing.facts().path_length), (Some(1), Some(0)));
    assert_eq!(issuing.facts().constraints, root.facts().constraints, "the constraints are inherited");
    assert_eq!(issuing.days_left(NOW), ISSUING_VALID_DAYS);
    assert!(matches!(
        issuing.create_issuing("Deeper", Key::New, serial(2), NOW),
        Err(PkiError::Refused { .. })
    ));

    let request = Request::new(Kind::EdgeInside, "edge.contoso.example", &[], &[], None).unwrap();
    let leaf = issuing.issue(&request, Key::New, serial(3), NOW).unwrap();
    let chain = ders(&issuing.with_chain(&leaf.certificate_pem));
    assert_eq!(chain.len(), 2);
    assert!(is_issued_by(&chain[0], &chain[1]).unwrap());
    assert_eq!(ders(&root.with_chain(&leaf.certificate_pem)).len(), 1, "a root is not sent");
}

#[test]
fn a_renewed_issuing_ca_stands_behind_what_it_issued_before() {
    let (root, issuing) = contoso();
    let request = Request::new(Kind::EdgeInside, "edge.contoso.example", &[], &[], None).unwrap();
    let leaf = ders(&issuing.issue(&request, Key::New, serial(3), NOW).unwrap().certificate_pem).remove(0);
    let later = NOW + (ISSUING_VALID_DAYS - 30) * DAY as u64;
    let kept = Key::Kept(issuing.key_pem());
    let renewed = root.create_issuing("Contoso issuing", kept, serial(4), later).unwrap();
    assert!(is_issued_by(&leaf, renewed.certificate_der()).unwrap());
    assert_eq!(renewed.days_left(later), ISSUING_VALID_DAYS);
    let at_the_end = NOW + (AUTHORITY_VALID_DAYS - 10) * DAY as u64;
    let last = root.create_issuing("Contoso issuing", kept, serial(5), at_the_end).unwrap();
    assert_eq!(last.days_left(at_the_end), 10, "never longer than the root");
}

/// kind: hosts | SIP domains | usages
#[test]
fn each_kind_has_its_names_and_usages() {
    let (_, ca) = contoso();
    let told = |kind, name, of: &[&str]| {
        let facts = issue(&ca, kind, name, of).unwrap();
        let Usages { server, client, sip_domain } = facts.usages;
        let usages = [(server, "server"), (client, "client"), (sip_domain, "sip-domain")];
        let usages: Vec<&str> = usages.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        let persons = facts.persons.join(" ");
        format!(
            "{} | {} | {persons} | {}",
            facts.dns_names.join(" "),
            facts.sip_uri_domains.join(" "),
            usages.join(" ")
        )
    };
    assert_eq!(
        told(Kind::Server, "SIP.contoso.example", &["contoso.example"]),
        "sip.contoso.example contoso.example | contoso.example |  | server client sip-domain"
    );
    assert_eq!(told(Kind::Server, "dir.contoso.example", &[]), "dir.contoso.example |  |  | server client");
    assert_eq!(
        told(Kind::EdgeInside, "edge.contoso.example", &[]),
        "edge.contoso.example |  |  | server client"
    );
    assert_eq!(
        told(Kind::EdgeOutside, "edge.contoso.example", &["contoso.example", "eu.contoso.example"]),
        "edge.contoso.example contoso.example eu.contoso.example | contoso.example eu.contoso.example |  | server \
         client sip-domain"
    );
    assert_eq!(told(Kind::Client, "Alice@contoso.example", &[]), " |  | Alice@contoso.example | client");
    assert_eq!(told(Kind::Client, "laptop7.contoso.example", &[]), "laptop7.contoso.example |  |  | client");
    assert_eq!(
        told(Kind::Partner, "edge.contoso.example", &["contoso.example"]),
        "edge.contoso.example | contoso.example |  | server client sip-domain"
    );
}

#[test]
fn names_outside_the_constraints_are_refused_wherever_they_stand() {
    let (_, ca) = contoso();
    let refused = |kind, name: &str, of: &[&str]| match issue(&ca, kind, name, of) {
        Err(PkiError::Refused { name, reason }) => {
            assert!(reason.contains("contoso.example and below"), "{reason}");
            name
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Kind::Server, "sip.fabrikam.example", &[]), "sip.fabrikam.example");
    assert_eq!(refused(Kind::Server, "xcontoso.example", &[]), "xcontoso.example");
    // A `sip:` URI is no DNS name, and TLS libraries would let it pass.
    assert_eq!(refused(Kind::Partner, "edge.contoso.example", &["fabrikam.example"]), "fabrikam.example");
    assert_eq!(refused(Kind::Client, "alice@fabrikam.example", &[]), "alice@fabrikam.example");
    let with_address = |address: [u8; 4]| {
        let request =
            Request::new(Kind::Server, "a.contoso.example", &[], &[IpAddr::from(address)], None).unwrap();
        ca.issue(&request, Key::New, serial(1), NOW).err()
    };
    assert!(with_address([192, 0, 2, 7]).is_none());
    assert!(
        matches!(with_address([198, 51, 100, 7]), Some(PkiError::Refused { name, .. }) if name == "198.51.100.7")
    );
}

#[test]
fn kinds_refuse_what_is_not_theirs() {
    for (kind, name, of) in [
        (Kind::EdgeInside, "edge.contoso.example", vec!["contoso.example"]),
        (Kind::EdgeOutside, "edge.contoso.example", vec![]),
        (Kind::Partner, "edge.contoso.example", vec![]),
        (Kind::Client, "alice@contoso.example", vec!["contoso.example"]),
        (Kind::Client, "a b@contoso.example", vec![]),
        (Kind::Client, "@contoso.example", vec![]),
        (Kind::Server, "alice@contoso.example", vec![]),
        (Kind::Server, "*.contoso.example", vec![]),
        (Kind::Server, "192.0.2.1", vec![]),
    ] {
        let request = Request::new(kind, name, &domains(&of), &[], None);
        assert!(matches!(request, Err(PkiError::Refused { .. })), "{kind:?} {name} {of:?}: {request:?}");
    }
    for days in [0, CLIENT_VALID_DAYS + 1] {
        let request = Request::new(Kind::Client, "a@contoso.example", &[], &[], Some(days));
        assert!(matches!(request, Err(PkiError::Refused { .. })), "{days} days");
    }
}

#[test]
fn nothing_is_issued_beyond_the_end_of_its_ca() {
    let (_, ca) = contoso();
    let late = NOW + (ISSUING_VALID_DAYS - 100) * DAY as u64;
    let of_days = |days| {
        let request = Request::new(Kind::EdgeInside, "edge.contoso.example", &[], &[], Some(days)).unwrap();
        ca.issue(&request, Key::New, serial(1), late)
    };
    assert!(of_days(100).is_ok());
    let Err(PkiError::Refused { reason, .. }) = of_days(101) else { panic!("issued") };
    assert!(reason.contains("100 more days"), "{reason}");
}

#[test]
fn a_renewed_certificate_is_the_same_but_for_key_dates_and_number() {
    let (_, ca) = contoso();
    for (kind, name, of) in [
        (Kind::EdgeOutside, "edge.contoso.example", vec!["contoso.example"]),
        (Kind::Partner, "edge.contoso.example", vec!["contoso.example"]),
        (Kind::Client, "alice@contoso.example", vec![]),
    ] {
        let request = Request::new(kind, name, &domains(&of), &[], None).unwrap();
        let first = ca.issue(&request, Key::New, serial(1), NOW).unwrap();
        let before = CertificateFacts::read(&ders(&first.certificate_pem)[0]).unwrap();
        let request = Request::renewing(&before, None).unwrap();
        let later = NOW + 100;
        let again = ca.issue(&request, Key::Kept(&first.key_pem), serial(2), later).unwrap();
        let der = ders(&again.certificate_pem).remove(0);
        let after = CertificateFacts::read(&der).unwrap();
        assert!(key_fits(&der, &first.key_pem).unwrap());
        assert_ne!((after.serial.as_str(), after.sha256), (before.serial.as_str(), before.sha256));
        assert_eq!(after.not_after_unix_seconds, before.not_after_unix_seconds + 100);
        let neutral = |facts: CertificateFacts| CertificateFacts {
            serial: String::new(),
            sha256: [0; 32],
            not_before_unix_seconds: 0,
            not_after_unix_seconds: 0,
            ..facts
        };
        assert_eq!(neutral(after), neutral(before));
    }
    assert!(matches!(Request::renewing(ca.facts(), None), Err(PkiError::Refused { .. })));
}

#[test]
fn a_signing_request_gives_its_key_and_nothing_else() {
    let (_, ca) = contoso();
    let key = KeyPair::generate().unwrap();
    let asked = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    let pem = asked.serialize_request(&key).unwrap().pem().unwrap();
    let request = Request::new(Kind::EdgeInside, "edge.contoso.example", &[], &[], None).unwrap();
    let certificate = ders(&ca.issue_to(&request, &pem, serial(1), NOW).unwrap()).remove(0);
    assert!(key_fits(&certificate, &key.serialize_pem()).unwrap());
    assert_eq!(CertificateFacts::read(&certificate).unwrap().dns_names, ["edge.contoso.example"]);

    let der = asked.serialize_request(&key).unwrap().der().to_vec();
    let forged = [&der[..der.len() - 1], &[der[der.len() - 1] ^ 1]].concat();
    let forged = rcgen::CertificateSigningRequestParams::from_der(&forged.as_slice().into());
    assert!(forged.is_err(), "the request is not signed with its key");
    assert!(matches!(ca.issue_to(&request, "no PEM", serial(1), NOW), Err(PkiError::Malformed { .. })));
}

#[test]
fn a_revocation_list_holds_number_dates_and_serials() {
    use x509_parser::prelude::{CertificateRevocationList, FromDer};
    let (_, ca) = contoso();
    let leaf = issue(&ca, Kind::EdgeInside, "edge.contoso.example", &[]).unwrap();
    let revoked = [Revoked {
        serial: leaf.serial.clone(),
        at_unix_seconds: NOW,
        reason: RevocationReason::KeyCompromise,
    }];
    let facts = ListFacts {
        number: 300,
        this_update_unix_seconds: NOW,
        next_update_unix_seconds: NOW + 30 * DAY as u64,
    };
    let pem = ca.revocation_list(facts, &revoked).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let (_, list) = CertificateRevocationList::from_der(&pem.contents).unwrap();
    assert_eq!(list.crl_number().map(ToString::to_string).as_deref(), Some("300"));
    assert_eq!(list.next_update().map(|time| time.timestamp()), Some(NOW as i64 + 30 * DAY));
    let entries: Vec<_> = list.iter_revoked_certificates().collect();
    assert_eq!(entries.len(), 1);
    let octets: Vec<String> = entries[0].raw_serial().iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(octets.concat(), leaf.serial);
    let (_, authority) = x509_parser::parse_x509_certificate(ca.certificate_der()).unwrap();
    list.verify_signature(authority.public_key()).unwrap();

    let wrong = [Revoked { serial: "xyz".to_owned(), ..revoked[0].clone() }];
    assert!(matches!(ca.revocation_list(facts, &wrong), Err(PkiError::Refused { .. })));
}

#[test]
fn constraints_are_read_as_they_were_written() {
    let v6: AddressRange = "2001:db8::/32".parse().unwrap();
    let written = Constraints {
        permitted_domains: Some((0..60).map(|n| format!("domain-number-{n}.contoso.example")).collect()),
        excluded_domains: domains(&["secret.contoso.example"]),
        permitted_addresses: Some(vec!["10.0.0.0/8".parse().unwrap(), v6]),
        excluded_addresses: vec!["10.9.0.0/16".parse().unwrap()],
    };
    let root = Authority::create_root("Root", &written, NOW).unwrap();
    assert_eq!(root.facts().constraints, written);
    assert!(root.facts().constraints.permit_address("10.1.2.3".parse().unwrap()));
    for outside in ["10.9.2.3", "11.0.0.1", "2001:db9::1"] {
        assert!(!root.facts().constraints.permit_address(outside.parse().unwrap()), "{outside}");
    }
    let nothing =
        Authority::create_root("Root", &Constraints::to(&[], Addresses::Within(vec![])), NOW).unwrap();
    assert!(!nothing.facts().constraints.permit_address("::1".parse().unwrap()));
    assert!(Constraints::default().permit_domain("anything.example"));
    for wrong in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/x", "host", ""] {
        assert!(wrong.parse::<AddressRange>().is_err(), "{wrong}");
    }
}

#[test]
fn a_constraint_covers_its_name_and_what_is_below() {
    let of = |constraint: &str| Constraints::to(&domains(&[constraint]), Addresses::Any);
    for (constraint, name, expected) in [
        ("a.example", "A.example.", true),
        ("a.example", "b.a.example", true),
        ("a.example", "*.a.example", true),
        ("a.example", "xa.example", false),
        ("a.example", "example", false),
        (".a.example", "b.a.example", true),
        (".a.example", "a.example", false),
        ("", "a.example", true),
    ] {
        assert_eq!(of(constraint).permit_domain(name), expected, "{name} under {constraint:?}");
    }
}

/// Part, whether it fits, and the first lack.
fn told(chain: &[Vec<u8>], anchors: &[Vec<u8>]) -> Vec<String> {
    let line = |fitness: &Fitness| {
        let lack = fitness.lacks.first().map_or(String::new(), |lack| format!(": {}", lack.text));
        format!("{} {}{lack}", fitness.part.name(), if fitness.fits() { "yes" } else { "no" })
    };
    fitness(chain, anchors, NOW as i64).unwrap().iter().map(line).collect()
}

#[test]
fn fitness_says_for_what_a_chain_will_do() {
    let (root, ca) = contoso();
    let request =
        Request::new(Kind::EdgeOutside, "edge.contoso.example", &domains(&["contoso.example"]), &[], None);
    let issued = ca.issue(&request.unwrap(), Key::New, serial(7), NOW).unwrap();
    let chain = ders(&ca.with_chain(&issued.certificate_pem));
    let anchors = [root.certificate_der().to_vec()];
    assert_eq!(
        told(&chain, &anchors),
        [
            "server yes",
            "edge-inside yes",
            "edge-outside yes",
            "client no: it names no person",
            "anchor no: it is no CA's certificate"
        ]
    );
    let (other, _) = contoso();
    assert!(told(&chain, &[other.certificate_der().to_vec()])[0].contains("none of the given CAs issued"));
    assert!(
        told(&chain[..1], &anchors)[0].contains("server no: the file ends at"),
        "the issuing CA is missing"
    );
    let upside_down = [chain[0].clone(), anchors[0].clone(), chain[1].clone()];
    assert!(told(&upside_down, &[])[0].contains("certificate 1 of the file is not issued by certificate 2"));
    assert_eq!(told(&anchors, &[])[4], "anchor yes");
}

#[test]
fn fitness_sees_what_public_and_foreign_cas_leave_out() {
    let server_only = |sans: &[&str], days: i64| {
        let mut params =
            CertificateParams::new(sans.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + std::time::Duration::from_secs(NOW - 10);
        params.not_after = epoch + std::time::Duration::from_secs((NOW as i64 + days * DAY) as u64);
        // A CA of somebody else, without constraints of ours.
        let key = KeyPair::generate().unwrap();
        let other = Authority::create("Public CA", NOW).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_der(
            &other.certificate_der().into(),
            KeyPair::from_pem(other.key_pem()).unwrap(),
        );
        (params.signed_by(&key, &issuer.unwrap()).unwrap().der().to_vec(), other.certificate_der().to_vec())
    };
    let (leaf, root) = server_only(&["edge.fabrikam.example"], 90);
    let judged = fitness(&[leaf], &[root], NOW as i64).unwrap();
    let outside = judged.iter().find(|fitness| fitness.part == Part::EdgeOutside).unwrap();
    assert!(outside.fits());
    let texts: Vec<&str> = outside.lacks.iter().map(|lack| lack.text.as_str()).collect();
    assert!(texts[0].contains("clientAuth") && texts[1].contains("no sip: URI name"), "{texts:?}");

    let (leaf, root) = server_only(&["*.fabrikam.example"], 90);
    assert!(told(&[leaf], &[root])[2].contains("by wildcard only"));
    let (leaf, root) = server_only(&["edge.fabrikam.example"], 900);
    assert!(told(&[leaf], &[root])[2].contains("edge-outside yes: it is valid for 900 days"));
    let (leaf, root) = server_only(&["edge.fabrikam.example"], -1);
    assert!(told(std::slice::from_ref(&leaf), &[root])[2].contains("no: it has ended"));
    let (_, ca) = contoso();
    let of_ours = [leaf, ca.certificate_der().to_vec()];
    let prevented = &fitness(&of_ours, &[], NOW as i64).unwrap()[2].lacks;
    assert!(prevented.iter().any(|lack| lack.text.contains("may not issue for edge.fabrikam.example")));
}

/// RFC 5929 §4.1: SHA-256 at least, else the hash of the signature.
#[test]
fn the_end_point_is_the_hash_of_the_certificate() {
    use sha2::{Digest, Sha256, Sha384};

    let of = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::default().self_signed(&key).unwrap().der().to_vec()
    };
    let certificate = of(&rcgen::PKCS_ECDSA_P256_SHA256);
    assert_eq!(end_point(&certificate).unwrap(), Some(Sha256::digest(&certificate).to_vec()));
    let certificate = of(&rcgen::PKCS_ECDSA_P384_SHA384);
    assert_eq!(end_point(&certificate).unwrap(), Some(Sha384::digest(&certificate).to_vec()));
    assert_eq!(end_point(&of(&rcgen::PKCS_ED25519)).unwrap(), None);
    assert!(end_point(b"none").is_err());
}

#[test]
fn a_ca_for_holders_issues_for_its_domains_and_no_further_ca() {
    let constraints = Constraints::to(&domains(&["contoso.example"]), Addresses::Within(Vec::new()));
    let authority = Authority::create_for_holders("Contoso people", &constraints, NOW).unwrap();
    assert_eq!(authority.facts().path_length, Some(0));
    let request = Request::new(Kind::Client, "alice@contoso.example", &[], &[], Some(30)).unwrap();
    let key = KeyPair::generate().unwrap();
    let asked = CertificateParams::default().serialize_request(&key).unwrap();
    let asked = SigningRequest::read(asked.der()).unwrap();
    let issued = authority.issue_for(&request, &asked, serial(1), NOW).unwrap();
    let facts = CertificateFacts::read(&ders(&issued)[0]).unwrap();
    assert_eq!(facts.persons, ["alice@contoso.example"]);
    assert_eq!(facts.usages, Usages { server: false, client: true, sip_domain: false });
    assert!(is_issued_by(&ders(&issued)[0], authority.certificate_der()).unwrap());
    let elsewhere = Request::new(Kind::Client, "alice@fabrikam.example", &[], &[], Some(30)).unwrap();
    assert!(authority.issue_for(&elsewhere, &asked, serial(2), NOW).is_err());
    assert!(authority.create_issuing("Below", Key::New, serial(3), NOW).is_err());
}
