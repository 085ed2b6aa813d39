//! What a relationship allows: who may, what, in which direction. Who is ours is told why something does not cross, and
//! nothing of it has.

use sip_message::{HeaderId, Message};
use system_tests::{Community, Device, Draft, sdp};

fn warning(answer: &Message) -> String {
    String::from_utf8_lossy(answer.header(HeaderId::Warning).unwrap_or_default()).into_owned()
}

/// Refused so, with a sentence for the caller.
fn refuses(from: &Device, draft: Draft, status: u16, why: &str) {
    let method = draft.method.clone();
    let refused = from.ask(draft);
    assert_eq!(refused.status(), Some(status), "{method}: {}", from.ladder());
    assert!(warning(&refused).contains(why), "{method}: {:?}", warning(&refused));
}

fn crosses(from: &Device, to: &Device, text: &str) {
    let sent = from.send(from.message(&to.uri(), text));
    assert_eq!(to.expect_and_answer("MESSAGE", 200).body(), text.as_bytes());
    assert_eq!(from.answer(sent).status(), Some(200), "{}", from.ladder());
}

/// Sound and a picture.
fn with_picture() -> String {
    sdp("sendrecv") + "m=video 40002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"
}

#[test]
fn who_may_not_talk_with_others_is_told_and_not_heard_of() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, anna, bob) = (contoso.inside("alice"), contoso.inside("anna"), fabrikam.inside("bob"));
    crosses(&alice, &bob, "before");
    contoso.user_command(&["set-permission", "alice@contoso.example", "--federation", "off"]);
    for draft in [
        alice.message(&bob.uri(), "hello"),
        alice.invite(&bob.uri()),
        alice.watch_draft(&bob.uri()).header("Accept", "application/pidf+xml"),
    ] {
        refuses(&alice, draft, 403, "Your account may not talk with people of other organisations");
    }
    // To them she is nobody.
    for draft in [bob.message(&alice.uri(), "hello"), bob.invite(&alice.uri())] {
        assert_eq!(bob.ask(draft).status(), Some(404), "{}", bob.ladder());
    }
    bob.expect_none("MESSAGE");
    alice.expect_none("MESSAGE");
    // It is hers alone: colleagues go on, with her and with them.
    crosses(&anna, &bob, "from a colleague");
    crosses(&bob, &anna, "to a colleague");
    crosses(&alice, &anna, "among ourselves");
    contoso.user_command(&["set-permission", "alice@contoso.example", "--federation", "on"]);
    crosses(&alice, &bob, "after");
    crosses(&bob, &alice, "and back");
}

#[test]
fn a_relationship_without_pictures_carries_calls_without_them() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    contoso.edit_policy("access-edge", |text| {
        text.replace("mode = \"direct\"\n", "mode = \"direct\"\nmodalities = [\"im\", \"audio\"]\n")
    });
    contoso.reload("access-edge");
    let why = "Not allowed with fabrikam.example: video";
    refuses(&alice, alice.invite(&bob.uri()).body("application/sdp", with_picture()), 488, why);
    let seen = alice.watch_draft(&bob.uri()).header("Accept", "application/pidf+xml");
    refuses(&alice, seen, 403, "Not allowed with fabrikam.example: presence");
    let refused = bob.ask(bob.invite(&alice.uri()).body("application/sdp", with_picture()));
    assert_eq!(refused.status(), Some(488), "{}", bob.ladder());
    alice.expect_none("INVITE");
    bob.expect_none("INVITE");
    // A call that began with sound alone cannot grow a picture, from neither side, and goes on without it.
    let invite = alice.send(alice.invite(&bob.uri()));
    let rung = bob.expect("INVITE");
    bob.respond_with(&rung, 200, |answer| {
        answer.body("application/sdp", sdp("sendrecv").as_bytes());
    });
    let mut caller = alice.confirm(&alice.answer(invite));
    bob.expect("ACK");
    let mut callee = bob.dialog(&rung);
    let grow = |draft: Draft, device: &Device| {
        draft.header("Contact", format!("<{}>", device.contact())).body("application/sdp", with_picture())
    };
    for method in ["INVITE", "UPDATE"] {
        refuses(&alice, grow(caller.request(method), &alice), 488, why);
        let refused = bob.ask(grow(callee.request(method), &bob));
        assert_eq!(refused.status(), Some(488), "{}", bob.ladder());
    }
    bob.expect_none("UPDATE");
    let bye = alice.send(caller.request("BYE"));
    bob.expect_and_answer("BYE", 200);
    assert_eq!(alice.answer(bye).status(), Some(200), "{}", alice.ladder());
}

#[test]
fn what_they_alone_may_begin_goes_on_both_ways() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    contoso.edit_policy("access-edge", |text| {
        text.replace("mode = \"direct\"\n", "mode = \"direct\"\ndirection = \"in\"\n")
    });
    contoso.reload("access-edge");
    let why = "Your organisation does not begin conversations with fabrikam.example";
    refuses(&alice, alice.message(&bob.uri(), "hello"), 403, why);
    refuses(&alice, alice.invite(&bob.uri()), 403, why);
    bob.expect_none("MESSAGE");
    crosses(&bob, &alice, "we may");
    let invite = bob.send(bob.invite(&alice.uri()));
    let rung = alice.expect("INVITE");
    alice.respond_with(&rung, 200, |answer| {
        answer.body("application/sdp", sdp("sendrecv").as_bytes());
    });
    bob.confirm(&bob.answer(invite));
    alice.expect("ACK");
    let bye = alice.send(alice.dialog(&rung).request("BYE"));
    bob.expect_and_answer("BYE", 200);
    assert_eq!(alice.answer(bye).status(), Some(200), "{}", alice.ladder());
}

#[test]
fn without_a_policy_nobody_is_talked_with_and_the_log_says_so() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    crosses(&alice, &bob, "before");
    let file = contoso.dir("access-edge").join("federation.toml");
    let policy = std::fs::read_to_string(&file).expect("the policy is there");
    let is_alone = || {
        contoso.reload("access-edge");
        refuses(&alice, alice.message(&bob.uri(), "hello"), 403, "is not federated with fabrikam.example");
        let refused = bob.ask(bob.message(&alice.uri(), "hello"));
        assert!(refused.status().is_some_and(|status| status >= 400), "{}", bob.ladder());
        alice.expect_none("MESSAGE");
        bob.expect_none("MESSAGE");
    };
    std::fs::remove_file(&file).expect("the folder is ours");
    is_alone();
    assert!(contoso.log("access-edge").contains("event=\"policy-empty\""), "{}", contoso.log("access-edge"));
    std::fs::write(&file, "").expect("the folder is ours");
    is_alone();
    // Remote users are ours, whatever the policy says.
    let anna = contoso.outside("anna");
    anna.register_flow(1);
    crosses(&alice, &anna, "to one of us");
    std::fs::write(&file, policy).expect("the folder is ours");
    contoso.reload("access-edge");
    crosses(&alice, &bob, "after");
}
