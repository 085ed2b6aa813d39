//! Users outside of their organisation's network, who come in through its edge and Director: in a browser, and with a
//! certificate instead of a password.

use std::process::Command;

use sip_message::{HeaderId, Message};
use system_tests::{
    Community, Device, Draft, PrivateCa, client_script, eventually, have, run_tap, sdp, skip,
};

use crate::calls::{established, hang_up};

/// The one entry of the edge that stands for the way to the user's home (RFC 3608).
fn way_home(registered: &Message) -> String {
    let routes: Vec<_> = registered.elements(HeaderId::ServiceRoute).collect();
    assert_eq!(routes.len(), 1, "the edge alone is shown");
    String::from_utf8_lossy(routes[0]).into_owned()
}

#[test]
fn a_browser_outside_writes_and_calls_over_a_secure_web_socket() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    let anna = contoso.browser("anna", None);
    let home = way_home(&anna.register_flow(1));
    assert!(home.contains("transport=ws"), "she is shown the way that she came: {home}");
    for other in [&alice, &bob] {
        let sent = anna.send(anna.message(&other.uri(), "from a browser").header("Route", home.clone()));
        let arrived = other.expect_and_answer("MESSAGE", 200);
        assert_eq!(arrived.body(), b"from a browser");
        assert_eq!(arrived.from().expect("From").uri.as_str(), anna.uri());
        assert_eq!(anna.answer(sent).status(), Some(200), "{}", anna.ladder());
        let sent = other.send(other.message(&anna.uri(), "to a browser"));
        assert_eq!(anna.expect_and_answer("MESSAGE", 200).body(), b"to a browser");
        assert_eq!(other.answer(sent).status(), Some(200), "{}", other.ladder());
        // A call from there, which she ends, and one from her, which the other ends.
        let (_, mut callee) = established(other, &anna);
        hang_up(&anna, &mut callee, other);
        let invite = anna.send(anna.invite(&other.uri()).header("Route", home.clone()));
        let rung = other.expect("INVITE");
        other.respond_with(&rung, 200, |answer| {
            answer.body("application/sdp", sdp("sendrecv").as_bytes());
        });
        let mut caller = anna.confirm(&anna.answer(invite));
        other.expect("ACK");
        let again = anna.send(caller.request("UPDATE"));
        other.expect_and_answer("UPDATE", 200);
        assert_eq!(anna.answer(again).status(), Some(200), "{}", anna.ladder());
        hang_up(other, &mut other.dialog(&rung), &anna);
    }
    // A page that is closed is a device that is gone.
    drop(anna);
    let typing = alice.draft("MESSAGE", "sip:anna@contoso.example");
    let typing =
        typing.body("application/im-iscomposing+xml", "<isComposing><state>active</state></isComposing>");
    assert_eq!(alice.ask(typing).status(), Some(480), "{}", alice.ladder());
}

#[test]
fn jssip_and_sipjs_outside_talk_through_the_edge() {
    const WHAT: &str = "JsSIP and SIP.js through an edge";
    if !have("node") || !client_script("websocket/node_modules").is_dir() {
        return skip(WHAT, "run `npm ci` in tests/clients/websocket");
    }
    let community = Community::start();
    let contoso = community.member("contoso");
    let address = contoso.address("access-edge", "outside_address", "websocket");
    let url = format!("wss://{}:{}/", contoso.outside_host("access-edge"), address.port());
    let of = |user: &str| {
        let account = contoso.account(user);
        format!("{}:{}", account.user, account.password)
    };
    let mut driver = Command::new("node");
    driver.arg(client_script("websocket/ws_pair.mjs"));
    driver.args(["--url", &url, "--address", &address.ip().to_string()]);
    driver.args(["--domain", contoso.domain(), "--a", &of("alice"), "--b", &of("anna")]);
    driver.arg("--ca").arg(contoso.ca());
    run_tap(&mut driver);
}

/// A REGISTER of a flow that leaves challenges unanswered.
fn unasked(device: &Device) -> Draft {
    let contact = format!("<{}>;reg-id=1;+sip.instance=\"<{}>\"", device.contact(), device.instance());
    device.register_draft(Some(contact)).header("Supported", "path, outbound, gruu").unanswering()
}

#[test]
fn a_certificate_signs_its_user_in_until_it_is_taken_back() {
    let community = Community::start();
    let contoso = community.member("contoso");
    let alice = contoso.inside("alice");
    let folder = contoso.dir("access-edge");
    // Of a CA that nobody here knows: what counts is that the account has this very certificate.
    let ca = PrivateCa::new("CA of laptops");
    let own = ca.issue(&folder, "laptop", &["laptop.anna.example"]);
    let other = ca.issue(&folder, "other-laptop", &["laptop.anna.example"]);
    let file = own.certificate.to_str().expect("a path in UTF-8");
    let anna = contoso.outside_with("anna", &own);
    assert_eq!(anna.ask(unasked(&anna)).status(), Some(401), "{}", anna.ladder());
    contoso.user_command(&["add-certificate", "anna@contoso.example", file]);
    // The Director hears of it within a second.
    let registered = eventually("the certificate signs anna in", || {
        let answer = anna.ask(unasked(&anna));
        (answer.status() == Some(200)).then_some(answer)
    });
    let home = way_home(&registered);
    let message = || anna.message(&alice.uri(), "no password").header("Route", home.clone()).unanswering();
    let sent = anna.send(message());
    let arrived = alice.expect_and_answer("MESSAGE", 200);
    assert_eq!(arrived.from().expect("From").uri.as_str(), anna.uri());
    assert_eq!(anna.answer(sent).status(), Some(200), "{}", anna.ladder());
    // It signs nobody else in, another one signs nobody in, and where none is asked for there is a password to give.
    let as_alice = contoso.outside_with("alice", &own);
    assert_eq!(as_alice.ask(unasked(&as_alice)).status(), Some(403), "{}", as_alice.ladder());
    let stranger = contoso.outside_with("anna", &other);
    assert_eq!(stranger.ask(unasked(&stranger)).status(), Some(401), "{}", stranger.ladder());
    let browser = contoso.browser("anna", Some(&own));
    assert_eq!(browser.ask(unasked(&browser)).status(), Some(401), "{}", browser.ladder());
    browser.register_flow(2);
    // Taken back, it is worth nothing: not to whom it signed in, and not to who comes anew.
    alice.answer_every("MESSAGE", 200);
    contoso.user_command(&["remove-certificate", "anna@contoso.example", file]);
    eventually("anna is asked for her password", || {
        let status = anna.ask(message()).status();
        assert!(matches!(status, Some(200 | 202 | 401 | 407)), "{status:?}: {}", anna.ladder());
        matches!(status, Some(401 | 407)).then_some(())
    });
    let back = contoso.outside_with("anna", &own);
    assert_eq!(back.ask(unasked(&back)).status(), Some(401), "{}", back.ladder());
}

#[test]
fn remote_access_is_switched_off_for_one_and_for_all() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    let (anna, abroad) = (contoso.outside("anna"), contoso.outside("alice"));
    let home = way_home(&anna.register_flow(1));
    way_home(&abroad.register_flow(1));
    bob.answer_every("MESSAGE", 200);
    let reached = |to: &Device| {
        let sent = bob.send(bob.message(&to.uri(), "are you there?"));
        to.expect_and_answer("MESSAGE", 200);
        assert_eq!(bob.answer(sent).status(), Some(200), "{}", bob.ladder());
    };
    reached(&anna);
    contoso.user_command(&["set-permission", "anna@contoso.example", "--remote", "off"]);
    eventually("anna may not come from outside any more", || {
        let status = anna.ask(anna.message(&bob.uri(), "may I?").header("Route", home.clone())).status();
        (status == Some(403)).then_some(())
    });
    let again = contoso.outside("anna");
    assert_eq!(again.ask(unasked(&again).answering()).status(), Some(403), "{}", again.ladder());
    // Inside she is who she was, and others outside are too.
    reached(&contoso.inside("anna"));
    assert_eq!(abroad.ask(abroad.message(&bob.uri(), "I may")).status(), Some(200), "{}", abroad.ladder());
    contoso.user_command(&["set-permission", "anna@contoso.example", "--remote", "on"]);
    eventually("anna may come from outside again", || {
        let back = contoso.outside("anna");
        (back.ask(unasked(&back).answering()).status() == Some(200)).then_some(())
    });
    // For all, at the edge: partners go on.
    let file = contoso.dir("access-edge").join("chancery.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration is there");
    std::fs::write(&file, text + "\n[remote_access]\nenabled = \"no\"\n").expect("the folder is ours");
    contoso.reload("access-edge");
    let late = contoso.outside("anna");
    assert_eq!(late.ask(late.register_draft(None)).status(), Some(403), "{}", late.ladder());
    assert_eq!(abroad.ask(abroad.message(&bob.uri(), "may I?")).status(), Some(403), "{}", abroad.ladder());
    assert_eq!(alice.ask(alice.message(&bob.uri(), "we may")).status(), Some(200), "{}", alice.ladder());
}
