//! Edge and front end agree on every message, or it is refused: what a partner says is put through an Access Edge, and what comes
//! out inside is read by the front end's parser and by a front end.
//!
//! The messages are made here to be read in two ways, always; and those of RFC 4475 and RFC 5118 with a corpus of others, from the folder
//! `shared/conformance` beside the repository, which are skipped by name where it is absent. Of those the host names in the head are
//! replaced, so that the edge has no other reason to refuse them: Fabrikam writes to Contoso.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use federation::Policy;
use node::{
    Anchors, Answers, ConnectToken, ConnectionId, Flow, Input, Instant, Listener, ListenerId, Now, Output,
    Peer, PeerCertificate, PeerIdentity, Side, Transport, UnixMillis,
};
use records::memory::Tables;
use sip_message::framing::{Frame, Scan, next_frame};
use sip_message::{HeaderId, Message, Method, NameAddr};

use crate::federated::{Behind, edge_of, home_of};
use crate::{Boot, Factory, Home, Role, certificate};

const PARTNER: &str = "fabrikam.example";
const OURS: &str = "contoso.example";

/// What somebody inside acts on, and the edge passes as it came.
const KEPT: [HeaderId; 13] = [
    HeaderId::From,
    HeaderId::To,
    HeaderId::CallId,
    HeaderId::CSeq,
    HeaderId::ContentType,
    HeaderId::Event,
    HeaderId::Expires,
    HeaderId::ReferTo,
    HeaderId::ReferredBy,
    HeaderId::Replaces,
    HeaderId::SipIfMatch,
    HeaderId::SubscriptionState,
    HeaderId::Supported,
];

/// A node that reaches whatever it wants to reach.
struct Server {
    role: Box<dyn Role>,
    connections: u64,
    sent: VecDeque<(Flow, Bytes)>,
}

impl Server {
    fn new(factory: &Factory, listeners: &[(&str, Side)]) -> Server {
        let text = format!(
            "[[partner]]\ndomain = \"{PARTNER}\"\nmode = \"direct\"\nnext_hop = \"edge.{PARTNER}:5061\"\n"
        );
        let policy = Policy::parse(&text, &[OURS]).expect("a policy");
        let listener = |(host, side): &(&str, Side)| Listener {
            transport: Transport::Tls,
            address: address(*side, 1),
            advertised_host: (*host).to_owned(),
            side: *side,
        };
        let listeners = listeners.iter().map(listener).collect();
        let boot = Boot { number: 0, secret: [1; 32], seed: [2; 32], listeners, policy: Arc::new(policy) };
        let mut server = Server { role: factory(&boot), connections: 0, sent: VecDeque::new() };
        server.feed(Input::Timer);
        server
    }

    fn feed(&mut self, input: Input<Home>) {
        let now = Now { monotonic: Instant(1_000_000), wall: UnixMillis(1_795_309_200_000) };
        self.role.handle(now, input);
        while let Some(output) = self.role.poll_output() {
            match output {
                Output::Send { flow, bytes } => self.sent.push_back((flow, bytes)),
                Output::Resolve { token, .. } => {
                    let answer = Ok(Answers::Addresses(vec![address(Side::Inside, 2).ip()]));
                    self.feed(Input::Resolved { token, answer });
                }
                Output::Connect { token, .. } => {
                    self.connect(
                        Side::Inside,
                        certificate(&["fe.contoso.example"], Anchors::Servers),
                        Some(token),
                    );
                }
                // Nobody has an account yet.
                Output::Query { token, query } => {
                    self.feed(Input::Rows { token, rows: Ok(Tables::default().query(&query)) });
                }
                Output::Close { .. } | Output::Persist { .. } | Output::Answer { .. } | Output::Report(_) => {
                }
            }
        }
    }

    fn connect(&mut self, side: Side, certificate: PeerCertificate, token: Option<ConnectToken>) -> Flow {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let listener = token.is_none().then_some(ListenerId(u16::from(side == Side::Outside)));
        let identity = PeerIdentity::Certificate(Arc::new(certificate));
        let (local, remote) = (address(side, 1), address(side, 3));
        let peer = Peer { transport: Transport::Tls, listener, local, remote, side, identity };
        self.feed(Input::Connected { connection, peer, token });
        Flow::Connection(connection)
    }
}

fn address(side: Side, host: u8) -> SocketAddr {
    let ip = match side {
        Side::Inside => Ipv4Addr::new(10, 0, 1, host),
        Side::Outside => Ipv4Addr::new(198, 51, 100, host),
    };
    SocketAddr::new(IpAddr::V4(ip), 5061)
}

/// Cuts a stream as every connection is cut; what is lost is lost with all behind it.
fn cut(octets: &[u8]) -> Vec<Bytes> {
    let mut rest = octets;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        match next_frame(&mut Scan::default(), rest) {
            Frame::Message { length } => {
                messages.push(Bytes::copy_from_slice(&rest[..length]));
                rest = &rest[length..];
            }
            Frame::Ping { length } | Frame::Padding { length } => rest = &rest[length..],
            Frame::Partial { .. } | Frame::Lost { .. } => break,
        }
    }
    messages
}

/// Puts a stream through an edge; gives how many messages came out inside, and how many did not.
fn check(name: &str, octets: &[u8]) -> (usize, usize) {
    let inside = ("edge-in-1.contoso.example", Side::Inside);
    let outside = ("edge.contoso.example", Side::Outside);
    let mut edge = Server::new(&edge_of(OURS, Behind::Home, [7; 32]), &[inside, outside]);
    let partner = certificate(&["edge.fabrikam.example", PARTNER], Anchors::Partners);
    let wire = edge.connect(Side::Outside, partner, None);
    let (mut passed, mut refused) = (0, 0);
    for octets in cut(octets) {
        edge.feed(Input::Received { flow: wire, bytes: octets.clone() });
        let came: Vec<Bytes> =
            edge.sent.drain(..).filter(|(flow, _)| *flow != wire).map(|(_, bytes)| bytes).collect();
        assert!(came.len() <= 1, "{name}: one message became {}", came.len());
        match came.first() {
            Some(bytes) => {
                agree(name, &octets, bytes);
                passed += 1;
            }
            None => refused += 1,
        }
    }
    (passed, refused)
}

/// What the edge read and what whoever is inside reads is the same.
fn agree(name: &str, octets: &Bytes, inside: &Bytes) {
    let length = inside.len();
    assert_eq!(
        next_frame(&mut Scan::default(), inside),
        Frame::Message { length },
        "{name}: one whole message"
    );
    let read = Message::parse(octets.clone()).expect("the edge read it");
    let theirs = Message::parse(inside.clone()).expect("what an edge writes can be read");
    assert!(theirs.validate().is_ok(), "{name}: {:?}", theirs.validate());
    assert_eq!(read.method(), theirs.method(), "{name}");
    assert_eq!(read.request_uri_text(), theirs.request_uri_text(), "{name}");
    assert_eq!(read.body(), theirs.body(), "{name}");
    for id in KEPT {
        let values = |message: &Message| message.values(id).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(values(&read), values(&theirs), "{name}: {id}");
    }
    contacts_agree(name, &read, &theirs);
    let named =
        |wanted: &str| theirs.headers().filter(|h| h.name.eq_ignore_ascii_case(wanted.as_bytes())).count();
    assert_eq!(named("Chancery-Origin"), 1, "{name}: one origin, and it is the edge's");
    let origin =
        String::from_utf8_lossy(theirs.header_named("Chancery-Origin").unwrap_or_default()).into_owned();
    assert!(origin.contains(&format!("domain={PARTNER};")), "{name}: {origin}");
    let from = theirs.from().expect("it was validated").uri;
    assert!(from.host_text().eq_ignore_ascii_case(PARTNER), "{name}: {}", from.as_str());
    for id in [HeaderId::PAssertedIdentity, HeaderId::PPreferredIdentity, HeaderId::Route] {
        assert_eq!(theirs.values(id).count(), 0, "{name}: {id}");
    }
    answered(name, &read, inside);
}

/// A Contact passes as it came, or stands inside as an address of the partner's own domain: then there was one, and it was none.
fn contacts_agree(name: &str, read: &Message, theirs: &Message) {
    let [came, stands] = [read, theirs]
        .map(|message| message.elements(HeaderId::Contact).map(<[u8]>::to_vec).collect::<Vec<_>>());
    if came == stands {
        return;
    }
    assert_eq!((came.len(), stands.len()), (1, 1), "{name}: Contacts");
    let [of_theirs, of_ours] =
        [&came[0], &stands[0]].map(|contact| NameAddr::parse(contact).expect("the edge read it"));
    assert!(!of_theirs.uri.host_text().eq_ignore_ascii_case(PARTNER), "{name}: {}", of_theirs.uri.as_str());
    assert!(of_ours.uri.host_text().eq_ignore_ascii_case(PARTNER), "{name}: {}", of_ours.uri.as_str());
    assert!(
        of_ours.uri.params().get("gr").is_some_and(|token| !token.is_empty()),
        "{name}: {}",
        of_ours.uri.as_str()
    );
    assert_eq!(of_theirs.uri.scheme(), of_ours.uri.scheme(), "{name}");
}

/// A front end that got it answers what the partner asked.
fn answered(name: &str, read: &Message, inside: &Bytes) {
    let mut home = Server::new(&home_of(OURS), &[("fe.contoso.example", Side::Inside)]);
    let edge = certificate(&["edge-in-1.contoso.example"], Anchors::Servers);
    let wire = home.connect(Side::Inside, edge, None);
    home.feed(Input::Received { flow: wire, bytes: inside.clone() });
    let answers: Vec<Message> =
        home.sent.drain(..).map(|(_, bytes)| Message::parse(bytes).expect("our own message")).collect();
    assert!(!answers.is_empty() || read.method() == Method::Ack, "{name}: no answer");
    for answer in answers.iter().filter(|answer| !answer.is_request()) {
        for id in [HeaderId::CallId, HeaderId::CSeq, HeaderId::From] {
            assert_eq!(read.header(id), answer.header(id), "{name}: {id} of the answer");
        }
    }
}

/// A message with these lines in its head.
fn message(lines: &str, length: usize, body: &str) -> String {
    format!(
        "MESSAGE sip:alice@{OURS} SIP/2.0\r\nVia: SIP/2.0/TLS edge.{PARTNER};branch=z9hG4bK1\r\n\
         From: <sip:bob@{PARTNER}>;tag=1\r\nTo: <sip:alice@{OURS}>\r\nCall-ID: 1@{PARTNER}\r\n\
         CSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\n{lines}\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn what_is_made_to_be_read_in_two_ways_is_read_in_one() {
    let (mut passed, mut refused) = (0, 0);
    let mut count = |name: &str, text: &str| {
        let (of_this, not) = check(name, text.as_bytes());
        passed += of_this;
        refused += not;
    };
    let lies = [
        "From: <sip:x@x.example>;tag=2",
        "f: <sip:x@x.example>;tag=2",
        "Route: <sip:fe.contoso.example;lr>",
        "P-Asserted-Identity : <sip:alice@contoso.example>",
        "Chancery-Origin: partner;domain=x.example;mode=direct;edge=edge-in-1.contoso.example",
        "chancery-member : x.example",
        "l: 0",
        "Content-Length : 0",
        "CSeq: 1 BYE",
        "\r\nBYE sip:alice@contoso.example SIP/2.0",
    ];
    let between =
        ["\r\n", "\n", "\r", "\r\n ", "\r\n\t", "\0", "\0\r\n", "\u{b}", "\u{85}", "\u{2028}", " ", "\r\r\n"];
    for before in ["Subject: a", "X: \"", "X: <", "Subject: a\\", "X:", "X: a;b=\"\r\n c"] {
        for between in between {
            for lie in lies {
                let text = message(&format!("{before}{between}{lie}"), 2, "hi");
                count(&format!("{before:?} {between:?} {lie:?}"), &text);
            }
        }
    }
    // Bodies that are longer or shorter than stated: what is behind is another message, or waits for more.
    let second = message("Subject: second", 0, "");
    for (length, body) in
        [(0, second.as_str()), (2, &format!("hi{second}")), (5, "hi"), (2, "hi\r\n\r\nhi"), (1, "hi")]
    {
        count(&format!("{length} of {}", body.len()), &message("Subject: a", length, body));
    }
    assert!(passed > 50 && refused > 50, "{passed} passed, {refused} were refused");
}

/// The octets with the hosts of sender and recipient replaced in the head, as far as they can be found.
fn between_us(octets: &[u8]) -> Vec<u8> {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(octets)) else { return octets.to_vec() };
    let host = |uri: sip_message::Uri<'_>| uri.host_text().to_owned();
    let from = message.from().ok().map(|from| host(from.uri));
    let to = message.to().ok().map(|to| host(to.uri));
    let asked = message.request_uri().ok().map(host);
    let head = octets.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(octets.len());
    let mut text = octets[..head].to_vec();
    for (theirs, ours) in [(to, OURS), (asked, OURS), (from, PARTNER)] {
        if let Some(theirs) = theirs.filter(|theirs| !theirs.is_empty()) {
            text = replaced(&text, theirs.as_bytes(), ours.as_bytes());
        }
    }
    // Where both are of one host, the sender is the first to be told apart.
    let line_of_from =
        |line: &[u8]| line.to_ascii_lowercase().starts_with(b"from") || line.starts_with(b"f:");
    let lines: Vec<Vec<u8>> = text
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| match line_of_from(line) {
            true => replaced(line, OURS.as_bytes(), PARTNER.as_bytes()),
            false => line.to_vec(),
        })
        .collect();
    [lines.concat(), octets[head..].to_vec()].concat()
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window.eq_ignore_ascii_case(from)) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = folder.read_dir().expect("the folder is there");
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn the_torture_messages_and_the_corpus_are_read_in_one_way() {
    for folder in ["sip-torture", "sip-corpus"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance").join(folder);
        if !path.is_dir() {
            println!("skipped: {folder} (no conformance material)");
            continue;
        }
        let mut found = Vec::new();
        files(&path, &mut found);
        let (mut passed, mut refused) = (0, 0);
        for file in found {
            let octets = std::fs::read(&file).expect("it can be read");
            let name = file.display().to_string();
            for octets in [between_us(&octets), octets] {
                let (of_this, not) = check(&name, &octets);
                passed += of_this;
                refused += not;
            }
        }
        println!("{folder}: {passed} passed, {refused} refused");
        assert!(passed > 0 && refused > 0, "{folder}: {passed} passed, {refused} refused");
    }
}
