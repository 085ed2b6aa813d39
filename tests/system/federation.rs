//! Organisations that talk with each other: two with edges and directors that are federated directly, and a third one
//! behind a clearinghouse. Every server is a process of its own, with TLS between all of them.

use std::process::Command;

use sip_message::{HeaderId, Message};
use system_tests::{Account, Community, Device, Draft, Watch, client_script, have, may_mount, run_tap, skip};

/// Sends a message and has it taken; gives what arrived.
fn cross(from: &Device, to: &Device, text: &str) -> Message {
    let sent = from.send(from.message(&to.uri(), text));
    let arrived = to.expect("MESSAGE");
    assert_eq!(arrived.body(), text.as_bytes());
    assert_eq!(arrived.from().expect("From").uri.as_str(), from.uri(), "From is who wrote it");
    to.respond(&arrived, 200);
    assert_eq!(from.answer(sent).status(), Some(200), "{}", from.ladder());
    arrived
}

/// No name, address or header of the other side's inside stands in it.
fn is_clean(message: &Message, inside: &[&str]) {
    let text = String::from_utf8_lossy(message.bytes()).to_lowercase();
    for word in ["chancery-origin", "chancery-member"] {
        assert!(!text.contains(word), "{word} has come out:\n{text}");
    }
    for host in inside {
        assert!(!text.contains(host), "{host} has come out:\n{text}");
    }
}

fn warning(answer: &Message) -> String {
    answer
        .header(HeaderId::Warning)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .unwrap_or_default()
}

#[test]
fn messages_cross_directly_and_through_the_clearinghouse() {
    let community = Community::start();
    let (contoso, fabrikam, northwind) =
        (community.member("contoso"), community.member("fabrikam"), community.member("northwind"));
    let (alice, bob, nina) = (contoso.inside("alice"), fabrikam.inside("bob"), northwind.inside("nina"));
    let of_contoso = ["sip.contoso.example", "director.contoso.example", "edge.contoso.example"];
    is_clean(&cross(&alice, &bob, "directly"), &of_contoso);
    cross(&bob, &alice, "and back");
    is_clean(&cross(&alice, &nina, "through the hub"), &of_contoso);
    cross(&nina, &alice, "and back");
    for (member, server) in [
        (&contoso, "front-end"),
        (&contoso, "director"),
        (&contoso, "access-edge"),
        (&community.member("trade"), "clearinghouse"),
    ] {
        assert_eq!(member.faults(server), "", "{server} of {}", member.domain());
    }
    let (code, said) = contoso.explained("access-edge", "alice@contoso.example", "bob@fabrikam.example");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the road is direct") && said.contains("ok    tls"), "{said}");
    let (code, said) = contoso.explained("access-edge", "eve@litware.example", "alice@contoso.example");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("litware.example") && said.contains("mend"), "{said}");
    // Nobody at home: the other home keeps it, and says so.
    let bella = fabrikam.account("bella").uri();
    assert_eq!(alice.ask(alice.message(&bella, "for later")).status(), Some(202));
    let bella = fabrikam.inside("bella");
    assert_eq!(bella.expect_and_answer("MESSAGE", 200).body(), b"for later");
    // What is nobody's address is nobody's there too.
    assert_eq!(alice.ask(alice.message("sip:nobody@fabrikam.example", "hello")).status(), Some(404));
    // An organisation that nobody named is not talked with, and the caller is told why.
    let answer = alice.ask(alice.message("sip:eve@litware.example", "hello"));
    assert_eq!(answer.status(), Some(403));
    assert!(warning(&answer).contains("litware.example"), "{}", warning(&answer));
}

#[test]
fn a_remote_user_is_at_home_wherever_she_is() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    let anna = contoso.outside("anna");
    let registered = anna.register_flow(1);
    let routes: Vec<String> = registered
        .elements(HeaderId::ServiceRoute)
        .map(|route| String::from_utf8_lossy(route).into_owned())
        .collect();
    assert_eq!(routes.len(), 1, "the edge alone is shown: {routes:?}");
    assert!(!routes[0].contains("director"), "{routes:?}");
    let via_edge = |draft: Draft| draft.header("Route", routes[0].clone());
    // From afar to a colleague, and to another organisation.
    for (other, text) in [(&alice, "to a colleague"), (&bob, "to another organisation")] {
        let sent = anna.send(via_edge(anna.message(&other.uri(), text)));
        let arrived = other.expect_and_answer("MESSAGE", 200);
        assert_eq!(arrived.body(), text.as_bytes());
        assert_eq!(arrived.from().expect("From").uri.as_str(), anna.uri());
        assert_eq!(anna.answer(sent).status(), Some(200), "{}", anna.ladder());
        cross(other, &anna, "back to you");
    }
    // A call from inside reaches her, and ends.
    let invite = alice.send(alice.invite(&anna.uri()));
    let rung = anna.expect("INVITE");
    anna.respond(&rung, 180);
    anna.respond_with(&rung, 200, |answer| {
        answer.body("application/sdp", system_tests::sdp("sendrecv").as_bytes());
    });
    let mut dialog = alice.confirm(&alice.answer(invite));
    anna.expect("ACK");
    let bye = alice.send(dialog.request("BYE"));
    anna.expect_and_answer("BYE", 200);
    assert_eq!(alice.answer(bye).status(), Some(200), "{}", alice.ladder());
    // A wrong password is refused by the director.
    let mut account = contoso.account("alice");
    account.password = "a-wrong-password".to_owned();
    let stranger = Device::over(account, {
        let address = contoso.address("access-edge", "outside_address", "remote");
        let host = contoso.outside_host("access-edge");
        system_tests::Link::open_tls(address, &contoso.ca(), host, None).expect("remote users are let in")
    });
    let contact = format!("<{}>", stranger.contact());
    let refused = stranger.ask(stranger.register_draft(Some(contact)));
    assert!(matches!(refused.status(), Some(401 | 403)), "{}", stranger.ladder());
}

#[test]
fn calls_and_presence_cross() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    // A call.
    let invite = alice.send(alice.invite(&bob.uri()));
    let rung = bob.expect("INVITE");
    is_clean(&rung, &["sip.contoso.example", "director.contoso.example"]);
    bob.respond(&rung, 180);
    alice.provisional(invite, 180);
    bob.respond_with(&rung, 200, |answer| {
        answer.body("application/sdp", system_tests::sdp("sendrecv").as_bytes());
    });
    let answered = alice.answer(invite);
    is_clean(&answered, &["sip.fabrikam.example", "director.fabrikam.example"]);
    let mut dialog = alice.confirm(&answered);
    bob.expect("ACK");
    let again = alice.send(dialog.request("UPDATE"));
    bob.expect_and_answer("UPDATE", 200);
    assert_eq!(alice.answer(again).status(), Some(200), "{}", alice.ladder());
    let bye = bob.send(bob.dialog(&rung).request("BYE"));
    alice.expect_and_answer("BYE", 200);
    assert_eq!(bob.answer(bye).status(), Some(200), "{}", bob.ladder());
    // Presence: what others see of somebody who is in no call, without asking for leave.
    let watch = alice.watch(&bob.uri());
    watch.until("open");
    let tag = bob.publish(None, &system_tests::activity("meeting"));
    // The external level: busy, and not why.
    watch.until("open busy");
    bob.publish(Some(&tag), "");
    bob.unregister();
    watch.until("closed");
    watch.end();
}

#[test]
fn a_contact_list_has_people_of_other_organisations_in_it() {
    let community = Community::start();
    let (contoso, fabrikam, northwind) =
        (community.member("contoso"), community.member("fabrikam"), community.member("northwind"));
    let alice = contoso.inside("alice");
    let (anna, bob, nina) = (contoso.uri("anna"), fabrikam.uri("bob"), northwind.uri("nina"));
    let stranger = "sip:eve@litware.example";
    let uris = [&*anna, &bob, &nina, stranger].map(str::to_owned);
    let mut list = alice.watch_list(Some(&uris));
    let seen = |list: &mut Watch<'_>, of_bob: &str, of_nina: &str| {
        list.until_members(&[
            (&anna, "active closed"),
            (&bob, of_bob),
            (&nina, of_nina),
            (stranger, "terminated"),
        ]);
    };
    seen(&mut list, "active closed", "active closed");
    // One directly, the other through the clearinghouse: at the external level, busy, and not why.
    let (bobs, ninas) = (fabrikam.inside("bob"), northwind.inside("nina"));
    bobs.publish(None, &system_tests::activity("meeting"));
    seen(&mut list, "active open busy", "active open");
    // What is given to somebody elsewhere is seen at once, in a list too.
    let set = |level: &str| {
        let words = ["access", "set", "bob@fabrikam.example", "alice@contoso.example", level];
        fabrikam.command("front-end", &words);
    };
    set("company");
    seen(&mut list, "active open busy meeting", "active open");
    set("blocked");
    seen(&mut list, "active closed", "active open");
    ninas.publish(None, &system_tests::activity("away"));
    seen(&mut list, "active closed", "active open away");
    set("external");
    seen(&mut list, "active open busy", "active open away");
    bobs.unregister();
    ninas.unregister();
    seen(&mut list, "active closed", "active closed");
    list.end();
}

#[test]
fn nobody_speaks_for_a_domain_that_they_did_not_prove() {
    let community = Community::start();
    let (contoso, fabrikam, northwind) =
        (community.member("contoso"), community.member("fabrikam"), community.member("northwind"));
    let alice = contoso.inside("alice");
    let methods =
        ["MESSAGE", "INVITE", "SUBSCRIBE", "OPTIONS", "REFER", "PUBLISH", "NOTIFY", "INFO", "BYE", "UPDATE"];
    // Who: northwind, which is reached through the hub alone, directly; and fabrikam in the name of others.
    let claims = [
        (northwind.own("access-edge"), fabrikam.account("bob")),
        (northwind.own("access-edge"), northwind.account("nina")),
        (fabrikam.own("access-edge"), northwind.account("nina")),
        (fabrikam.own("access-edge"), contoso.account("anna")),
    ];
    for (own, account) in claims {
        let liar = contoso.as_partner("access-edge", &own, account);
        for method in methods {
            let mut draft = liar.draft(method, &alice.uri()).unanswering();
            if matches!(method, "INVITE" | "SUBSCRIBE" | "REFER" | "NOTIFY" | "UPDATE") {
                draft = draft.header("Contact", format!("<{}>", liar.contact()));
            }
            if matches!(method, "SUBSCRIBE" | "NOTIFY" | "PUBLISH") {
                draft = draft.header("Event", "presence");
            }
            if method == "REFER" {
                draft = draft.header("Refer-To", "<sip:carol@contoso.example>");
            }
            // It may also be cut off.
            if let Some(answer) = liar.try_ask(draft) {
                let status = answer.status().expect("an answer");
                assert!((400..700).contains(&status), "{method} of {} got {status}", liar.uri());
                assert!(warning(&answer).is_empty(), "a stranger is told no reason");
            }
        }
    }
    // Trust headers of strangers mean nothing: who has no certificate is a user, and is challenged.
    let forger = contoso.outside("anna");
    for forged in [
        ("Chancery-Origin", "partner;domain=contoso.example;mode=direct;edge=edge.contoso.example"),
        ("Chancery-Origin", "remote;flow=x;edge=edge.contoso.example"),
        ("Chancery-Member", "contoso.example"),
        ("P-Asserted-Identity", "<sip:anna@contoso.example>"),
    ] {
        let draft = forger.message(&alice.uri(), "believe me").header(forged.0, forged.1).unanswering();
        let status = forger.ask(draft).status().expect("an answer");
        assert!(matches!(status, 400 | 401 | 403 | 407), "{} got {status}", forged.0);
    }
    alice.expect_none("MESSAGE");
    alice.expect_none("INVITE");
}

#[test]
fn a_changed_policy_is_in_force_within_seconds() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    cross(&alice, &bob, "before");
    let file = contoso.dir("access-edge").join("federation.toml");
    let before = std::fs::read_to_string(&file).expect("the policy is there");
    std::fs::write(&file, format!("{before}\n[block]\ndomains = [\"fabrikam.example\"]\n"))
        .expect("it is ours");
    // It is looked at every few seconds; an administrator need not wait.
    contoso.reload("access-edge");
    let refused = alice.ask(alice.message(&bob.uri(), "blocked"));
    assert_eq!(refused.status(), Some(403), "{}", alice.ladder());
    assert!(warning(&refused).contains("fabrikam.example"), "{}", warning(&refused));
    // And the other way.
    let answer = bob.ask(bob.message(&alice.uri(), "let me in"));
    assert_eq!(answer.status(), Some(403), "{}", bob.ladder());
    // Strangers are told no reason; who refused, his own edge tells him.
    let told = warning(&answer);
    assert!(told.contains("(contoso.example) does not allow this"), "{told}");
    bob.expect_none("MESSAGE");
    // What is wrong changes nothing.
    std::fs::write(&file, "[[partner]\n").expect("it is ours");
    contoso.reload("access-edge");
    assert_eq!(alice.ask(alice.message(&bob.uri(), "still blocked")).status(), Some(403));
    // Taken back, they talk again.
    std::fs::write(&file, &before).expect("it is ours");
    contoso.reload("access-edge");
    cross(&alice, &bob, "after");
}

#[test]
fn baresip_inside_and_linphonec_outside_talk() {
    const SCRIPT: &str = "federated_pair.py";
    let needed = ["python3", "baresip", "linphonec"];
    if let Some(missing) = needed.iter().find(|program| !have(program)) {
        return skip(SCRIPT, &format!("{missing} is not installed"));
    }
    if !may_mount() {
        return skip(SCRIPT, "a mount namespace for names of its own needs root");
    }
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let address = |account: Account| format!("{}@{}:{}", account.user, account.domain, account.password);
    let mut driver = Command::new("python3");
    driver.arg(client_script(SCRIPT));
    driver.args(["--inside", &contoso.address("front-end", "address", "tcp").to_string()]);
    driver.args(["--outside", &fabrikam.address("access-edge", "outside_address", "remote").to_string()]);
    driver.arg("--outside-ca").arg(fabrikam.ca());
    driver.args(["--inside-name", "sip.contoso.example"]);
    driver.args(["--outside-name", fabrikam.outside_host("access-edge")]);
    driver.args(["--a", &address(contoso.account("alice")), "--b", &address(fabrikam.account("bob"))]);
    run_tap(&mut driver);
}
