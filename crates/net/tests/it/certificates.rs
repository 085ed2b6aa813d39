//! Certificates of peers: asked for, judged, expected; who we are to them; both exchanged while connections live.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use net::{Adjustment, Bound, ClientCertificates, Credentials, Network, Networks, TlsServer};
use node::{
    Anchors, CloseReason, ConnectError, ConnectTarget, ConnectToken, Expected, PeerCertificate, PeerIdentity,
    Proof, Side, Transport,
};
use pki::{Trust, TrustBuilder};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SerialNumber};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SignatureScheme, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::*;

/// Of the certificates that a test revokes.
const SERIAL: u64 = 4711;

fn partner() -> Anchors {
    Anchors::Partner("fabrikam.example".into())
}

/// Since 1970, in whole seconds, as certificates count.
fn unix_now() -> Duration {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970");
    Duration::from_secs(since.as_secs())
}

fn believing(scopes: &[(Anchors, &Authority)]) -> TrustBuilder {
    scopes.iter().fold(Trust::builder(), |builder, (scope, authority)| {
        builder.anchors(scope.clone(), authority.roots().as_bytes()).expect("the roots are good")
    })
}

fn outside(network: Network) -> Networks {
    Networks { inside: Network::of_strangers(), outside: network }
}

fn network(trust: TrustBuilder) -> Network {
    Network::new(Arc::new(trust.build()))
}

/// A listener to the outside that asks.
fn asking(authority: &Authority, networks: Networks) -> Setup {
    let mut setup = Setup::listen_tls(Transport::Tls, &authority.server(&["localhost"]));
    setup.listeners[0].side = Side::Outside;
    setup.listeners[0].client_certificates = ClientCertificates::Ask;
    setup.networks = Some(networks);
    setup
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("it is PEM")
}

fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("it is PEM")
}

/// A client that trusts `authority` and shows this chain with this key, whether they fit or not.
fn client(
    authority: &Authority,
    shown: Option<&(String, String)>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(chain(&authority.roots()).remove(0)).expect("it is a root");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("the version exists")
        .with_root_certificates(roots);
    Arc::new(match shown {
        None => config.with_no_client_auth(),
        Some((certificate, secret)) => {
            let signing = any_supported_type(&key(secret)).expect("the key is usable");
            let key = CertifiedKey::new(chain(certificate), signing);
            config.with_client_cert_resolver(Arc::new(Shown(Arc::new(key))))
        }
    })
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        assert!(hints.is_empty(), "nobody learns whom we believe");
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

async fn open(config: &Arc<ClientConfig>, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = patient(TcpStream::connect(address)).await.expect("the server listens");
    let name = ServerName::try_from("localhost").expect("it is a name");
    patient(TlsConnector::from(Arc::clone(config)).connect(name, stream)).await
}

/// Shows a certificate, and tells what the node was told of it.
async fn shown(server: &mut Server, config: &Arc<ClientConfig>) -> Option<PeerCertificate> {
    let _stream = open(config, server.addresses[0]).await.expect("TLS comes up");
    let (_, peer) = server.connected().await;
    assert_eq!((peer.side, peer.transport), (Side::Outside, Transport::Tls));
    drop(_stream);
    server.closed().await;
    peer.identity.certificate().cloned()
}

#[tokio::test]
async fn a_client_that_is_asked_shows_its_certificate() {
    let (authority, theirs) = (Authority::new(), Authority::new());
    let networks = outside(network(believing(&[(partner(), &theirs)])));
    let mut server = asking(&authority, networks).start();
    let own = theirs.issue(&["sip:fabrikam.example", "edge.fabrikam.example", "192.0.2.1"]);
    for version in [&TLS12, &TLS13] {
        let proved = shown(&mut server, &client(&authority, Some(&own), version)).await.expect("it has one");
        assert_eq!(proved.sip_domains, ["fabrikam.example"]);
        assert_eq!(proved.dns_names, ["edge.fabrikam.example"]);
        assert_eq!(proved.ip_addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!((proved.trusted_by, proved.distrust), (vec![partner()], String::new()));
        // None is required.
        assert_eq!(shown(&mut server, &client(&authority, None, version)).await, None);
    }
    let line = "chancery_net_client_certificates_total{side=\"outside\",verdict=\"trusted\"}";
    assert_eq!(server.metric(line).await, 2.0);
    server.stop().await;
}

#[tokio::test]
async fn a_listener_that_does_not_ask_sees_no_certificate() {
    let authority = Authority::new();
    let mut setup = asking(&authority, authority.client());
    setup.listeners[0].client_certificates = ClientCertificates::Never;
    let mut server = setup.start();
    let config = client(&authority, Some(&authority.issue(&["a.example"])), &TLS13);
    assert_eq!(shown(&mut server, &config).await, None);
    server.stop().await;
    // Browsers would prompt.
    let mut config = Setup::listen_tls(Transport::Wss, &authority.server(&["localhost"])).listeners.remove(0);
    config.client_certificates = ClientCertificates::Ask;
    let error = Bound::bind(&config).expect_err("it is refused");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_with_the_reason() {
    let (authority, theirs) = (Authority::new(), Authority::new());
    let trust = believing(&[(partner(), &theirs)]).crls(theirs.crl(SERIAL).as_bytes()).expect("it is a CRL");
    let mut server = asking(&authority, outside(network(trust))).start();
    let usage = |purpose: ExtendedKeyUsagePurpose| {
        move |params: &mut CertificateParams| params.extended_key_usages = vec![purpose]
    };
    let names = ["sip:fabrikam.example"];
    let made = rcgen::generate_simple_self_signed(vec!["fabrikam.example".to_owned()]).expect("it is made");
    let cases = [
        (
            (made.cert.pem(), made.signing_key.serialize_pem()),
            "unknown-ca",
            "it is self-signed, and not known here",
        ),
        (Authority::new().issue(&names), "unknown-ca", "the signature is not that of the CA it names"),
        (
            theirs.issue_with(&names, |params| params.not_after = rcgen::date_time_ymd(2026, 1, 1)),
            "expired",
            "it expired on 2026-01-01 00:00 UTC",
        ),
        (
            theirs.issue_with(&names, |params| params.not_before = rcgen::date_time_ymd(2400, 1, 1)),
            "not-yet-valid",
            "it is not valid before 2400-01-01 00:00 UTC",
        ),
        (
            theirs.issue_with(&names, |params| params.serial_number = Some(SerialNumber::from(SERIAL))),
            "revoked",
            "it was revoked by",
        ),
        (
            theirs.issue_with(&names, usage(ExtendedKeyUsagePurpose::CodeSigning)),
            "usage",
            "it is for signed code only",
        ),
    ];
    for (own, verdict, words) in cases {
        let proved = shown(&mut server, &client(&authority, Some(&own), &TLS13)).await.expect("it has one");
        assert_eq!(proved.trusted_by, []);
        assert!(proved.distrust.starts_with(words), "{}", proved.distrust);
        let line =
            format!("chancery_net_client_certificates_total{{side=\"outside\",verdict=\"{verdict}\"}}");
        assert!(server.metric(&line).await >= 1.0);
    }
    // Public CAs issue for servers only by now.
    let own = theirs.issue_with(&names, usage(ExtendedKeyUsagePurpose::ServerAuth));
    let proved = shown(&mut server, &client(&authority, Some(&own), &TLS13)).await.expect("it has one");
    assert_eq!(proved.trusted_by, [partner()]);
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_of_somebody_else_proves_nothing() {
    let (authority, theirs) = (Authority::new(), Authority::new());
    let server = asking(&authority, outside(network(believing(&[(partner(), &theirs)])))).start();
    let (certificate, _) = theirs.issue(&["sip:fabrikam.example"]);
    let (_, other_key) = theirs.issue(&["sip:other.example"]);
    for version in [&TLS12, &TLS13] {
        let config = client(&authority, Some(&(certificate.clone(), other_key.clone())), version);
        // With TLS 1.3 the client hears of it after its own handshake is over.
        let refused = match open(&config, server.addresses[0]).await {
            Ok(mut stream) => read_to_end(&mut stream).await.is_empty(),
            Err(_) => true,
        };
        assert!(refused);
    }
    assert_eq!(server.metric("chancery_net_tls_handshakes_total{result=\"ok\"}").await, 0.0);
    assert_eq!(server.metric("chancery_net_tls_handshakes_total{result=\"failed\"}").await, 2.0);
    assert!(server.stop().await.recv().await.is_none(), "the node was told nothing");
}

#[tokio::test]
async fn a_chain_that_is_too_large_to_keep_is_refused() {
    let authority = Authority::new();
    let server = asking(&authority, authority.client()).start();
    let (certificate, key) = authority.issue(&["a.example"]);
    let own = (certificate.repeat(60), key);
    for version in [&TLS12, &TLS13] {
        let refused = match open(&client(&authority, Some(&own), version), server.addresses[0]).await {
            Ok(mut stream) => read_to_end(&mut stream).await.is_empty(),
            Err(_) => true,
        };
        assert!(refused);
    }
    let line = "chancery_net_tls_refused_total{direction=\"in\",reason=\"unfit\"}";
    assert_eq!(server.metric(line).await, 2.0);
    server.stop().await;
}

#[tokio::test]
async fn a_resumed_session_keeps_its_identity_and_is_judged_again() {
    let (authority, theirs) = (Authority::new(), Authority::new());
    let trust = || believing(&[(partner(), &theirs)]);
    let own = theirs.issue_with(&["sip:fabrikam.example"], |params| {
        params.serial_number = Some(SerialNumber::from(SERIAL));
    });
    for version in [&TLS12, &TLS13] {
        let mut server = asking(&authority, outside(network(trust()))).start();
        let config = client(&authority, Some(&own), version);
        let mut seen = Vec::new();
        for round in 0..3 {
            if round == 2 {
                let trust = trust().crls(theirs.crl(SERIAL).as_bytes()).expect("it is a CRL");
                exchange(&server, outside(network(trust))).await;
            }
            let mut stream = open(&config, server.addresses[0]).await.expect("TLS comes up");
            let (_, peer) = server.connected().await;
            // The ticket comes with the first answer.
            write(&mut stream, &message("hello")).await;
            expect(&mut stream, &message("hello")).await;
            server.received().await;
            let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            assert_eq!(resumed, round > 0);
            drop(stream);
            server.closed().await;
            seen.push(peer.identity.certificate().cloned().expect("it has one"));
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!((&seen[0].trusted_by, &seen[2].trusted_by), (&vec![partner()], &vec![]));
        assert_eq!(seen[0].sha256, seen[2].sha256);
        assert!(seen[2].distrust.starts_with("it was revoked"), "{}", seen[2].distrust);
        server.stop().await;
    }
}

async fn exchange(server: &Server, networks: Networks) {
    let adjustment = Adjustment { networks: Some(networks), ..Adjustment::default() };
    patient(server.handle.adjust(adjustment)).await.expect("it runs").expect("no resolver is made");
}

fn target(address: SocketAddr, expected: Expected) -> ConnectTarget {
    ConnectTarget { transport: Transport::Tls, address, side: Side::Outside, expected: Some(expected) }
}

fn expected(anchors: Anchors, proof: Proof) -> Expected {
    Expected { server_name: "edge.fabrikam.example".into(), anchors, proof }
}

/// Opens a connection, and tells what was proved or why not.
async fn opened(from: &mut Server, target: ConnectTarget) -> Result<PeerCertificate, ConnectError> {
    let side = target.side;
    from.command(Command::Connect(ConnectToken(1), target)).await;
    match from.next().await {
        Seen::Connected(id, peer, Some(ConnectToken(1))) => {
            assert_eq!((peer.side, peer.listener), (side, None));
            from.command(Command::Close(id)).await;
            from.closed().await;
            Ok(peer.identity.certificate().cloned().expect("a server has one"))
        }
        Seen::ConnectFailed(ConnectToken(1), error) => Err(error),
        other => panic!("no answer but {other:?}"),
    }
}

#[tokio::test]
async fn a_server_proves_what_is_expected_of_it_or_there_is_no_connection() {
    let (theirs, tailspins) = (Authority::new(), Authority::new());
    let names = ["sip:fabrikam.example", "edge.fabrikam.example", "*.wild.example"];
    let (certificate, key) = theirs.issue(&names);
    let tls = TlsServer::from_pem(certificate.as_bytes(), key.as_bytes()).expect("the certificate is good");
    let server = Setup::listen_tls(Transport::Tls, &Arc::new(tls)).start();
    let address = server.addresses[0];
    let tailspin = Anchors::Partner("tailspin.example".into());
    let trust = believing(&[(partner(), &theirs), (tailspin.clone(), &tailspins)]);
    let mut from = Setup { networks: Some(outside(network(trust))), ..Setup::default() }.start();

    let pin = |octets: &[u8]| Proof::Pin(sha256(octets));
    let domain = |name: &str| Proof::Domain(name.to_owned());
    let own = chain(&certificate).remove(0);
    for proof in [Proof::Host, domain("Fabrikam.example"), pin(&own)] {
        let proved =
            opened(&mut from, target(address, expected(partner(), proof))).await.expect("it is who it is");
        assert_eq!((proved.sha256, proved.trusted_by), (sha256(&own), vec![partner()]));
    }
    // A pin asks for no anchor.
    opened(&mut from, target(address, expected(Anchors::Servers, pin(&own)))).await.expect("it is pinned");

    let at = |name: &str| Expected { server_name: name.into(), ..expected(partner(), Proof::Host) };
    let unknown = "the certificate leads to no CA that is believed for this peer";
    let cases = [
        (
            at("fabrikam.example"),
            "the certificate does not bear the host name fabrikam.example",
            "wrong-name",
        ),
        (at("a.wild.example"), "the certificate does not bear the host name a.wild.example", "wrong-name"),
        (at("127.0.0.1"), "the certificate does not bear the host name 127.0.0.1", "wrong-name"),
        (
            expected(partner(), domain("edge.fabrikam.example")),
            "the certificate does not bear the SIP domain edge.fabrikam.example",
            "wrong-name",
        ),
        (expected(partner(), pin(b"another")), "the certificate is not the pinned one", "wrong-pin"),
        // The right name, under the CA of another partner.
        (expected(tailspin, Proof::Host), unknown, "unknown-ca"),
        (expected(Anchors::Partners, domain("fabrikam.example")), unknown, "unknown-ca"),
        (expected(Anchors::Servers, Proof::Host), unknown, "unknown-ca"),
    ];
    for (expected, words, reason) in cases {
        let error = opened(&mut from, target(address, expected.clone())).await.expect_err("it is not met");
        assert_eq!(error, ConnectError::Tls(words.to_owned()), "{expected:?}");
        let line = format!("chancery_net_tls_refused_total{{direction=\"out\",reason=\"{reason}\"}}");
        assert!(from.metric(&line).await >= 1.0);
    }
    // The other side gets an alert each time, the last one a moment after we gave up.
    let line = "chancery_net_tls_refused_total{direction=\"in\",reason=\"alert\"}";
    patient(async { while server.metric(line).await < 8.0 {} }).await;
    assert_eq!(server.metric(line).await, 8.0);
    server.stop().await;
    from.stop().await;
}

fn sha256(octets: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(octets).into()
}

#[tokio::test]
async fn a_server_of_bad_standing_is_refused_with_the_reason() {
    let theirs = Authority::new();
    let trust = believing(&[(partner(), &theirs)]).crls(theirs.crl(SERIAL).as_bytes()).expect("it is a CRL");
    let mut from = Setup { networks: Some(outside(network(trust))), ..Setup::default() }.start();
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, &str); 3] = [
        (|params| params.not_after = rcgen::date_time_ymd(2026, 1, 1), "it expired on 2026-01-01 00:00 UTC"),
        (|params| params.serial_number = Some(SerialNumber::from(SERIAL)), "it was revoked by"),
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "it is for TLS clients only",
        ),
    ];
    for (change, words) in cases {
        let (certificate, key) = theirs.issue_with(&["edge.fabrikam.example"], change);
        let tls = TlsServer::from_pem(certificate.as_bytes(), key.as_bytes()).expect("it can be shown");
        let server = Setup::listen_tls(Transport::Tls, &Arc::new(tls)).start();
        let expected = expected(partner(), Proof::Host);
        let Err(ConnectError::Tls(why)) = opened(&mut from, target(server.addresses[0], expected)).await
        else {
            panic!("it is refused");
        };
        assert!(why.starts_with(&format!("the certificate is not trusted: {words}")), "{why}");
        server.stop().await;
    }
    from.stop().await;
}

#[tokio::test]
async fn credentials_and_trust_change_under_open_connections() {
    let (ours, theirs, later) = (Authority::new(), Authority::new(), Authority::new());
    let (first, second) = (ours.issue(&["edge.contoso.example"]), ours.issue(&["edge.contoso.example"]));
    let credentials = Credentials::from_pem(first.0.as_bytes(), first.1.as_bytes()).expect("they fit");
    let credentials = Arc::new(credentials);
    let mut server = asking(&theirs, outside(network(believing(&[(partner(), &ours)])))).start();
    let side = |authority: &Authority| {
        let network = network(believing(&[(Anchors::Servers, authority)]));
        outside(network.with_credentials(Arc::clone(&credentials)))
    };
    let mut from = Setup { networks: Some(side(&theirs)), ..Setup::default() }.start();
    let to_server = target(server.addresses[0], Expected::host("localhost"));
    let connect = async |from: &mut Server, server: &mut Server| {
        from.command(Command::Connect(ConnectToken(1), to_server.clone())).await;
        let (_, accepted) = server.connected().await;
        let (id, _) = from.connected().await;
        let shown = accepted.identity.certificate().cloned().expect("we show one");
        assert_eq!(shown.trusted_by, [partner()]);
        (id, shown.sha256)
    };
    let (old, old_sha256) = connect(&mut from, &mut server).await;
    assert_eq!(old_sha256, sha256(&chain(&first.0)[0]));
    credentials.reload(second.0.as_bytes(), first.1.as_bytes()).expect_err("the key is another's");
    credentials.reload(second.0.as_bytes(), second.1.as_bytes()).expect("they fit");
    let (new, new_sha256) = connect(&mut from, &mut server).await;
    assert_eq!(new_sha256, sha256(&chain(&second.0)[0]));
    // Another CA is believed from now on, and the old one no more.
    exchange(&from, side(&later)).await;
    // What was open before is worth nothing either.
    let mut ended = [from.closed().await, from.closed().await];
    ended.sort_by_key(|(id, _)| *id);
    assert_eq!(ended, [old, new].map(|id| (id, CloseReason::Distrusted)));
    from.command(Command::Connect(ConnectToken(2), to_server.clone())).await;
    assert!(matches!(from.next().await, Seen::ConnectFailed(ConnectToken(2), ConnectError::Tls(_))));
    assert!(from.metric("chancery_net_closed_total{reason=\"distrusted\"}").await == 2.0);
    let ends = "chancery_net_certificate_end_timestamp_seconds{side=\"outside\",use=";
    assert!(from.metric(&format!("{ends}\"client\"}}")).await > 0.0);
    assert!(server.metric(&format!("{ends}\"listener\"}}")).await > 0.0);
    server.stop().await;
    from.stop().await;
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_connection_and_no_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let believed = || believing(&[(partner(), &theirs), (Anchors::Servers, &ours)]);
    let mut server = asking(&ours, outside(network(believed()))).start();
    let revoked = theirs.issue_with(&["edge.fabrikam.example"], |params| {
        params.serial_number = Some(SerialNumber::from(SERIAL));
    });
    let others = Authority::new();
    let (good, unknown) = (theirs.issue(&["edge.fabrikam.example"]), others.issue(&["x.example"]));
    let mut streams = Vec::new();
    let mut ids = Vec::new();
    for shown in [Some(&revoked), Some(&good), Some(&unknown), None] {
        streams.push(open(&client(&ours, shown, &TLS13), server.addresses[0]).await.expect("TLS comes up"));
        ids.push(server.connected().await.0);
    }
    // Trust that is read anew and says the same changes nothing.
    exchange(&server, outside(network(believed()))).await;
    let list = theirs.crl(SERIAL);
    let trust = believed().crls(list.as_bytes()).expect("it is a list");
    exchange(&server, outside(network(trust))).await;
    assert_eq!(read_to_end(&mut streams[0]).await, b"");
    assert_eq!(server.closed().await, (ids[0], CloseReason::Distrusted));
    for stream in &mut streams[1..] {
        write(stream, &message("still here")).await;
        expect(stream, &message("still here")).await;
        server.received().await;
    }
    // Who came before it was believed comes again, and nobody else must.
    let trust = believing(&[(partner(), &theirs), (Anchors::Servers, &ours), (Anchors::Partners, &others)]);
    exchange(&server, outside(network(trust.crls(list.as_bytes()).expect("it is a list")))).await;
    assert_eq!(read_to_end(&mut streams[2]).await, b"");
    assert_eq!(server.closed().await, (ids[2], CloseReason::Requested));
    for at in [1, 3] {
        write(&mut streams[at], &message("still here")).await;
        expect(&mut streams[at], &message("still here")).await;
        server.received().await;
    }
    server.stop().await;
}

/// Certificates end while their connections are open, of clients, of servers and of CAs: so do the connections, at that time and by
/// themselves, and no others.
#[tokio::test]
async fn a_certificate_that_ends_ends_its_connection() {
    let (ours, theirs, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let mut server = asking(&ours, outside(network(believing(&[(partner(), &theirs)])))).start();
    let end = unix_now() + Duration::from_secs(3);
    let short = |params: &mut CertificateParams| {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    };
    let (ends, lasts) =
        (theirs.issue_with(&["edge.fabrikam.example"], short), theirs.issue(&["edge.fabrikam.example"]));
    let unknown = strangers.issue_with(&["x.example"], short);
    let mut streams = Vec::new();
    let mut ids = Vec::new();
    for shown in [Some(&ends), Some(&lasts), Some(&unknown), None] {
        streams.push(open(&client(&ours, shown, &TLS13), server.addresses[0]).await.expect("TLS comes up"));
        ids.push(server.connected().await.0);
    }
    assert_eq!(server.closed().await, (ids[0], CloseReason::Distrusted));
    assert!(unix_now() >= end, "it was good for so long");
    assert_eq!(read_to_end(&mut streams[0]).await, b"");
    for stream in &mut streams[1..] {
        write(stream, &message("still here")).await;
        expect(stream, &message("still here")).await;
        server.received().await;
    }
    assert!(server.metric("chancery_net_closed_total{reason=\"distrusted\"}").await == 1.0);
    server.stop().await;
    // The other way: a server whose certificate ends, on a connection that we opened.
    let end = unix_now() + Duration::from_secs(3);
    let (chain, key) = theirs.issue_with(&["localhost"], |params| {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    });
    let tls = Arc::new(TlsServer::from_pem(chain.as_bytes(), key.as_bytes()).expect("they fit"));
    let mut server = Setup::listen_tls(Transport::Tls, &tls).start();
    let networks = outside(network(believing(&[(Anchors::Servers, &theirs)])));
    let mut from = Setup { networks: Some(networks), ..Setup::default() }.start();
    let to_server = target(server.addresses[0], Expected::host("localhost"));
    from.command(Command::Connect(ConnectToken(1), to_server)).await;
    let (id, _) = from.connected().await;
    server.connected().await;
    assert_eq!(from.closed().await, (id, CloseReason::Distrusted));
    assert!(unix_now() >= end);
    from.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn connections_leave_from_the_address_of_their_side() {
    let authority = Authority::new();
    let mut server = asking(&authority, outside(Network::of_strangers())).start();
    let address = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let trust = || believing(&[(Anchors::Servers, &authority)]);
    let networks = Networks {
        inside: network(trust()).leaving_from(vec![address(2)]),
        outside: network(trust()).leaving_from(vec!["::1".parse().unwrap(), address(3)]),
    };
    let mut from = Setup { networks: Some(networks), ..Setup::default() }.start();
    for (side, local) in [(Side::Inside, address(2)), (Side::Outside, address(3))] {
        let to_server = ConnectTarget { side, ..target(server.addresses[0], Expected::host("localhost")) };
        opened(&mut from, to_server).await.expect("the server is known");
        let (_, peer) = server.connected().await;
        assert_eq!((peer.remote.ip(), peer.identity), (local, PeerIdentity::Anonymous));
        server.closed().await;
    }
    // It must not leave by whatever address there is.
    let far = SocketAddr::new("::1".parse().unwrap(), server.addresses[0].port());
    let to_server = ConnectTarget { side: Side::Inside, ..target(far, Expected::host("localhost")) };
    let error = opened(&mut from, to_server).await.expect_err("there is no such address");
    assert_eq!(error, ConnectError::Unreachable("this side has no address to reach ::1 from".into()));
    server.stop().await;
    from.stop().await;
}
