//! Messages and vectors that others made, from the folder `shared/conformance` beside the repository. Where it is
//! absent, each test says so by name and passes.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;
use sip_message::digest::{self, Algorithm, ResponseInput};
use sip_message::framing::{Frame, Scan, next_frame};
use sip_message::{AuthParams, Edit, HeaderId, Message, Method};

/// A folder of the material, or `None` with a line that says what is skipped.
fn material(test: &str, folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance").join(folder);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {test} (no conformance material)");
    None
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON")
}

/// Parses and validates; the error is the status that refuses the message, and why.
fn read(octets: &[u8]) -> Result<Message, (u16, &'static str)> {
    let message = Message::parse(Bytes::copy_from_slice(octets)).map_err(|e| (e.status, e.reason))?;
    let parsed = values(&message);
    let verdict = message.validate();
    assert_eq!(values(&message), parsed, "what validate remembers is what the octets say");
    verdict.map_err(|e| (e.status, e.reason))?;
    Ok(message)
}

/// What the typed accessors say, in every detail.
fn values(message: &Message) -> String {
    let start = (message.method(), message.request_uri(), message.max_forwards());
    let transaction = (message.top_via(), message.call_id(), message.cseq());
    format!("{start:?}\n{transaction:?}\n{:?}\n{:?}", message.from(), message.to())
}

/// What a message means, written out.
fn meaning(message: &Message) -> String {
    let mut text = match message.status() {
        Some(status) => format!("{status} {:?}\n", message.reason_phrase()),
        None => format!("{:?} {}\n", message.method(), message.request_uri_text()),
    };
    for header in message.headers().filter(|header| header.id != HeaderId::ContentLength) {
        text += &format!("{:?} {:?}: {:?}\n", header.id, header.name, header.value);
    }
    text + &format!("{:?}", message.body())
}

/// Writing without a change gives the same octets, but for a Content-Length where there was none.
fn check_reprint(name: &str, message: &Message) {
    let again = Edit::new(message).write();
    if message.header(HeaderId::ContentLength).is_some() {
        assert_eq!(again, message.bytes(), "{name}: octets differ");
    }
    let again = read(&again).unwrap_or_else(|error| panic!("{name}: printed again it is {error:?}"));
    assert_eq!(meaning(&again), meaning(message), "{name}: meaning differs");
}

/// Everything that reads a value, whatever it holds.
fn touch(message: &Message) {
    let _ = (message.top_via().is_ok(), message.from().is_ok(), message.to().is_ok());
    let _ = (message.call_id().is_ok(), message.cseq().is_ok(), message.max_forwards().is_ok());
    let _ = (message.contacts().is_ok(), message.request_uri().is_ok(), message.content_type());
    let _ = sip_message::sdp::Session::parse(message.body()).is_ok();
    for id in [HeaderId::Route, HeaderId::RecordRoute] {
        assert!(message.name_addrs(id).count() <= message.elements(id).count());
    }
}

fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn torture_messages_are_parsed_or_refused_as_the_rfcs_say() {
    let Some(folder) = material("torture messages", "sip-torture") else { return };
    let cases = json(&folder.join("expected.json"));
    let cases = cases["cases"].as_array().expect("cases");
    assert!(cases.len() >= 62, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in cases {
        let name = case["file"].as_str().expect("file");
        let octets = fs::read(folder.join(name)).expect("readable");
        let result = read(&octets);
        let refusals: Vec<u64> = match &case["replies"] {
            Value::Array(statuses) => statuses.iter().filter_map(Value::as_u64).collect(),
            _ => Vec::new(),
        };
        match (case["parse"].as_str().expect("parse"), &result) {
            ("accept", Err(error)) => failures.push(format!("{name}: refused with {error:?}")),
            ("reject", Ok(_)) => failures.push(format!("{name}: accepted")),
            ("accept", Ok(_)) => {}
            (_, Err((status, reason))) => {
                if !refusals.is_empty() && !refusals.contains(&u64::from(*status)) {
                    failures.push(format!("{name}: {status} ({reason}), wanted {refusals:?}"));
                }
            }
            (_, Ok(_)) => {}
        }
        if let Ok(message) = &result {
            check_reprint(name, message);
        }
    }
    report(&failures);
}

/// Choices of ours where RFC 4475 leaves them.
#[test]
fn torture_messages_that_may_be_either() {
    let Some(folder) = material("torture choices", "sip-torture/rfc4475") else { return };
    let status = |name: &str| {
        let octets = fs::read(folder.join(format!("{name}.dat"))).expect("readable");
        read(&octets).err().map(|(status, _)| status)
    };
    for name in [
        "quotbal",
        "ltgtruri",
        "lwsruri",
        "lwsstart",
        "trws",
        "escruri",
        "baddate",
        "regbadct",
        "badaspec",
        "baddn",
        "badbranch",
    ] {
        assert_eq!(status(name), Some(400), "{name}");
    }
    assert_eq!(status("mismatch02"), Some(501));
    assert_eq!(status("badvers"), Some(505));
    assert_eq!(status("inv2543"), None);
}

#[test]
fn torture_messages_read_right() {
    let Some(folder) = material("torture values", "sip-torture/rfc4475") else { return };
    let message = |name: &str| {
        let octets = fs::read(folder.join(format!("{name}.dat"))).expect("readable");
        read(&octets).unwrap_or_else(|error| panic!("{name}: {error:?}"))
    };

    let wsinv = message("wsinv");
    assert_eq!(wsinv.to().expect("To").tag(), Some("1918181833n"));
    assert_eq!(wsinv.max_forwards(), Ok(Some(68)));
    let cseq = wsinv.cseq().expect("CSeq");
    assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
    assert_eq!(wsinv.elements(HeaderId::Via).count(), 3);
    assert_eq!(wsinv.top_via().expect("Via").branch(), Some("390skdjuw"));

    let esc02 = message("esc02");
    assert_eq!(esc02.method(), Method::Other("RE%47IST%45R"));
    assert_eq!(esc02.elements(HeaderId::Contact).count(), 2);

    let semiuri = message("semiuri");
    let uri = semiuri.request_uri().expect("URI");
    assert_eq!(uri.user_unescaped().expect("user"), "user;par=u@example.net");

    let escnull = message("escnull");
    assert_eq!(escnull.to().expect("To").uri.user_unescaped().expect("user"), "null-\0-null");

    let dblreq = message("dblreq");
    assert_eq!(dblreq.method(), Method::Register);
    assert!(dblreq.body().is_empty());
    assert_eq!(memchr::memmem::find(dblreq.bytes(), b"INVITE"), None);

    let mpart = message("mpart01");
    assert!(mpart.body().contains(&0));
}

/// On a stream `dblreq` is two requests, and of `ncl` and `mcl01` nothing can be told.
#[test]
fn torture_messages_on_a_stream() {
    let Some(folder) = material("torture framing", "sip-torture/rfc4475") else { return };
    let octets = |name: &str| fs::read(folder.join(format!("{name}.dat"))).expect("readable");
    let dblreq = octets("dblreq");
    let mut scan = Scan::default();
    let Frame::Message { length } = next_frame(&mut scan, &dblreq) else { panic!("no message") };
    let rest = &dblreq[length..];
    let padding = rest.iter().take_while(|octet| octet.is_ascii_whitespace()).count();
    assert!(matches!(next_frame(&mut scan, &rest[padding..]), Frame::Message { .. }));
    for name in ["ncl", "mcl01", "inv2543"] {
        let frame = next_frame(&mut Scan::default(), &octets(name));
        assert!(matches!(frame, Frame::Lost { status: 400, .. }), "{name}: {frame:?}");
    }
    assert!(matches!(next_frame(&mut Scan::default(), &octets("clerr")), Frame::Partial { .. }));
}

/// Labelled well-formed because three parsers do not look, and refused here.
const REFUSED: [(&str, &str); 4] = [
    // RFC 4475 §3.2.1 once more.
    ("test-jsip-options-f5621b81.sip", "the branch of a Via is empty"),
    // RFC 4475 §3.3.9 once more.
    ("test-jsip-options-9cad7055.sip", "Content-Length stands more than once"),
    // Route ends behind `<sip:127.0.0.1:`.
    ("test-flexisip-options-06d3ff2d.sip", "a Route, Record-Route, Path or Service-Route is malformed"),
    ("test-flexisip-refer-4ef094b7.sip", "a Route, Record-Route, Path or Service-Route is malformed"),
];

#[test]
fn corpus() {
    let Some(folder) = material("corpus", "sip-corpus") else { return };
    let manifest = json(&folder.join("manifest.json"));
    let entries = manifest.as_array().expect("a list");
    assert!(entries.len() >= 394, "only {} entries", entries.len());
    let mut failures = Vec::new();
    for entry in entries {
        let name = entry["file"].as_str().expect("file");
        let octets = fs::read(folder.join("messages").join(name)).expect("readable");
        if let Ok(message) = Message::parse(Bytes::copy_from_slice(&octets)) {
            touch(&message);
        }
        match (entry["consensus"].as_str().expect("consensus"), read(&octets)) {
            ("well-formed", Ok(message)) => check_reprint(name, &message),
            // RFC 4475 §3.1.2.2: three parsers that ignore the number do not make it right.
            ("well-formed", Err((400, "Content-Length larger than the message")))
                if entry["content_length_matches"] == false => {}
            ("well-formed", Err((400, reason))) if REFUSED.contains(&(name, reason)) => {}
            ("well-formed", Err(error)) => failures.push(format!("{name}: refused with {error:?}")),
            ("malformed", Ok(_)) => failures.push(format!("{name}: accepted")),
            _ => {}
        }
    }
    report(&failures);
}

#[test]
fn live_clients() {
    let Some(folder) = material("live clients", "sip-live") else { return };
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("readable").path()) {
        let name = entry.file_name().expect("a file").to_string_lossy().into_owned();
        let octets = fs::read(&entry).expect("readable");
        count += 1;
        match read(&octets) {
            Ok(message) => {
                check_reprint(&name, &message);
                touch(&message);
                for id in [HeaderId::Authorization, HeaderId::ProxyAuthorization, HeaderId::WwwAuthenticate] {
                    for credentials in message.credentials(id) {
                        assert!(credentials.expect(&name).get("nonce").is_some(), "{name}");
                    }
                }
                if message.content_type().eq_ignore_ascii_case("application/sdp") {
                    let session = sip_message::sdp::Session::parse(message.body());
                    assert!(!session.expect(&name).media.is_empty(), "{name}");
                }
            }
            Err(error) => failures.push(format!("{name}: refused with {error:?}")),
        }
        let frame = next_frame(&mut Scan::default(), &octets);
        if frame != (Frame::Message { length: octets.len() }) {
            failures.push(format!("{name}: {frame:?}"));
        }
    }
    assert!(count >= 133, "only {count} messages");
    report(&failures);
}

#[test]
fn digest_vectors() {
    let Some(folder) = material("digest vectors", "vectors") else { return };
    let vectors = json(&folder.join("digest.json"));
    let vectors = vectors["vectors"].as_array().expect("vectors");
    assert!(vectors.len() >= 4);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap_or("");
        let name = text("name");
        let (algorithm, is_session) = match text("algorithm").strip_suffix("-sess") {
            Some(plain) => (plain, true),
            None => (text("algorithm"), false),
        };
        let algorithm = Algorithm::from_name(algorithm).unwrap_or_else(|| panic!("{name}: {algorithm}"));
        let mut ha1 = digest::ha1(algorithm, text("username"), text("realm"), text("password"));
        if is_session {
            ha1 = digest::ha1_session(&ha1, text("nonce"), text("cnonce"));
        }
        let input = ResponseInput {
            method: text("method"),
            uri: text("uri"),
            nonce: text("nonce"),
            qop: vector["qop"].as_str(),
            nc: text("nc"),
            cnonce: text("cnonce"),
            body: text("body").as_bytes(),
        };
        assert_eq!(digest::response(&ha1, &input), text("response"), "{name}");
        assert!(digest::verify(&ha1, &input, text("response")), "{name}");
        if let Some(value) = vector["header_value"].as_str() {
            let credentials = AuthParams::parse(value.as_bytes()).expect(name);
            assert_eq!(credentials.get("response").expect(name), text("response"), "{name}");
            assert_eq!(credentials.get("uri").expect(name), text("uri"), "{name}");
        }
    }
}
