use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    NameConstraints, RevocationReason, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::*;

const DAY: u64 = 24 * 3600;
/// 2026-09-21.
const NOW: u64 = 1_790_000_000;
/// Of the RFC: id-kp-sipDomain.
const SIP_DOMAIN: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 20];

/// A CA of the test's own; the names of its certificates are told apart by text.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: Vec<u8>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(name.bytes().map(u64::from).sum::<u64>()));
    valid(&mut params, NOW - DAY, NOW + 30 * DAY);
    params
}

fn valid(params: &mut CertificateParams, from: u64, until: u64) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from);
    params.not_after = epoch + Duration::from_secs(until);
}

impl Ca {
    fn root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Ca {
        Ca::made(name, None, change)
    }

    fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Ca {
        Ca::made(name, Some(self), change)
    }

    fn made(name: &str, above: Option<&Ca>, change: impl FnOnce(&mut CertificateParams)) -> Ca {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = match above {
            Some(above) => params.signed_by(&key, &above.issuer),
            None => params.self_signed(&key),
        };
        let certificate = certificate.unwrap();
        Ca { pem: certificate.pem(), der: certificate.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let certificate = leaf(names, change);
        certificate.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().to_vec()
    }

    /// Lists the certificates of these names; made yesterday, due in `days`.
    fn crl(&self, names: &[&str], days: i64) -> rcgen::CertificateRevocationList {
        let at = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let revoked = names.iter().map(|name| RevokedCertParams {
            serial_number: params(name).serial_number.unwrap(),
            revocation_time: at(NOW - DAY),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: at(NOW - 10 * DAY),
            next_update: at(NOW.saturating_add_signed(days * DAY as i64)),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }
}

/// `sip:` names become URIs, others DNS names; the first one is the common name too.
fn leaf(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params(names.first().unwrap_or(&"nobody"));
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.contains(':') {
            true => SanType::URI((*name).try_into().unwrap()),
            false => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    params
}

fn partner(name: &str) -> Anchors {
    Anchors::Partner(name.into())
}

fn trust(scopes: &[(Anchors, &Ca)]) -> TrustBuilder {
    scopes.iter().fold(Trust::builder(), |builder, (scope, ca)| {
        builder.anchors(scope.clone(), ca.pem.as_bytes()).unwrap()
    })
}

fn servers(ca: &Ca) -> Trust {
    trust(&[(Anchors::Servers, ca)]).build()
}

fn judge(trust: &Trust, chain: &[&[u8]]) -> Judgement {
    trust.judge(chain, PeerRole::Client, UnixMillis(NOW * 1000))
}

#[track_caller]
fn accepted(judgement: Judgement) -> PeerCertificate {
    assert_eq!(judgement.distrust, None);
    assert_eq!(judgement.certificate.distrust, "");
    judgement.certificate
}

/// Checks that nobody vouches, and why not.
#[track_caller]
fn refused(judgement: Judgement, class: DistrustClass, words: &str) {
    let Judgement { certificate, distrust } = judgement;
    assert_eq!(distrust.map(|d| d.class()), Some(class), "{}", certificate.distrust);
    assert_eq!(certificate.trusted_by, []);
    assert_eq!(certificate.distrust, words);
}

#[test]
fn facts_are_those_of_the_certificate() {
    let ca = Ca::root("Contoso CA", |_| {});
    let names =
        ["SIP:Contoso.example", "edge.Contoso.example", "*.contoso.example", "sip:alice@contoso.example"];
    let der = ca.issue(&names, |params| {
        params.subject_alt_names.push(SanType::IpAddress("192.0.2.7".parse().unwrap()));
    });
    let certificate = accepted(judge(&servers(&ca), &[&der]));
    assert_eq!(certificate.sip_domains, ["contoso.example"]);
    assert_eq!(certificate.dns_names, ["edge.contoso.example"]);
    assert_eq!(certificate.ip_addresses, ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(certificate.not_after, UnixMillis((NOW + 30 * DAY) * 1000));
    assert_eq!(certificate.trusted_by, [Anchors::Servers]);
    assert_eq!(certificate.sha256, <[u8; 32]>::from(Sha256::digest(&der)));
}

#[test]
fn anchors_vouch_for_their_purpose_only() {
    let (ours, fabrikams, tailspins) =
        (Ca::root("Ours", |_| {}), Ca::root("Fabrikam CA", |_| {}), Ca::root("Tailspin CA", |_| {}));
    let scopes = [
        (Anchors::Servers, &ours),
        (Anchors::Partners, &tailspins),
        (partner("fabrikam.example"), &fabrikams),
        (partner("tailspin.example"), &tailspins),
    ];
    let trust = trust(&scopes).build();
    let edge = |ca: &Ca| ca.issue(&["edge.fabrikam.example"], |_| {});
    let trusted_by = |ca: &Ca| accepted(judge(&trust, &[&edge(ca)])).trusted_by;
    assert_eq!(trusted_by(&ours), [Anchors::Servers]);
    assert_eq!(trusted_by(&fabrikams), [partner("fabrikam.example")]);
    assert_eq!(trusted_by(&tailspins), [Anchors::Partners, partner("tailspin.example")]);
}

#[test]
fn a_cross_signed_chain_is_vouched_for_by_both_roots() {
    let (old, new) = (Ca::root("Old root", |_| {}), Ca::root("New root", |_| {}));
    let issuing = old.below("Issuing", |_| {});
    // The same CA, its name and key, signed by the other root too.
    let cross = {
        let mut params = params("Issuing");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.signed_by(issuing.issuer.key(), &new.issuer).unwrap().der().to_vec()
    };
    let der = issuing.issue(&["a.example"], |_| {});
    let trust = trust(&[(Anchors::Partners, &old), (partner("a.example"), &new)]).build();
    let by = |chain: &[&[u8]]| accepted(judge(&trust, chain)).trusted_by;
    assert_eq!(by(&[&der, &issuing.der]), [Anchors::Partners]);
    assert_eq!(by(&[&der, &cross]), [partner("a.example")]);
    assert_eq!(by(&[&der, &cross, &issuing.der]), [Anchors::Partners, partner("a.example")]);
}

#[test]
fn a_chain_may_come_in_any_order_and_with_its_root() {
    let root = Ca::root("Root", |_| {});
    let policy = root.below("Policy", |_| {});
    let issuing = policy.below("Issuing", |_| {});
    let der = issuing.issue(&["a.example"], |_| {});
    accepted(judge(&servers(&root), &[&der, &root.der, &policy.der, &issuing.der]));
    let words = "its CA is unknown here: CN=Issuing";
    refused(judge(&servers(&root), &[&der, &issuing.der]), DistrustClass::UnknownAuthority, words);
}

#[test]
fn an_unknown_ca_is_named() {
    let stranger = Ca::root("Stranger CA", |_| {});
    let der = stranger.issue(&["a.example"], |_| {});
    let class = DistrustClass::UnknownAuthority;
    let words = "its CA is unknown here: CN=Stranger CA";
    refused(judge(&servers(&Ca::root("Ours", |_| {})), &[&der]), class, words);
    refused(judge(&servers(&Ca::root("Ours", |_| {})), &[&der, &stranger.der]), class, words);
    refused(judge(&Trust::nobody(), &[&der]), class, words);
}

#[test]
fn a_ca_of_the_same_name_is_another_ca() {
    let (ours, theirs) = (Ca::root("CA", |_| {}), Ca::root("CA", |_| {}));
    let der = theirs.issue(&["a.example"], |_| {});
    let words = "the signature is not that of the CA it names: CN=CA";
    refused(judge(&servers(&ours), &[&der]), DistrustClass::UnknownAuthority, words);
    // A renewed CA keeps its name: both are believed while both are anchors.
    let both = trust(&[(Anchors::Servers, &ours), (Anchors::Servers, &theirs)]).build();
    accepted(judge(&both, &[&der]));
}

#[test]
fn a_self_signed_certificate_vouches_for_itself_once_it_is_an_anchor() {
    let key = KeyPair::generate().unwrap();
    let issuer_params = leaf(&["a.example"], |_| {});
    let own = issuer_params.self_signed(&key).unwrap();
    let words = "it is self-signed, and not known here";
    refused(judge(&Trust::nobody(), &[own.der()]), DistrustClass::UnknownAuthority, words);
    let trust = Trust::builder().anchors(partner("a.example"), own.pem().as_bytes()).unwrap().build();
    assert_eq!(accepted(judge(&trust, &[own.der()])).trusted_by, [partner("a.example")]);
    // Its key makes no CA of it.
    let child = leaf(&["b.example"], |_| {})
        .signed_by(&KeyPair::generate().unwrap(), &Issuer::new(issuer_params, key))
        .unwrap();
    refused(judge(&trust, &[child.der()]), DistrustClass::Unfit, "CN=a.example is no CA");
}

#[test]
fn dates_are_those_of_every_certificate_of_the_path() {
    let ended = |params: &mut CertificateParams| valid(params, NOW - 9 * DAY, NOW - 2 * DAY);
    let begins = |params: &mut CertificateParams| valid(params, NOW + DAY, NOW + 9 * DAY);
    let ca = Ca::root("CA", |_| {});
    let one = |change: fn(&mut CertificateParams)| judge(&servers(&ca), &[&ca.issue(&["a.example"], change)]);
    let (expired, early) = (DistrustClass::Expired, DistrustClass::NotYetValid);
    refused(one(ended), expired, "it expired on 2026-09-19 14:13 UTC");
    refused(one(begins), early, "it is not valid before 2026-09-22 14:13 UTC");
    let below = |change: fn(&mut CertificateParams)| {
        let issuing = ca.below("Issuing", change);
        judge(&servers(&ca), &[&issuing.issue(&["a.example"], |_| {}), &issuing.der])
    };
    refused(below(ended), expired, "the CA of its chain expired on 2026-09-19 14:13 UTC");
    refused(below(begins), early, "the CA of its chain is not valid before 2026-09-22 14:13 UTC");
    let under = |change: fn(&mut CertificateParams)| {
        let root = Ca::root("Old CA", change);
        judge(&servers(&root), &[&root.issue(&["a.example"], |_| {})])
    };
    refused(under(ended), expired, "the CA CN=Old CA expired on 2026-09-19 14:13 UTC");
    refused(under(begins), early, "the CA CN=Old CA is not valid before 2026-09-22 14:13 UTC");
}

#[test]
fn usages_are_judged_by_the_peers_role() {
    use ExtendedKeyUsagePurpose::*;
    let ca = Ca::root("CA", |_| {});
    let trust = servers(&ca);
    // Usage, good for a client, good for a server.
    let cases: [(&[ExtendedKeyUsagePurpose], bool, bool); 9] = [
        (&[], true, true),
        (&[ServerAuth, ClientAuth], true, true),
        (&[ServerAuth], true, true),
        (&[ClientAuth], true, false),
        (&[Any], true, true),
        (&[Other(SIP_DOMAIN.to_vec())], true, true),
        (&[Other(SIP_DOMAIN.to_vec()), EmailProtection], true, true),
        (&[EmailProtection, CodeSigning], false, false),
        (&[Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 21])], false, false),
    ];
    for (usages, as_client, as_server) in cases {
        let der = ca.issue(&["a.example"], |params| params.extended_key_usages = usages.to_vec());
        for (role, is_good) in [(PeerRole::Client, as_client), (PeerRole::Server, as_server)] {
            let judgement = trust.judge(&[&der], role, UnixMillis(NOW * 1000));
            let class = judgement.distrust.map(|d| d.class());
            assert_eq!(class, (!is_good).then_some(DistrustClass::Usage), "{usages:?} {role:?}");
        }
    }
    let mail = ca.issue(&["a.example"], |params| params.extended_key_usages = vec![EmailProtection]);
    refused(judge(&trust, &[&mail]), DistrustClass::Usage, "it is for mail only");
}

#[test]
fn all_of_a_path_agree_on_one_usage() {
    use ExtendedKeyUsagePurpose::*;
    let root = Ca::root("Root", |_| {});
    let clients = root.below("Clients only", |params| params.extended_key_usages = vec![ClientAuth]);
    let issue = |usages: Vec<ExtendedKeyUsagePurpose>| {
        clients.issue(&["a.example"], |params| params.extended_key_usages = usages)
    };
    let of = |der: Vec<u8>| judge(&servers(&root), &[&der, &clients.der]);
    accepted(of(issue(vec![ServerAuth, ClientAuth])));
    accepted(of(issue(vec![])));
    refused(of(issue(vec![ServerAuth])), DistrustClass::Usage, "it is for TLS servers only");
    let silent = issue(vec![]);
    let as_server = servers(&root).judge(&[&silent, &clients.der], PeerRole::Server, UnixMillis(NOW * 1000));
    refused(as_server, DistrustClass::Usage, "a CA of its chain may not be used for TLS");
}

#[test]
fn key_usages_are_obeyed() {
    let root = Ca::root("Root", |_| {});
    let der = root.issue(&["a.example"], |params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    refused(
        judge(&servers(&root), &[&der]),
        DistrustClass::Unfit,
        "its key is not one for digital signatures",
    );
    let signer = root.below("Code", |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let der = signer.issue(&["a.example"], |_| {});
    let words = "the key of CN=Code may not sign certificates";
    refused(judge(&servers(&root), &[&der, &signer.der]), DistrustClass::Unfit, words);
}

#[test]
fn who_is_no_ca_issues_nothing_and_a_ca_is_no_peer() {
    let root = Ca::root("Root", |_| {});
    let server = root.below("server.example", |params| params.is_ca = IsCa::ExplicitNoCa);
    let der = server.issue(&["a.example"], |_| {});
    let words = "it was issued by somebody who is no CA";
    refused(judge(&servers(&root), &[&der, &server.der]), DistrustClass::Unfit, words);
    let ca = root.below("A CA", |params| params.key_usages.push(KeyUsagePurpose::DigitalSignature));
    let words = "it is the certificate of a CA, which no server may show as its own";
    refused(judge(&servers(&root), &[&ca.der]), DistrustClass::Unfit, words);
}

#[test]
fn path_lengths_are_obeyed() {
    let root = Ca::root("Root", |_| {});
    let one = root.below("One", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let two = one.below("Two", |_| {});
    accepted(judge(&servers(&root), &[&one.issue(&["a.example"], |_| {}), &one.der]));
    let der = two.issue(&["a.example"], |_| {});
    let words = "its chain is longer than a CA of it allows";
    refused(judge(&servers(&root), &[&der, &two.der, &one.der]), DistrustClass::Unfit, words);
}

fn constrained<'a>(permitted: &'a [&str], excluded: &'a [&str]) -> impl Fn(&mut CertificateParams) + 'a {
    let subtrees = |names: &[&str]| names.iter().map(|n| GeneralSubtree::DnsName((*n).into())).collect();
    move |params| {
        let (permitted_subtrees, excluded_subtrees) = (subtrees(permitted), subtrees(excluded));
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
    }
}

#[test]
fn a_sip_uri_outside_a_cas_dns_constraints_breaks_the_chain() {
    let change = constrained(&["contoso.example", "tailspin.example"], &["lab.contoso.example"]);
    let root = Ca::root("Root", &change);
    let free = Ca::root("Free", |_| {});
    let bound_below = free.below("Bound", &change);
    let outside = [
        ("sip:fabrikam.example", "sip:fabrikam.example"),
        ("SIP:Fabrikam.example", "sip:fabrikam.example"),
        ("sip:evilcontoso.example", "sip:evilcontoso.example"),
        ("sip:example", "sip:example"),
        ("sip:lab.contoso.example", "sip:lab.contoso.example"),
        ("sip:deep.lab.contoso.example", "sip:deep.lab.contoso.example"),
        ("sip:bob@fabrikam.example", "sip:fabrikam.example"),
        ("sip:fabrikam.example:5061;transport=tls", "sip:fabrikam.example"),
    ];
    for (uri, shown) in outside {
        // The DNS name is within: it must not cover up for the URI.
        let names = ["sip.contoso.example", "sip:contoso.example", uri];
        let by_root = judge(&servers(&root), &[&root.issue(&names, |_| {})]);
        let words = format!("{shown} is outside of what CN=Root may sign for");
        refused(by_root, DistrustClass::Constraints, &words);
        let below = judge(&servers(&free), &[&bound_below.issue(&names, |_| {}), &bound_below.der]);
        let words = format!("{shown} is outside of what CN=Bound may sign for");
        refused(below, DistrustClass::Constraints, &words);
    }
    let within =
        ["sip.contoso.example", "sip:contoso.example", "sip:eu.contoso.example", "sip:tailspin.example"];
    accepted(judge(&servers(&root), &[&root.issue(&within, |_| {})]));
    accepted(judge(&servers(&free), &[&bound_below.issue(&within, |_| {}), &bound_below.der]));
}

#[test]
fn a_dns_name_outside_a_cas_constraints_breaks_the_chain() {
    let root = Ca::root("Root", constrained(&["contoso.example"], &["lab.contoso.example"]));
    let words = "one of its names is outside of what a CA of its chain may sign for";
    for name in ["fabrikam.example", "x.lab.contoso.example", "evilcontoso.example"] {
        let der = root.issue(&["sip.contoso.example", name], |_| {});
        refused(judge(&servers(&root), &[&der]), DistrustClass::Constraints, words);
    }
}

#[test]
fn an_intermediate_cannot_loosen_what_bounds_its_root() {
    let root = Ca::root("Root", constrained(&["contoso.example"], &[]));
    let issuing = root.below("Issuing", constrained(&["fabrikam.example", "contoso.example"], &[]));
    let der = issuing.issue(&["sip:fabrikam.example"], |_| {});
    let words = "sip:fabrikam.example is outside of what CN=Root may sign for";
    refused(judge(&servers(&root), &[&der, &issuing.der]), DistrustClass::Constraints, words);
}

#[test]
fn what_a_crl_lists_is_revoked() {
    let root = Ca::root("Root", |_| {});
    let issuing = root.below("Issuing", |_| {});
    let other = root.below("Other", |_| {});
    let of = |crls: &[String], ca: &Ca, name: &str| {
        let builder = trust(&[(Anchors::Servers, &root)]);
        let builder = crls.iter().fold(builder, |b, crl| b.crls(crl.as_bytes()).unwrap());
        judge(&builder.build(), &[&ca.issue(&[name], |_| {}), &ca.der])
    };
    let leafs = issuing.crl(&["a.example"], 10).pem().unwrap();
    let revoked = DistrustClass::Revoked;
    refused(of(std::slice::from_ref(&leafs), &issuing, "a.example"), revoked, "it was revoked by CN=Issuing");
    accepted(of(std::slice::from_ref(&leafs), &issuing, "b.example"));
    accepted(of(std::slice::from_ref(&leafs), &other, "a.example"));
    // A whole CA.
    let cas = root.crl(&["Issuing"], 10).pem().unwrap();
    let words = "the CA CN=Issuing was revoked by CN=Root";
    refused(of(std::slice::from_ref(&cas), &issuing, "b.example"), revoked, words);
    accepted(of(std::slice::from_ref(&cas), &other, "a.example"));
    // Both in one file, which is what a script makes of many.
    refused(of(&[format!("{cas}\n{leafs}")], &issuing, "b.example"), revoked, words);
}

#[test]
fn a_crl_that_its_ca_did_not_sign_does_nothing() {
    let root = Ca::root("Root", |_| {});
    let forged = Ca::root("Root", |_| {}).crl(&["a.example"], 10);
    let trust = trust(&[(Anchors::Servers, &root)]).crls(forged.pem().unwrap().as_bytes()).unwrap().build();
    accepted(judge(&trust, &[&root.issue(&["a.example"], |_| {})]));
}

#[test]
fn an_overdue_crl_still_counts_or_stops_everything() {
    let root = Ca::root("Root", |_| {});
    let overdue = root.crl(&["a.example"], -1);
    let of = |expired: ExpiredCrls, fresh: bool, name: &str| {
        let mut builder = trust(&[(Anchors::Servers, &root)]).expired_crls(expired);
        builder = builder.crls(overdue.der()).unwrap();
        if fresh {
            builder = builder.crls(root.crl(&[], 10).der()).unwrap();
        }
        let trust = builder.build();
        assert_eq!(trust.crls_end(), Some(UnixMillis((NOW - DAY) * 1000)));
        judge(&trust, &[&root.issue(&[name], |_| {})])
    };
    let revoked = DistrustClass::Revoked;
    let words = "it was revoked by CN=Root";
    refused(of(ExpiredCrls::StillCount, false, "a.example"), revoked, words);
    accepted(of(ExpiredCrls::StillCount, false, "b.example"));
    refused(of(ExpiredCrls::Refuse, false, "a.example"), revoked, words);
    let words = "the revocation list of CN=Root is overdue since 2026-09-20 14:13 UTC";
    refused(of(ExpiredCrls::Refuse, false, "b.example"), revoked, words);
    accepted(of(ExpiredCrls::Refuse, true, "b.example"));
}

#[test]
fn a_long_chain_and_garbage_are_read_no_further() {
    let root = Ca::root("Root", |_| {});
    let der = root.issue(&["a.example"], |_| {});
    let many: Vec<&[u8]> = std::iter::once(&der[..]).chain([&root.der[..]; CHAIN_CERTIFICATES_MAX]).collect();
    refused(judge(&servers(&root), &many), DistrustClass::Unfit, "its chain has 7 certificates");
    accepted(judge(&servers(&root), &many[..CHAIN_CERTIFICATES_MAX]));
    accepted(judge(&servers(&root), &[&der, b"\x30\x03abc", b""]));
    for garbage in [&b""[..], b"\x30\x03abc", &der[..der.len() - 1]] {
        let judgement = judge(&servers(&root), &[garbage]);
        assert_eq!(judgement.distrust.map(|d| d.class()), Some(DistrustClass::Unfit));
        assert!(judgement.certificate.distrust.starts_with("it cannot be read: "), "{garbage:?}");
    }
    let mut longer = der;
    longer.push(0);
    assert!(judge(&servers(&root), &[&longer]).distrust.is_some(), "nothing may stand behind a certificate");
}

#[test]
fn files_that_hold_nothing_usable_are_refused() {
    let root = Ca::root("Root", |_| {});
    let anchors = |pem: &str| Trust::builder().anchors(Anchors::Servers, pem.as_bytes()).is_ok();
    assert!(anchors(&root.pem));
    assert!(!anchors(""));
    assert!(!anchors(&root.crl(&[], 1).pem().unwrap()), "a CRL is no anchor");
    let crls = |file: &[u8]| Trust::builder().crls(file).is_ok();
    assert!(crls(root.crl(&[], 1).der()) && crls(root.crl(&[], 1).pem().unwrap().as_bytes()));
    assert!(!crls(b"") && !crls(root.pem.as_bytes()) && !crls(b"\x30\x03abc"));
}
