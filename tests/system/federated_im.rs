//! What messages are made of beside text, between organisations: that somebody types, and that something arrived and was
//! read; directly and through the clearinghouse, and not at all where the relationship is without messages.

use sip_message::{HeaderId, Message};
use system_tests::{Community, Device, Draft};

/// RFC 3994.
const TYPING: (&str, &str) = (
    "application/im-iscomposing+xml",
    "<?xml version=\"1.0\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>",
);

/// A message that wants receipts (RFC 5438 §6).
fn with_receipts(from: &Device, to: &Device) -> (&'static str, String) {
    let (from, to) = (from.uri(), to.uri());
    let text = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 34jk324j\r\n\
         DateTime: 2026-11-22T12:00:00Z\r\nimdn.Disposition-Notification: positive-delivery, display\r\n\r\n\
         Content-Type: text/plain\r\n\r\nhave you seen this?"
    );
    ("message/cpim", text)
}

/// What says that it was delivered, or read (RFC 5438 §7.2.1).
fn receipt(from: &Device, to: &Device, what: &str) -> (&'static str, String) {
    let (from, to) = (from.uri(), to.uri());
    let text = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {what}-1\r\n\r\n\
         Content-Type: message/imdn+xml\r\nContent-Disposition: notification\r\n\r\n\
         <imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>34jk324j</message-id>\
         <{what}-notification><status><{what}/></status></{what}-notification></imdn>"
    );
    ("message/cpim", text)
}

fn draft(from: &Device, to: &Device, content_type: &str, body: &str) -> Draft {
    from.draft("MESSAGE", &to.uri()).body(content_type, body)
}

/// It arrives as it was sent.
fn carries(from: &Device, to: &Device, content_type: &str, body: &str) {
    let sent = from.send(draft(from, to, content_type, body));
    let arrived = to.expect_and_answer("MESSAGE", 200);
    assert_eq!(arrived.content_type(), content_type);
    assert_eq!(String::from_utf8_lossy(arrived.body()), body);
    assert_eq!(arrived.from().expect("From").uri.as_str(), from.uri());
    assert_eq!(from.answer(sent).status(), Some(200), "{}", from.ladder());
}

/// A conversation of two: she types, he is told, he types, she is told; what was written is received and read.
fn converse(one: &Device, other: &Device) {
    for (from, to) in [(one, other), (other, one)] {
        carries(from, to, TYPING.0, TYPING.1);
        let (content_type, message) = with_receipts(from, to);
        carries(from, to, content_type, &message);
        for what in ["delivery", "display"] {
            let (content_type, receipt) = receipt(to, from, what);
            carries(to, from, content_type, &receipt);
        }
    }
}

fn warning(answer: &Message) -> String {
    String::from_utf8_lossy(answer.header(HeaderId::Warning).unwrap_or_default()).into_owned()
}

/// Nothing of it crosses, in either direction; who is ours is told why.
fn is_silent(ours: &Device, theirs: &Device) {
    let domain = &theirs.account().domain;
    for (content_type, body) in
        [(TYPING.0, TYPING.1.to_owned()), receipt(ours, theirs, "delivery"), receipt(ours, theirs, "display")]
    {
        let refused = ours.ask(draft(ours, theirs, content_type, &body));
        assert_eq!(refused.status(), Some(403), "{content_type}: {}", ours.ladder());
        assert!(
            warning(&refused).contains(&format!("Not allowed with {domain}: instant messages")),
            "{}",
            warning(&refused)
        );
        let refused = theirs.ask(draft(theirs, ours, content_type, &body));
        assert_eq!(refused.status(), Some(403), "{content_type}: {}", theirs.ladder());
    }
    theirs.expect_none("MESSAGE");
    ours.expect_none("MESSAGE");
}

#[test]
fn typing_and_receipts_cross_directly_and_through_the_clearinghouse() {
    let community = Community::start();
    let of = |name| community.member(name);
    let (contoso, fabrikam, northwind) = (of("contoso"), of("fabrikam"), of("northwind"));
    let (alice, bob, nina) = (contoso.inside("alice"), fabrikam.inside("bob"), northwind.inside("nina"));
    converse(&alice, &bob);
    converse(&alice, &nina);
    // That somebody types is nothing to somebody who is not there, and is kept by nobody.
    let away = alice.draft("MESSAGE", &fabrikam.uri("bella")).body(TYPING.0, TYPING.1);
    assert_eq!(alice.ask(away).status(), Some(480), "{}", alice.ladder());
    let bella = fabrikam.inside("bella");
    bella.expect_none("MESSAGE");
    // A relationship without messages is one without any of this, on either road.
    contoso.edit_policy("access-edge", |text| {
        let text = text
            .replace("mode = \"direct\"\n", "mode = \"direct\"\nmodalities = [\"presence\", \"audio\"]\n");
        text.replace("vouches = ", "modalities = [\"presence\", \"audio\"]\nvouches = ")
    });
    contoso.reload("access-edge");
    is_silent(&alice, &bob);
    is_silent(&alice, &nina);
    // Presence is still there.
    let watch = alice.watch(&bob.uri());
    watch.until("open");
    watch.end();
}
