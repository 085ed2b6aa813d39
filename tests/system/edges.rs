//! Two edges behind one name, as processes that share a key and nothing else: a dialog that began through one goes on through
//! the other, and a remote user is at home on whichever she is connected to.

use std::net::TcpListener;

use sip_message::HeaderId;
use system_tests::{Border, Device, Dialog, Draft, Link, Own, PrivateCa, sdp};

const ALICE: &str = "sip:alice@contoso.example";
const TLS_PORT: u16 = 5061;

struct World {
    one: Border,
    other: Border,
    fabrikam: Own,
    /// Where fabrikam's edge listens.
    listener: TcpListener,
}

impl World {
    fn new() -> World {
        let ca = PrivateCa::new("CA of fabrikam");
        let builder = Border::with_partners().partner("fabrikam.example", &ca, "");
        let listener = TcpListener::bind((builder.partner_address(), TLS_PORT)).expect("the address is ours");
        let one = builder.start();
        let other = one.beside();
        let fabrikam = ca.issue(one.server().folder(), "fabrikam", &["edge.fabrikam.example"]);
        World { one, other, fabrikam, listener }
    }

    fn bob(&self, through: &Border) -> Device {
        through.from_outside(Some(&self.fabrikam), "bob", "fabrikam.example")
    }

    /// The connection that an edge opens to fabrikam's.
    fn fabrikams_edge(&self, bob: &Device) -> Device {
        let (stream, _) = self.listener.accept().expect("the edge connects");
        let link = Link::accepted_tls(stream, &self.fabrikam).expect("the edge goes on");
        Device::over(bob.account().clone(), link)
    }
}

/// A request within a dialog and its answer.
fn speak(from: &Device, draft: Draft, to: &Device) {
    let method = draft.method.clone();
    let sent = from.send(draft);
    to.expect_and_answer(&method, 200);
    assert_eq!(from.answer(sent).status(), Some(200), "{}", from.ladder());
}

/// A call of bob's through an edge: his end, and that of the server inside.
fn call(bob: &Device, border: &Border) -> (Dialog, Device, Dialog) {
    let invite = bob.send(bob.invite(ALICE));
    let home = border.inside();
    let rung = home.expect("INVITE");
    home.respond_with(&rung, 200, |answer| {
        answer.body("application/sdp", sdp("sendrecv").as_bytes());
    });
    let caller = bob.confirm(&bob.answer(invite));
    home.expect("ACK");
    let callee = home.dialog(&rung);
    (caller, home, callee)
}

#[test]
fn a_dialog_goes_on_through_the_other_edge() {
    let mut world = World::new();
    let bob = world.bob(&world.one);
    let (mut caller, home, mut callee) = call(&bob, &world.one);
    speak(&bob, caller.request("INFO"), &home);
    let sent = home.send(callee.request("INFO"));
    world.fabrikams_edge(&bob).expect_and_answer("INFO", 200);
    assert_eq!(home.answer(sent).status(), Some(200), "{}", home.ladder());
    // The same way, the same entry, at the edge beside it: it opens what the first one sealed.
    let again = world.bob(&world.other);
    let sent = again.send(caller.request("UPDATE"));
    let home = world.other.inside();
    home.expect_and_answer("UPDATE", 200);
    assert_eq!(again.answer(sent).status(), Some(200), "{}", again.ladder());
    // When the first one is gone, and when it is back. From inside too: its own name stands in that Route, and it is the other one that
    // opens what it has sealed, and a connection to the partner of its own.
    world.one.stop();
    speak(&again, caller.request("INFO"), &home);
    let sent = home.send(callee.request("INFO"));
    world.fabrikams_edge(&bob).expect_and_answer("INFO", 200);
    assert_eq!(home.answer(sent).status(), Some(200), "{}", home.ladder());
    world.one.restart();
    let back = world.bob(&world.one);
    let sent = back.send(caller.request("BYE"));
    world.one.inside().expect_and_answer("BYE", 200);
    assert_eq!(back.answer(sent).status(), Some(200), "{}", back.ladder());
}

/// What one edge sealed for one partner in one dialog, the other one takes from nobody else and for no other dialog.
#[test]
fn an_entry_of_one_edge_is_no_better_at_the_other() {
    let world = World::new();
    let bob = world.bob(&world.one);
    let (mut caller, _home, _callee) = call(&bob, &world.one);
    let again = world.bob(&world.other);
    let mut other_dialog = caller.clone();
    other_dialog.call_id = system_tests::unique();
    assert_eq!(again.ask(other_dialog.request("BYE")).status(), Some(403), "{}", again.ladder());
    let stranger = world.other.from_outside(None, "bob", "fabrikam.example");
    assert_eq!(
        stranger.ask(caller.request("BYE").unanswering()).status(),
        Some(403),
        "{}",
        stranger.ladder()
    );
    assert!(world.other.inside_is_quiet());
}

/// A client registers; gives the connection inside, her Path, and the entry that leads home.
fn register(anna: &Device, more: Option<&str>, inside: impl FnOnce() -> Device) -> (Device, String, String) {
    let contact = format!("<{}>;reg-id=1;+sip.instance=\"<{}>\"", anna.contact(), anna.instance());
    let draft = anna.register_draft(Some(contact.clone())).header("Supported", "path, outbound, gruu");
    let sent = anna.send(match more {
        Some(route) => draft.header("Route", route),
        None => draft,
    });
    let inside = inside();
    let register = inside.expect("REGISTER");
    let path = String::from_utf8_lossy(register.header(HeaderId::Path).expect("a Path")).into_owned();
    let service = path.replace(";ob", "");
    inside.respond_with(&register, 200, |answer| {
        answer
            .header(HeaderId::Path, &path)
            .header(HeaderId::Contact, &contact)
            .header(HeaderId::Require, "outbound")
            .header(HeaderId::ServiceRoute, &service);
    });
    let registered = anna.answer(sent);
    assert_eq!(registered.status(), Some(200), "{}", anna.ladder());
    let home = registered.header(HeaderId::ServiceRoute).expect("a Service-Route");
    let home = String::from_utf8_lossy(home).into_owned();
    (inside, path, home)
}

#[test]
fn a_remote_user_comes_back_through_the_other_edge() {
    let mut world = World::new();
    let anna = world.one.from_outside(None, "anna", "contoso.example");
    let (_home, path, service) = register(&anna, None, || world.one.inside());
    assert!(path.contains("@edge.contoso.example:"), "the Path leads to the very edge: {path}");
    let to_anna = |border: &Border, path: &str, device: &Device, text: &str| {
        let alice = border.from_inside("alice");
        let message = alice.message(&anna.uri(), text).header("Route", path);
        let message = Draft { uri: device.contact().to_owned(), ..message };
        let sent = alice.send(message);
        (alice, sent)
    };
    let (alice, sent) = to_anna(&world.one, &path, &anna, "over the first edge");
    assert_eq!(anna.expect_and_answer("MESSAGE", 200).body(), b"over the first edge");
    assert_eq!(alice.answer(sent).status(), Some(200), "{}", alice.ladder());
    // Her edge is gone. The other one takes her with the entry that the first one gave her.
    world.one.stop();
    anna.closed();
    let back = world.other.from_outside(None, "anna", "contoso.example");
    back.be(&anna.instance());
    let (home, new_path, _) = register(&back, Some(&service), || world.other.inside());
    assert!(new_path.contains("@edge-2.contoso.example:"), "{new_path}");
    let (alice, sent) = to_anna(&world.other, &new_path, &back, "over the second edge");
    assert_eq!(back.expect_and_answer("MESSAGE", 200).body(), b"over the second edge");
    assert_eq!(alice.answer(sent).status(), Some(200), "{}", alice.ladder());
    let sent = back.send(back.message(ALICE, "from afar").header("Route", service));
    assert_eq!(home.expect_and_answer("MESSAGE", 200).body(), b"from afar");
    assert_eq!(back.answer(sent).status(), Some(200), "{}", back.ladder());
    // Her old flow is nobody's: not at the first edge, which has lost it, and not at the second, which never had it.
    world.one.restart();
    let (alice, sent) = to_anna(&world.one, &path, &back, "into the void");
    assert_eq!(alice.answer(sent).status(), Some(430), "{}", alice.ladder());
    let foreign = path.replace("@edge.contoso.example:", "@edge-2.contoso.example:");
    let (alice, sent) = to_anna(&world.other, &foreign, &back, "to somebody else");
    assert!(matches!(alice.answer(sent).status(), Some(403 | 430)), "{}", alice.ladder());
    home.answer_every("OPTIONS", 200);
    back.expect_none("MESSAGE");
}
