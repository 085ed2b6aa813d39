//! Whom an edge talks with when it begins: a partner's server that proves nothing hears nothing, the caller is told, and the
//! log says why. And where its connections come from.

use std::net::TcpListener;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SerialNumber};
use sip_message::HeaderId;
use system_tests::{Account, Border, Device, Link, Own, PATIENCE, PrivateCa};

const BOB: &str = "sip:bob@fabrikam.example";
const FQDN: &str = "edge.fabrikam.example";
const TLS_PORT: u16 = 5061;
/// Of the certificate that is revoked.
const SERIAL: u64 = 4711;

/// An edge, and the place where its partner's server is to listen.
struct World {
    border: Border,
    fabrikam: PrivateCa,
    listener: TcpListener,
}

impl World {
    fn new() -> World {
        let (fabrikam, northwind) = (PrivateCa::new("CA of fabrikam"), PrivateCa::new("CA of northwind"));
        let builder = Border::with_partners()
            .partner("fabrikam.example", &fabrikam, "")
            .partner("northwind.example", &northwind, "")
            .revoked(&fabrikam.revocation_list(SERIAL));
        let listener = TcpListener::bind((builder.partner_address(), TLS_PORT)).expect("the address is ours");
        World { border: builder.start(), fabrikam, listener }
    }

    fn issue(&self, ca: &PrivateCa, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Own {
        ca.issue_with(self.border.server().folder(), "partner", names, change)
    }

    /// The partner's server, with this certificate: what comes there. `None` where the edge does not go on.
    fn serve(&self, own: Own) -> std::thread::JoinHandle<Option<Device>> {
        let listener = self.listener.try_clone().expect("a descriptor");
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("the edge connects");
            let account = Account {
                user: "bob".to_owned(),
                password: "never-asked".to_owned(),
                domain: "fabrikam.example".to_owned(),
            };
            Link::accepted_tls(stream, &own).ok().map(|link| Device::over(account, link))
        })
    }

    /// A message to a server with this certificate is refused, and the reason stands in the log. Nothing of it has gone out.
    fn refuses(&self, own: Own, reason: &str) {
        let server = self.serve(own);
        let alice = self.border.from_inside("alice");
        let refused = alice.ask(alice.message(BOB, "for bob alone"));
        assert_eq!(refused.status(), Some(480), "{}", alice.ladder());
        let warning = String::from_utf8_lossy(refused.header(HeaderId::Warning).expect("a Warning"));
        assert!(
            warning.starts_with("399 ")
                && warning.contains("The server of fabrikam.example cannot be reached or does not prove"),
            "{warning}"
        );
        self.border.server().expect_log(reason);
        if let Some(server) = server.join().expect("it serves") {
            // In TLS 1.3 a server is done before the client has looked at it.
            server.closed();
            assert!(server.arrived("MESSAGE").is_none(), "{}", server.ladder());
        }
    }
}

#[test]
fn a_partners_server_whose_certificate_expired_hears_nothing() {
    let world = World::new();
    let own =
        world.issue(&world.fabrikam, &[FQDN], |params| params.not_after = rcgen::date_time_ymd(2026, 1, 1));
    world.refuses(own, "it expired on 2026-01-01 00:00 UTC");
}

#[test]
fn a_partners_server_of_another_name_hears_nothing() {
    let world = World::new();
    let own = world.issue(&world.fabrikam, &["www.fabrikam.example", "sip:fabrikam.example"], |_| {});
    world.refuses(own, "does not bear the host name edge.fabrikam.example");
}

#[test]
fn a_partners_server_of_a_foreign_ca_hears_nothing() {
    let world = World::new();
    let own = world.issue(&PrivateCa::new("CA of nobody"), &[FQDN], |_| {});
    world.refuses(own, "its CA is unknown here");
}

#[test]
fn a_partners_server_whose_certificate_is_revoked_hears_nothing() {
    let world = World::new();
    let own = world.issue(&world.fabrikam, &[FQDN], |params| {
        params.serial_number = Some(SerialNumber::from(SERIAL));
    });
    world.refuses(own, "it was revoked by");
}

#[test]
fn a_partners_server_for_clients_alone_hears_nothing() {
    let world = World::new();
    let own = world.issue(&world.fabrikam, &[FQDN], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    world.refuses(own, "it is for");
}

/// Public CAs issue certificates for servers alone, and one edge is both.
#[test]
fn a_certificate_for_servers_alone_is_good_in_both_roles() {
    let world = World::new();
    let own = world.issue(&world.fabrikam, &[FQDN], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let server = world.serve(own.clone());
    let alice = world.border.from_inside("alice");
    let sent = alice.send(alice.message(BOB, "to a server"));
    let server = server.join().expect("it serves").expect("the edge goes on");
    assert_eq!(server.expect_and_answer("MESSAGE", 200).body(), b"to a server");
    assert_eq!(alice.answer(sent).status(), Some(200), "{}", alice.ladder());
    let bob = world.border.from_outside(Some(&own), "bob", "fabrikam.example");
    let sent = bob.send(bob.message("sip:alice@contoso.example", "from a client"));
    let inside = world.border.inside();
    assert_eq!(inside.expect_and_answer("MESSAGE", 200).body(), b"from a client");
    assert_eq!(bob.answer(sent).status(), Some(200), "{}", bob.ladder());
}

#[test]
fn connections_leave_from_the_address_of_their_side() {
    let world = World::new();
    let own = world.issue(&world.fabrikam, &[FQDN], |_| {});
    let server = world.serve(own.clone());
    let alice = world.border.from_inside("alice");
    let sent = alice.send(alice.message(BOB, "outwards"));
    let server = server.join().expect("it serves").expect("the edge goes on");
    server.expect_and_answer("MESSAGE", 200);
    assert_eq!(alice.answer(sent).status(), Some(200), "{}", alice.ladder());
    let bob = world.border.from_outside(Some(&own), "bob", "fabrikam.example");
    let sent = bob.send(bob.message("sip:alice@contoso.example", "inwards"));
    let home = world.border.inside();
    home.expect_and_answer("MESSAGE", 200);
    assert_eq!(bob.answer(sent).status(), Some(200), "{}", bob.ladder());
    let [inside, outside] = world.border.own_addresses();
    assert_eq!(server.remote().ip(), outside, "a partner sees the address outside");
    assert_eq!(home.remote().ip(), inside, "the home sees the one inside");
    assert_ne!(inside, outside);
}

/// A partner who is silent in the middle of the handshake costs the caller no more than a transaction.
#[test]
fn a_partners_server_that_says_nothing_is_given_up() {
    let world = World::new();
    let alice = world.border.from_inside("alice");
    let sent = alice.send(alice.message(BOB, "anybody there?"));
    let (silent, _) = world.listener.accept().expect("the edge connects");
    silent.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let refused = alice.answer(sent);
    assert_eq!(refused.status(), Some(480), "{}", alice.ladder());
}
