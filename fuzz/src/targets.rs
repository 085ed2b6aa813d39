//! The targets. Each takes octets, returns where all is well and panics where something does not hold.

mod book;
mod edge;
mod entries;
mod ldap;

use bytes::Bytes;
use directory::SipAddress;
use federation::policy::Standing;
use federation::policy::edit::{Change, EditError, EntryChange, edit as edit_policy};
use federation::{Member, Origin, Policy};
use gss::spnego::Offer;
use presence::lists::{self, Contact, Edit as ListsEdit, Lists};
use presence::rules::{self, Defaults, Rules, Subject, Watcher, set_level};
use presence::{Inputs, Level, Manual, Relation, View, compose};
use sip_message::framing::{Frame, Scan, next_frame};
use sip_message::{
    AuthParams, Contacts, Edit, HeaderId, Host, Message, NameAddr, ParseError, ResponseBuilder, Scheme, Uri,
    Via, sdp,
};
use xcap::{ATTRIBUTE_TYPE, Application, Body, Document, ELEMENT_TYPE, Resource};

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Target] = &[
    ("message", message),
    ("edit", edit),
    ("uri", uri),
    ("sdp", self::sdp),
    ("framing", framing),
    ("xcap", self::xcap),
    ("pidf", pidf),
    ("lists", self::lists),
    ("rules", self::rules),
    ("origin", origin),
    ("policy", policy),
    ("edge", edge::edge),
    ("ldap", self::ldap::ldap),
    ("entries", entries::entries),
    ("spnego", spnego),
    ("book", book::book),
    ("number", book::number),
];

/// What a client's first token of Negotiate offers, and the account that a ticket names.
pub fn spnego(octets: &[u8]) {
    /// As long as Kerberos' own answers are, or longer.
    const ANSWER_OCTETS_MAX: usize = 1_000;
    match gss::spnego::read(octets) {
        Some(Offer::Bare(token)) => assert_eq!(token, octets),
        Some(Offer::Wrapped { mechanism, token }) => {
            let proof = &token[..token.len().min(ANSWER_OCTETS_MAX)];
            let answer = gss::spnego::complete(mechanism, proof);
            assert!(answer.ends_with(proof) && answer.len() > mechanism.len() + proof.len());
            assert_eq!(gss::spnego::read(&answer), None, "an answer is no offer");
        }
        Some(Offer::WithoutToken | Offer::Ntlm | Offer::Other) | None => {}
    }
    if let Some(account) = gss::Account::parse(octets) {
        assert!(account.sid.starts_with("S-1-") && !account.name.is_empty());
    }
}

/// Parsing a message, reading all of it, and answering it.
pub fn message(octets: &[u8]) {
    let (message, is_whole) = match Message::parse(Bytes::copy_from_slice(octets)) {
        Ok(message) => (message, true),
        Err(ParseError { status, answerable, .. }) => {
            assert!(matches!(status, 400 | 413 | 505 | 513), "status {status}");
            let Some(message) = answerable else { return };
            assert!(message.is_request() && message.header(HeaderId::Via).is_some());
            (*message, false)
        }
    };
    let is_valid = read(&message) && is_whole;
    if is_whole {
        let written = Edit::new(&message).write();
        let again = Message::parse(written.clone()).expect("what was written parses");
        assert_eq!(meaning(&again), meaning(&message));
        if message.header(HeaderId::ContentLength).is_some() {
            assert_eq!(written, message.bytes());
        }
    }
    if message.is_request() {
        let response = ResponseBuilder::new(&message, 400).to_tag("t").copy_record_route().build();
        let response = Message::parse(response).expect("a response parses");
        assert_eq!(response.status(), Some(400));
        assert_eq!(response.elements(HeaderId::Via).count(), message.elements(HeaderId::Via).count());
        assert!(!is_valid || response.validate().is_ok(), "the response to a valid request is valid");
    }
}

/// Forwarding with changes.
pub fn edit(octets: &[u8]) {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(octets)) else { return };
    // What is to be done comes from the input as well.
    let choice = octets.iter().fold(0usize, |sum, &octet| sum.wrapping_mul(31).wrapping_add(octet.into()));
    let removed = choice % 4;
    let text = String::from_utf8_lossy(&octets[octets.len() / 2..]).into_owned();
    let mut edit = Edit::new(&message);
    edit.insert_first(HeaderId::Via, "SIP/2.0/TLS p.example;branch=z9hG4bKx")
        .insert_first(HeaderId::RecordRoute, "<sip:p.example;lr>")
        .set(HeaderId::MaxForwards, "69")
        .remove_elements(HeaderId::Route, removed)
        .append_named("X-Text", text);
    if choice & 64 != 0 {
        edit.replace_first_element(HeaderId::Contact, "<sip:new@p.example>").remove(HeaderId::Subject);
    }
    if choice & 128 != 0 {
        edit.body(Some("text/plain"), Bytes::from_static(b"new"));
    }
    let written = edit.write();
    let Ok(edited) = Message::parse(written) else {
        // The only thing an edit adds that can be too much.
        assert!(
            message.headers().count() + 8 > sip_message::HEADER_LINES_MAX || octets.len() > 4096,
            "edited, refused"
        );
        return;
    };
    let top = edited.top_via().expect("ours");
    assert_eq!((top.transport, top.branch()), ("TLS", Some("z9hG4bKx")));
    assert_eq!(edited.elements(HeaderId::Via).count(), message.elements(HeaderId::Via).count() + 1);
    assert_eq!(edited.max_forwards(), Ok(Some(69)));
    // An empty element, which no valid message has, is none where it is alone in its line.
    let is_full = |element: &&[u8]| !element.is_empty();
    let kept: Vec<_> = message.elements(HeaderId::Route).skip(removed).filter(is_full).collect();
    assert_eq!(edited.elements(HeaderId::Route).filter(is_full).collect::<Vec<_>>(), kept);
    assert_eq!(edited.headers().filter(|header| header.name == b"X-Text").count(), {
        1 + message.headers().filter(|header| header.name == b"X-Text").count()
    });
    let others = |message: &Message| {
        message
            .headers()
            .filter(|header| header.id == HeaderId::Other && header.name != b"X-Text")
            .map(|header| (header.name.to_vec(), header.value.to_vec()))
            .collect::<Vec<_>>()
    };
    assert_eq!(others(&edited), others(&message));
    assert_eq!(edited.body(), if choice & 128 != 0 { b"new" } else { message.body() });
    assert!(message.validate().is_err() || edited.validate().is_ok(), "an edit makes nothing invalid");
}

/// URIs and name-addrs.
pub fn uri(octets: &[u8]) {
    if let Ok(addr) = NameAddr::parse(octets) {
        assert!(memory_contains(octets, addr.uri.as_str().as_bytes()));
        assert!(addr.params.iter().all(|(name, _)| !name.is_empty()));
        read_uri(&addr.uri);
    }
    let Ok(text) = str::from_utf8(octets) else { return };
    let halves = text.split_once('\n').unwrap_or((text, text));
    let (Ok(a), Ok(b)) = (Uri::parse(halves.0), Uri::parse(halves.1)) else { return };
    read_uri(&a);
    read_uri(&b);
    assert_eq!(a.is_equivalent(&b), b.is_equivalent(&a));
}

/// Session descriptions.
pub fn sdp(octets: &[u8]) {
    let Ok(session) = sdp::Session::parse(octets) else { return };
    assert!(session.media.len() <= sdp::SDP_MEDIA_MAX);
    let mut lines = session.head.lines.len();
    for media in &session.media {
        let _ = (session.connection(media), session.direction(media), session.ice_credentials(media));
        assert!(media.candidates().count() <= media.section.attributes().count());
        assert!(!media.kind.is_empty() && !media.protocol.is_empty());
        lines += media.section.lines.len();
    }
    assert!(lines <= octets.len());
}

/// Reading and editing a document in parts. The first line is the path of a resource, the second what is put, the rest the
/// document.
pub fn xcap(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    let (path, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (body, document) = rest.split_once('\n').unwrap_or((rest, ""));
    let is_document = Document::parse(document).is_ok();
    let Ok(resource) = Resource::parse(path) else { return };
    let found = xcap::get(document, resource.node.as_ref(), "urn:a");
    assert!(found.is_none() || is_document || resource.node.is_none());
    let application = Application {
        namespace: "urn:a",
        media_type: "application/xml",
        validate: &|_: &Document<'_>| Ok(()),
    };
    for media_type in [ELEMENT_TYPE, ATTRIBUTE_TYPE, "application/xml"] {
        let body = Body { media_type, octets: body.as_bytes() };
        match xcap::put("https://h.example/", &resource, Some(document), body, &application) {
            Ok(edited) => {
                assert!(Document::parse(&edited.document).is_ok(), "what was accepted is well-formed");
                let after = xcap::get(&edited.document, resource.node.as_ref(), "urn:a");
                assert!(after.is_some(), "what was put is there");
                assert_eq!(edited.is_new, found.is_none());
            }
            Err(failure) => assert!(matches!(failure.status(), 405 | 409 | 413 | 415)),
        }
    }
    match xcap::delete(&resource, Some(document), &application) {
        Ok(Some(edited)) => {
            assert!(Document::parse(&edited).is_ok() && found.is_some());
            assert_eq!(xcap::get(&edited, resource.node.as_ref(), "urn:a"), None);
        }
        Ok(None) => assert!(resource.node.is_none()),
        Err(failure) => assert!(matches!(failure.status(), 404 | 405 | 409)),
    }
}

/// Framing in one piece, octet by octet and in chunks gives the same; what it cuts out, the parser takes whole or
/// refuses.
pub fn framing(octets: &[u8]) {
    let whole = frames(octets, octets.len().max(1));
    let chunk = 1 + octets.first().copied().map_or(0, usize::from) % 67;
    assert_eq!(merge(&frames(octets, chunk)), merge(&whole));
    assert_eq!(merge(&frames(octets, 1)), merge(&whole));
    let mut at = 0;
    for frame in whole {
        match frame {
            Frame::Message { length } => {
                let message = Message::parse(Bytes::copy_from_slice(&octets[at..at + length]));
                assert!(message.is_err() || message.is_ok_and(|message| message.bytes().len() == length));
                at += length;
            }
            Frame::Ping { length } | Frame::Padding { length } => at += length,
            Frame::Partial { .. } | Frame::Lost { .. } => {}
        }
    }
}

/// Publications: what is read is composed, and what a watcher gets of it is read again.
pub fn pidf(octets: &[u8]) {
    let Ok(published) = presence::pidf::read(octets) else { return };
    assert!(octets.len() <= presence::pidf::BOUNDS.octets_max);
    let card = published.card.clone();
    let device = published.into_state(1_795_334_400_000);
    let note_octets = device.note.as_deref().map_or(0, str::len);
    assert!(note_octets <= presence::TEXT_OCTETS_MAX);
    let inputs = Inputs { devices: &[&device], manual: &Manual::default(), calls: 0, now_unix_ms: 0 };
    let state = compose(&inputs);
    for level in Level::ALL {
        let view = View::of(&state, &card, *level);
        let again = presence::pidf::read(&presence::pidf::render(&view, "sip:a@b.example"));
        let again = again.expect("what is written is read");
        assert_eq!(again.state.note.is_some(), view.note.is_some_and(|note| !note.trim().is_empty()));
    }
}

/// Contact lists: every change of what is read gives something that is read, and an addition can be taken back.
pub fn lists(octets: &[u8]) {
    let _ = (Lists::read_recipients(octets), presence::rls_services::read(octets));
    let (Ok(known), Ok(text)) = (Lists::read(octets), str::from_utf8(octets)) else { return };
    assert!(known.entries().len() <= lists::CONTACTS_MAX && known.all_groups().count() <= lists::GROUPS_MAX);
    let new = Contact::new("sip:new@b.example", Some("<N>"));
    let changed = |text: &str, change: &ListsEdit<'_>| {
        let changed = lists::edit(Some(text), change).ok()?;
        let read = Lists::read(changed.as_bytes()).expect("what a change makes is read");
        Some((changed, read))
    };
    if let Some((text, read)) = changed(text, &ListsEdit::AddContact { group: None, contact: &new }) {
        assert!(read.entries().iter().any(|contact| contact.is_same(&new)));
        let (_, read) =
            changed(&text, &ListsEdit::RemoveContact { group: None, contact: &new }).expect("it is there");
        assert!(!read.entries().iter().any(|contact| contact.is_same(&new)));
    }
    for group in known.all_groups().filter_map(|group| group.name.as_deref()) {
        let _ = changed(text, &ListsEdit::RenameGroup { group, name: "other" });
        let _ = changed(text, &ListsEdit::RemoveGroup { group });
        if let Some(contact) = known.entries().first() {
            let _ = changed(text, &ListsEdit::MoveContact { contact, group });
        }
    }
}

/// Access rules: a level that is set is the one that counts.
pub fn rules(octets: &[u8]) {
    let (Ok(known), Ok(text)) = (Rules::read(octets), str::from_utf8(octets)) else { return };
    assert!(known.len() <= rules::RULES_MAX);
    let address = SipAddress::parse("a@b.example").expect("an address");
    for relation in [Relation::SameOrganisation, Relation::Federated] {
        let watcher = Watcher { address: &address, aliases: &[], relation };
        let now = 1_795_334_400_000;
        let before = known.level(&watcher, &Defaults::default(), now);
        assert!(!before.is_pending || before.level == Level::Blocked);
        for level in Level::ALL {
            let Ok(changed) = set_level(Some(text), &Subject::User(address.clone()), Some(*level)) else {
                return;
            };
            let read = Rules::read(changed.as_bytes()).expect("what a change makes is read");
            assert_eq!(read.level(&watcher, &Defaults::default(), now).level, *level);
        }
    }
}

/// What our servers say about a request's origin: one spelling each.
pub fn origin(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    for line in text.lines() {
        if let Ok(origin) = Origin::parse(line) {
            assert_eq!(origin.to_string(), line);
            assert!(!line.contains(['\r', '\n', ' ', ',']));
        }
        if let Ok(member) = Member::parse(line) {
            assert_eq!(Member::new(line), Some(member));
        }
    }
}

/// Policies: what is read is right in itself, and every change of it gives a policy that says what was asked for.
pub fn policy(octets: &[u8]) {
    const OURS: [&str; 1] = ["contoso.example"];
    let Ok(text) = str::from_utf8(octets) else { return };
    let policy = match Policy::parse(text, &OURS) {
        Ok(policy) => policy,
        Err(error) => {
            let lines = text.lines().count() + 1;
            assert!(!error.0.is_empty() && error.0.iter().all(|problem| (1..=lines).contains(&problem.line)));
            return;
        }
    };
    assert!(matches!(policy.standing("contoso.example"), Standing::Ours));
    for blocked in policy.blocked() {
        assert!(policy.is_local(blocked) || matches!(policy.standing(blocked), Standing::Blocked(None)));
    }
    let mut domains: Vec<String> = policy.partners().iter().map(|p| p.domain.to_string()).take(3).collect();
    domains.push("new.example".to_owned());
    for domain in domains {
        let entry =
            EntryChange { next_hop: Some("edge.new.example:5061".to_owned()), ..EntryChange::default() };
        match edit_policy(text, &Change::Allow { domain: domain.clone(), entry }, &OURS) {
            Ok(edited) => {
                let standing = edited.policy.standing(&domain);
                assert!(!matches!(standing, Standing::Blocked(_) | Standing::Unlisted), "{standing:?}");
            }
            Err(error) => assert!(matches!(error, EditError::WrongAfter(_))),
        }
        let block = Change::Block { domain: domain.clone(), comment: "why".to_owned() };
        let edited = edit_policy(text, &block, &OURS).expect("anybody can be blocked");
        assert!(matches!(edited.policy.standing(&domain), Standing::Blocked(None)));
        let unblock = Change::Unblock { domain: domain.clone() };
        let edited = edit_policy(&edited.text, &unblock, &OURS).expect("what was blocked");
        assert!(!edited.policy.blocked().contains(&domain));
    }
}

/// What framing makes of a stream that comes in pieces.
fn frames(stream: &[u8], piece: usize) -> Vec<Frame> {
    let (mut start, mut scan, mut seen) = (0, Scan::default(), Vec::new());
    for end in (piece..stream.len() + piece).step_by(piece) {
        let received = &stream[..end.min(stream.len())];
        loop {
            let frame = next_frame(&mut scan, &received[start..]);
            match frame {
                Frame::Partial { needed } => {
                    assert!(needed > 0);
                    break;
                }
                Frame::Message { length } | Frame::Ping { length } | Frame::Padding { length } => {
                    assert!(length > 0 && start + length <= received.len());
                    start += length;
                    seen.push(frame);
                }
                Frame::Lost { .. } => {
                    seen.push(frame);
                    return seen;
                }
            }
        }
    }
    seen
}

/// Which fault of several is found first depends on how much is there; that framing is lost does not.
fn merge(frames: &[Frame]) -> Vec<Frame> {
    let is_lost = |frame: &Frame| matches!(frame, Frame::Lost { .. });
    let lost =
        frames.iter().any(is_lost).then_some(Frame::Lost { status: 400, reason: "", header_octets: 0 });
    frames.iter().filter(|frame| !is_lost(frame)).copied().chain(lost).collect()
}

/// Reads everything; says whether the message is valid.
fn read(message: &Message) -> bool {
    let is_valid = message.validate().is_ok();
    let contacts = message.contacts();
    let readable = [
        message.top_via().is_ok(),
        message.from().is_ok(),
        message.to().is_ok(),
        message.call_id().is_ok(),
        message.cseq().is_ok(),
        message.max_forwards().is_ok(),
        contacts.is_ok(),
        !message.is_request() || message.request_uri().is_ok(),
    ];
    assert!(!is_valid || readable.iter().all(|&is_ok| is_ok), "what validate lets pass can be read");
    if let Ok(Contacts::List(list)) = contacts {
        assert_eq!(list.len(), message.elements(HeaderId::Contact).count());
    }
    for id in [HeaderId::Route, HeaderId::RecordRoute, HeaderId::Path] {
        for addr in message.name_addrs(id) {
            assert!(addr.is_ok() || !is_valid);
        }
    }
    for via in message.elements(HeaderId::Via) {
        assert!(Via::parse(via).is_ok() || !is_valid);
    }
    for header in message.headers() {
        assert_eq!(HeaderId::from_name(header.name), header.id);
        assert!(message.header_named(&String::from_utf8_lossy(header.name)).is_some());
        if let Ok(auth) = AuthParams::parse(header.value) {
            assert!(auth.iter().all(|(name, _)| auth.get(name).is_some()));
        }
    }
    let _ =
        (message.retry_after(), message.number(HeaderId::Expires), message.content_type(), message.method());
    is_valid
}

fn read_uri(uri: &Uri<'_>) {
    let again = Uri::parse(uri.as_str()).expect("parsed before");
    assert!(uri.is_equivalent(&again));
    assert!(uri.as_str().starts_with(uri.without_params()));
    let whole = format!("{}{}", uri.without_params(), uri.params().text);
    assert!(uri.as_str().starts_with(&whole));
    let _ = uri.user_unescaped();
    match (uri.scheme(), uri.host()) {
        (Scheme::Sip | Scheme::Sips, Host::Name(name)) => {
            assert!(!name.is_empty() && name == uri.host_text())
        }
        (Scheme::Sip | Scheme::Sips, Host::Address(_)) => {}
        (_, host) => assert_eq!(host, Host::Name("")),
    }
}

/// What a message means, but for its Content-Length.
fn meaning(message: &Message) -> impl PartialEq + std::fmt::Debug {
    let headers: Vec<_> = message
        .headers()
        .filter(|header| header.id != HeaderId::ContentLength)
        .map(|header| (header.id, header.name.to_vec(), header.value.to_vec()))
        .collect();
    (
        message.status(),
        message.reason_phrase().to_vec(),
        message.method().as_str().to_owned(),
        message.request_uri_text().to_owned(),
        headers,
        message.body().to_vec(),
    )
}

fn memory_contains(octets: &[u8], piece: &[u8]) -> bool {
    octets.windows(piece.len()).any(|window| window == piece)
}
