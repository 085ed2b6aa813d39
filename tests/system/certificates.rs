//! What a partner's certificate proves at the edge: each way in which one proves nothing is refused, and the edge's log
//! says why. Handshakes, certificates and revocation lists are real.

use std::io::Write;
use std::process::{Command, Stdio};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SerialNumber};
use system_tests::{Border, Own, PrivateCa, have, skip};

/// Of the certificate that is revoked.
const SERIAL: u64 = 4711;
const FQDN: &str = "edge.fabrikam.example";
const ALICE: &str = "sip:alice@contoso.example";

/// An edge that knows `fabrikam.example` by its edge's host name and `northwind.example` the same, each by a CA of its own,
/// and `litware.example` by its SIP domain.
struct World {
    border: Border,
    fabrikam: PrivateCa,
    northwind: PrivateCa,
    litware: PrivateCa,
}

impl World {
    fn new() -> World {
        let fabrikam = PrivateCa::new("CA of fabrikam");
        let northwind = PrivateCa::new("CA of northwind");
        // It may sign for one domain, and its owner signs for another.
        let litware = PrivateCa::of_domain("CA of wingtip", "wingtip.example");
        let border = Border::with_partners()
            .partner("fabrikam.example", &fabrikam, "")
            .partner("northwind.example", &northwind, "")
            .partner("litware.example", &litware, "certificate = \"domain\"")
            .revoked(&fabrikam.revocation_list(SERIAL))
            .start();
        World { border, fabrikam, northwind, litware }
    }

    fn issue(&self, ca: &PrivateCa, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Own {
        ca.issue_with(self.border.server().folder(), "partner", names, change)
    }

    /// A request of this domain over a connection with this certificate is refused without a reason, which stands in the
    /// log; and the partner who has a good one is heard.
    fn refuses(&self, own: &Own, domain: &str, reason: &str) {
        let liar = self.border.from_outside(Some(own), "bob", domain);
        let refused = liar.try_ask(liar.message(ALICE, "believe me").unanswering());
        if let Some(refused) = refused {
            assert_eq!(refused.status(), Some(403), "{}", liar.ladder());
            assert!(refused.header(sip_message::HeaderId::Warning).is_none(), "a stranger is told no reason");
        }
        self.border.server().expect_log(reason);
        let good = self.issue(&self.fabrikam, &[FQDN], |_| {});
        let bob = self.border.from_outside(Some(&good), "bob", "fabrikam.example");
        let sent = bob.send(bob.message(ALICE, "it is me"));
        let inside = self.border.inside();
        let arrived = inside.expect_and_answer("MESSAGE", 200);
        assert_eq!(arrived.body(), b"it is me", "and nothing else has come in");
        let text = String::from_utf8_lossy(arrived.bytes());
        assert!(text.contains("Chancery-Origin: partner;domain=fabrikam.example;mode=direct"), "{text}");
        assert_eq!(bob.answer(sent).status(), Some(200), "{}", bob.ladder());
    }
}

#[test]
fn an_expired_certificate_is_refused() {
    let world = World::new();
    let own =
        world.issue(&world.fabrikam, &[FQDN], |params| params.not_after = rcgen::date_time_ymd(2026, 1, 1));
    world.refuses(&own, "fabrikam.example", "it expired on 2026-01-01 00:00 UTC");
}

#[test]
fn a_certificate_of_tomorrow_is_refused() {
    let world = World::new();
    let own =
        world.issue(&world.fabrikam, &[FQDN], |params| params.not_before = rcgen::date_time_ymd(2400, 1, 1));
    world.refuses(&own, "fabrikam.example", "it is not valid before 2400-01-01 00:00 UTC");
}

#[test]
fn a_revoked_certificate_is_refused() {
    let world = World::new();
    let own = world.issue(&world.fabrikam, &[FQDN], |params| {
        params.serial_number = Some(SerialNumber::from(SERIAL));
    });
    world.refuses(&own, "fabrikam.example", "it was revoked by");
}

#[test]
fn a_certificate_of_another_name_is_refused() {
    let world = World::new();
    // The SIP domain is there; the rule asks for the host.
    let own = world.issue(&world.fabrikam, &["www.fabrikam.example", "sip:fabrikam.example"], |_| {});
    world.refuses(&own, "fabrikam.example", "does not bear the host name edge.fabrikam.example");
}

#[test]
fn a_wildcard_certificate_is_refused() {
    let world = World::new();
    let own = world.issue(&world.fabrikam, &["*.fabrikam.example"], |_| {});
    world.refuses(&own, "fabrikam.example", "does not bear the host name edge.fabrikam.example");
}

#[test]
fn a_certificate_for_another_use_is_refused() {
    let world = World::new();
    let own = world.issue(&world.fabrikam, &[FQDN], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    });
    world.refuses(&own, "fabrikam.example", "it is for signed code only");
}

#[test]
fn a_certificate_of_an_unknown_ca_is_refused() {
    let world = World::new();
    let own = world.issue(&PrivateCa::new("CA of nobody"), &[FQDN], |_| {});
    world.refuses(&own, "fabrikam.example", "its CA is unknown here");
}

#[test]
fn a_certificate_of_a_ca_that_only_bears_the_name_is_refused() {
    let world = World::new();
    let own = world.issue(&PrivateCa::new("CA of fabrikam"), &[FQDN], |_| {});
    world.refuses(&own, "fabrikam.example", "the signature is not that of the CA it names");
}

#[test]
fn the_right_name_from_another_partners_ca_is_refused() {
    let world = World::new();
    let own = world.issue(&world.northwind, &[FQDN], |_| {});
    world.refuses(&own, "fabrikam.example", "leads to no CA that is believed for this peer");
}

#[test]
fn a_domain_outside_of_its_cas_constraints_is_refused() {
    let world = World::new();
    // Others that verify certificates look at DNS names alone, and would let it pass.
    let own = world.issue(&world.litware, &["sip:litware.example", "edge.wingtip.example"], |_| {});
    world.refuses(&own, "litware.example", "is outside of what");
}

/// OpenSSL's own client: it tells which CAs a server names, and sends what it is given.
#[test]
fn openssl_is_told_no_partners_and_gets_no_further() {
    if !have("openssl") {
        return skip("openssl s_client as a partner", "openssl is not installed");
    }
    let world = World::new();
    let own =
        world.issue(&world.fabrikam, &[FQDN], |params| params.not_after = rcgen::date_time_ymd(2026, 1, 1));
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &world.border.outside().to_string()])
        .args(["-servername", world.border.outside_host(), "-CAfile"])
        .arg(world.border.ca())
        .args(["-verify_return_error", "-ign_eof", "-cert"])
        .arg(&own.certificate)
        .arg("-key")
        .arg(&own.key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    let mut input = client.stdin.take().expect("a pipe");
    let octets = b"OPTIONS sip:alice@contoso.example SIP/2.0\r\n\
        Via: SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bKone\r\nMax-Forwards: 70\r\n\
        From: <sip:bob@fabrikam.example>;tag=1\r\nTo: <sip:alice@contoso.example>\r\nCall-ID: one\r\n\
        CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n\
        not SIP, which ends the connection\r\n\r\n\r\n";
    input.write_all(octets).expect("openssl reads");
    world.border.server().expect_log("it expired on 2026-01-01 00:00 UTC");
    // The edge closes what it cannot read.
    let said = client.wait_with_output().expect("openssl ends");
    drop(input);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("SIP/2.0 403"), "{said}");
    assert!(said.contains("No client certificate CA names sent"), "nobody learns whom we talk with: {said}");
}
