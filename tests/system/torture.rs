//! Messages that torture parsers: the RFCs' own where they are at hand, and a set of ours that covers the same ground.

use std::process::Command;

use system_tests::{
    Incoming, Link, PATIENCE, Road, Server, Transport, conformance, have, run_tap, skip, unique,
};

/// What a case may be answered with.
enum Expected {
    /// One of these; on a stream the connection may be closed too.
    Refused(&'static [u16]),
    /// Nothing at all.
    Silence,
    /// Anything but a syntax error: it is well formed.
    Accepted,
}

use Expected::{Accepted, Refused, Silence};

struct Case {
    name: &'static str,
    /// `{to}`, `{via}` and `{id}` are filled in; lines end as they stand, with `\n` made CRLF.
    text: &'static str,
    expected: Expected,
}

/// A request without its body's end, as most cases vary it.
macro_rules! message {
    ($first:literal, $headers:literal) => {
        concat!($first, "\nVia: {via}\nMax-Forwards: 70\n", $headers, "\nContent-Length: 0\n\n")
    };
}

const CASES: &[Case] = &[
    Case {
        name: "folded lines, compact names, odd case, blanks around colons",
        text: "OPTIONS {to} SIP/2.0\nv : {via}\nmAX-fORWARDS:\n  70\nf: \"A \\\"quoted\\\" name\"<sip:a@example.test>;tag=1\nt :{to}\n\
               i: {id}\nCSeq: 0009\n  OPTIONS\nX-Unknown: ;;,,;;\nl: 0\n\n",
        expected: Accepted,
    },
    Case {
        name: "escaped octets in a user part",
        text: message!(
            "OPTIONS sip:%61lic%65%00@example.test SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <sip:a@example.test>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Accepted,
    },
    Case {
        name: "a method of every token character",
        text: message!(
            "!%*_+`'~-.z {to} SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 !%*_+`'~-.z"
        ),
        expected: Accepted,
    },
    Case {
        name: "an unknown scheme",
        text: message!(
            "OPTIONS nobody-knows-this:opaque SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[416]),
    },
    Case {
        name: "an extension that nobody supports",
        text: message!(
            "MESSAGE {to} SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 MESSAGE\nProxy-Require: no-such-thing"
        ),
        expected: Refused(&[420]),
    },
    Case {
        name: "the end of its hops",
        text: "MESSAGE {to} SIP/2.0\nVia: {via}\nMax-Forwards: 0\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 MESSAGE\nContent-Length: 0\n\n",
        expected: Refused(&[483]),
    },
    Case {
        name: "another version",
        text: message!(
            "OPTIONS {to} SIP/3.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[505]),
    },
    Case {
        name: "no From",
        text: message!("OPTIONS {to} SIP/2.0", "To: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"),
        expected: Refused(&[400]),
    },
    Case {
        name: "no Call-ID",
        text: message!(
            "OPTIONS {to} SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "no CSeq",
        text: message!("OPTIONS {to} SIP/2.0", "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}"),
        expected: Refused(&[400]),
    },
    Case {
        name: "two From",
        text: message!(
            "OPTIONS {to} SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nFrom: <sip:b@example.test>;tag=2\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "two Call-ID",
        text: message!(
            "OPTIONS {to} SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCall-ID: x{id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "a CSeq of another method",
        text: message!(
            "OPTIONS {to} SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 INVITE"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "a CSeq beyond 32 bits",
        text: message!(
            "OPTIONS {to} SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 36893488147419103232 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "a Max-Forwards beyond 255",
        text: "OPTIONS {to} SIP/2.0\nVia: {via}\nMax-Forwards: 300\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n",
        expected: Refused(&[400, 407]),
    },
    Case {
        name: "a negative Content-Length",
        text: "OPTIONS {to} SIP/2.0\nVia: {via}\nMax-Forwards: 70\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS\nContent-Length: -999\n\nbody",
        expected: Refused(&[400]),
    },
    Case {
        name: "a Content-Length beyond 64 bits",
        text: "OPTIONS {to} SIP/2.0\nVia: {via}\nMax-Forwards: 70\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS\nContent-Length: 99999999999999999999999\n\nbody",
        expected: Refused(&[400, 413, 513]),
    },
    Case {
        name: "two Content-Length that differ",
        text: "OPTIONS {to} SIP/2.0\nVia: {via}\nMax-Forwards: 70\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS\nContent-Length: 0\nl: 4\n\nbody",
        expected: Refused(&[400]),
    },
    Case {
        name: "a quote that does not end",
        text: message!(
            "OPTIONS {to} SIP/2.0",
            "From: \"never closed <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "a Request-URI in brackets",
        text: message!(
            "OPTIONS <{to}> SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "blanks in the Request-URI",
        text: message!(
            "OPTIONS sip:a@example.test; lr SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "an escape that is none",
        text: message!(
            "OPTIONS sip:%zz@example.test SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "an IPv6 address without brackets",
        text: message!(
            "OPTIONS sip:a@2001:db8::1 SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "a port beyond 65535",
        text: message!(
            "OPTIONS sip:a@example.test:70000 SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "a header without a colon",
        text: message!(
            "OPTIONS {to} SIP/2.0",
            "this is no header\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "a fold before any header",
        text: "OPTIONS {to} SIP/2.0\n folded\nVia: {via}\nMax-Forwards: 70\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n",
        expected: Refused(&[400]),
    },
    Case {
        name: "a Contact that is * and more",
        text: message!(
            "REGISTER sip:example.test SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <sip:a@example.test>\nCall-ID: {id}\nCSeq: 1 REGISTER\nContact: *, <sip:a@192.0.2.1>"
        ),
        expected: Refused(&[400]),
    },
    Case {
        name: "a response to nothing",
        text: "SIP/2.0 200 OK\nVia: {via}\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>;tag=2\nCall-ID: {id}\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n",
        expected: Silence,
    },
    Case {
        name: "a response with a status beyond 699",
        text: "SIP/2.0 4294967496 OK\nVia: {via}\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>;tag=2\nCall-ID: {id}\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n",
        expected: Silence,
    },
    Case {
        name: "an ACK to nothing",
        text: message!(
            "ACK {to} SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>;tag=2\nCall-ID: {id}\nCSeq: 1 ACK"
        ),
        expected: Silence,
    },
    Case {
        name: "a CANCEL of nothing",
        text: message!(
            "CANCEL {to} SIP/2.0",
            "From: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 CANCEL"
        ),
        expected: Refused(&[481]),
    },
    Case {
        name: "a Max-Breadth beyond 32 bits",
        text: "OPTIONS {to} SIP/2.0\nVia: {via}\nMax-Forwards: 70\nMax-Breadth: 99999999999\nFrom: <sip:a@example.test>;tag=1\nTo: <{to}>\nCall-ID: {id}\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n",
        expected: Refused(&[400, 407]),
    },
];

#[test]
fn hostile_messages_over_udp() {
    answers_as_expected(Road::v4(Transport::Udp));
}

#[test]
fn hostile_messages_over_tcp() {
    answers_as_expected(Road::v4(Transport::Tcp));
}

#[test]
fn hostile_messages_over_tls() {
    answers_as_expected(Road::v4(Transport::Tls));
}

#[test]
fn hostile_messages_over_wss() {
    answers_as_expected(Road::v4(Transport::Wss));
}

#[test]
fn hostile_messages_over_udp_and_ipv6() {
    answers_as_expected(Road { family: system_tests::Family::V6, ..Road::v4(Transport::Udp) });
}

#[test]
fn hostile_messages_of_extreme_size() {
    let server = Server::start();
    for transport in Transport::ALL {
        let road = Road::v4(transport);
        let head = "OPTIONS sip:alice@example.test SIP/2.0\nVia: {via}\nMax-Forwards: 70\nFrom: <sip:a@example.test>;tag=1\n\
                    To: <sip:alice@example.test>\nCall-ID: {id}\nCSeq: 1 OPTIONS\n";
        let tail = "Content-Length: 0\n\n";
        let many = "X-Header: value\n".repeat(200);
        let long = format!("X-Long: {}\n", "a".repeat(33 * 1024));
        let vias = format!("Via: {}\n", vec!["SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKx"; 500].join(", "));
        let commas = format!("Route: {}\n", ",".repeat(8000));
        let nested = format!("Contact: {}\n", "<".repeat(8000));
        let parameters = format!("Accept: {}\n", ";a".repeat(8000));
        for (name, middle) in [
            ("headers", many),
            ("a header", long),
            ("Vias", vias),
            ("commas", commas),
            ("brackets", nested),
            ("parameters", parameters),
        ] {
            let outcome = exchange(&server, road, &[head, &middle, tail].concat());
            let is_refused = outcome.statuses.iter().any(|status| *status >= 400);
            assert!(is_refused || outcome.is_closed, "{transport:?} {name}: {:?}", outcome.statuses);
        }
    }
}

/// 62 of 62 over each; the messages are others', so that they are not in this repository.
#[test]
fn the_torture_messages_of_the_rfcs_over_udp() {
    rfc_messages(Transport::Udp, &[]);
}

#[test]
fn the_torture_messages_of_the_rfcs_over_tcp() {
    rfc_messages(Transport::Tcp, &["--tcp"]);
}

#[test]
fn the_torture_messages_of_the_rfcs_with_our_domain() {
    rfc_messages(Transport::Udp, &["--rewrite", "example.test"]);
    rfc_messages(Transport::Tcp, &["--tcp", "--rewrite", "example.test"]);
}

fn rfc_messages(transport: Transport, more: &[&str]) {
    let Some(folder) = conformance("sip-torture") else {
        return skip("the messages of RFC 4475 and RFC 5118", "../shared/conformance is not here");
    };
    if !have("python3") {
        return skip("the messages of RFC 4475 and RFC 5118", "python3 is not installed");
    }
    let server = Server::start();
    let port = server.address(Road::v4(transport)).port().to_string();
    run_tap(Command::new("python3").arg(folder.join("run_torture.py")).args(["--port", &port]).args(more));
}

struct Outcome {
    statuses: Vec<u16>,
    is_closed: bool,
}

fn answers_as_expected(road: Road) {
    let server = Server::start();
    let mut wrong = Vec::new();
    for Case { name, text, expected } in CASES {
        let Outcome { statuses, is_closed } = exchange(&server, road, text);
        let is_right = match expected {
            Refused(allowed) => match statuses.as_slice() {
                [status] => allowed.contains(status),
                // Framing was lost before there was anything to answer.
                [] => is_closed && road.transport != Transport::Udp,
                _ => false,
            },
            Silence => {
                statuses.is_empty() || (is_closed && road.transport != Transport::Udp && statuses == [400])
            }
            Accepted => matches!(statuses.as_slice(), [status] if *status != 400) && !is_closed,
        };
        if !is_right {
            wrong.push(format!("{name}: {statuses:?}{}", if is_closed { ", closed" } else { "" }));
        }
    }
    assert!(wrong.is_empty(), "{road}:\n{}", wrong.join("\n"));
}

/// Sends one message on a road of its own and an OPTIONS behind it, and says what came before the answer to that. On another
/// connection the server must still answer.
fn exchange(server: &Server, road: Road, text: &str) -> Outcome {
    let (link, mut reader) =
        Link::open(road.transport, server.address(road), &server.ca()).expect("the server accepts");
    let (via, id) = (via(&link), unique());
    let message = text
        .replace("{via}", &via)
        .replace("{id}", &id)
        .replace("{to}", "sip:alice@example.test")
        .replace('\n', "\r\n");
    // The server may have closed before all of it was sent.
    drop(link.send(message.as_bytes()));
    drop(link.send(probe(&link).as_bytes()));
    let mut outcome = Outcome { statuses: Vec::new(), is_closed: false };
    loop {
        match reader.receive_within(PATIENCE).expect("the server keeps to RFC 6455") {
            Some(Incoming::Message(octets)) => {
                let text = String::from_utf8_lossy(&octets).into_owned();
                if text.contains("Call-ID: probe") {
                    break;
                }
                let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
                let status: u16 = status.unwrap_or_else(|| panic!("no answer: {text}"));
                if status >= 200 {
                    outcome.statuses.push(status);
                }
            }
            Some(Incoming::Closed | Incoming::WebSocketClosed(_)) => {
                outcome.is_closed = true;
                break;
            }
            Some(other) => panic!("{other:?}"),
            None => panic!("neither an answer nor an end after:\n{}", &text[..text.len().min(300)]),
        }
    }
    let (link, mut reader) =
        Link::open(road.transport, server.address(road), &server.ca()).expect("the server still accepts");
    link.send(probe(&link).as_bytes()).expect("it is sent");
    let alive = reader.receive_within(PATIENCE).expect("the server keeps to RFC 6455");
    assert!(matches!(alive, Some(Incoming::Message(_))), "{alive:?}");
    outcome
}

fn via(link: &Link) -> String {
    let sent_by =
        if link.transport().is_websocket() { "tests.invalid".to_owned() } else { link.local().to_string() };
    format!("SIP/2.0/{} {sent_by};rport;branch=z9hG4bK{}", link.transport().via(), unique())
}

pub(crate) fn probe(link: &Link) -> String {
    format!(
        "OPTIONS sip:example.test SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: <sip:probe@example.test>;tag=1\r\n\
         To: <sip:example.test>\r\nCall-ID: probe{}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        via(link),
        unique()
    )
}
