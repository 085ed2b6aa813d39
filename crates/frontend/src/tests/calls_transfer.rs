//! Transfers (RFC 5589): REFER, the new call, and what becomes of the old one. Each flow stands as the ladder that a trace shows.

use std::time::Duration;

use bytes::Bytes;
use directory::{SipAddress, UserId};
use node::{Flow, Input, Transport};
use presence::ManualState;
use sip_message::{HeaderId, Message, ResponseBuilder};

use super::calls::lines;
use super::calls_log::log;
use super::world::World;
use crate::admin::{Answer, Call};

const ALICE: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAROL: UserId = UserId(3);

const INSTANCE: &str = "urn:uuid:00000000-0000-1000-8000-000a95a0e128";
const GRUU: &str = "sip:carol@contoso.example;gr=urn:uuid:00000000-0000-1000-8000-000a95a0e128";
/// Where carol's desk phone says that it is.
const DESK: &str = "sip:carol@192.0.2.7:5066;transport=tcp";
const AOR: &str = "sip:carol@contoso.example";

/// Devices, and what has passed between them.
struct Scene {
    world: World,
    devices: Vec<(&'static str, Flow, String)>,
    ladder: String,
}

/// A dialog as one of its ends sees it.
#[derive(Clone)]
struct End {
    device: &'static str,
    call_id: String,
    local: String,
    remote: String,
    routes: Vec<String>,
    target: String,
    cseq: u32,
}

impl Scene {
    /// alice, bob, and carol with a PC and a desk phone.
    fn new() -> Scene {
        let mut scene = Scene { world: World::new(), devices: Vec::new(), ladder: String::new() };
        for name in ["alice", "bob"] {
            scene.device(name, name, &format!("sip:{name}@{name}-pc.invalid;transport=tls"), "");
        }
        scene.device("pc", "carol", "sip:carol@pc.invalid;transport=tls", "");
        scene.device("desk", "carol", DESK, &format!(";+sip.instance=\"<{INSTANCE}>\""));
        scene
    }

    fn device(&mut self, name: &'static str, user: &str, contact: &str, params: &str) {
        let transport = if name == "desk" { Transport::Tcp } else { Transport::Tls };
        let flow = self.world.connect(transport);
        let answer = self.world.register(flow, user, &format!("Contact: <{contact}>{params}"));
        assert_eq!(answer.status(), Some(200));
        self.devices.push((name, flow, contact.to_owned()));
    }

    fn flow(&self, device: &str) -> Flow {
        self.devices.iter().find(|(name, ..)| *name == device).unwrap().1
    }

    fn contact(&self, device: &str) -> String {
        self.devices.iter().find(|(name, ..)| *name == device).unwrap().2.clone()
    }

    /// What came to a device; the ladder gets a rung.
    fn arrives(&mut self, from: &str, to: &str) -> Message {
        let flow = self.flow(to);
        let message =
            self.world.sent_to(flow).unwrap_or_else(|| panic!("nothing for {to}:\n{}", self.ladder));
        let what = match message.status() {
            Some(status) => status.to_string(),
            None => message.method().as_str().to_owned(),
        };
        self.ladder.push_str(&format!("{from} {what} {to}\n"));
        message
    }

    /// A request that begins something.
    fn asks(&mut self, device: &'static str, from: &str, method: &str, uri: &str, headers: &str) -> String {
        let head = self.world.head(method, from, uri, uri);
        let head = format!("{head}\nContact: <{}>{headers}", self.contact(device));
        self.world.receive(self.flow(device), &head, "");
        head
    }

    fn responds(&mut self, device: &str, request: &Message, status: u16) {
        let mut response = ResponseBuilder::new(request, status);
        response
            .to_tag(&format!("t{device}"))
            .copy_record_route()
            .header(HeaderId::Contact, format!("<{}>", self.contact(device)));
        let bytes: Bytes = response.build();
        self.world.handle(Input::Received { flow: self.flow(device), bytes });
    }

    /// An INVITE that came to `callee` is taken; both ends of its dialog.
    fn answers(&mut self, caller: &'static str, callee: &'static str, invite: &Message) -> (End, End) {
        self.responds(callee, invite, 200);
        let ok = self.arrives(callee, caller);
        assert_eq!(ok.status(), Some(200));
        let text = |id| String::from_utf8_lossy(ok.header(id).unwrap()).into_owned();
        let (from, to) = (text(HeaderId::From), text(HeaderId::To));
        let call_id = ok.call_id().unwrap().to_owned();
        let mut caller_routes = lines(&ok, HeaderId::RecordRoute);
        caller_routes.reverse();
        let mut at_caller = End {
            device: caller,
            call_id: call_id.clone(),
            local: from.clone(),
            remote: to.clone(),
            routes: caller_routes,
            target: self.contact(callee),
            cseq: 100,
        };
        let at_callee = End {
            device: callee,
            call_id,
            local: to,
            remote: from,
            routes: lines(invite, HeaderId::RecordRoute),
            target: self.contact(caller),
            cseq: 200,
        };
        self.says(&mut at_caller, "ACK", "", "");
        self.arrives(caller, callee);
        (at_caller, at_callee)
    }

    /// A request within a dialog, a second after what was before.
    fn says(&mut self, end: &mut End, method: &str, headers: &str, body: &str) {
        self.world.pass(Duration::from_secs(1));
        end.cseq += 1;
        let branch = format!("z9hG4bK{}{}{}", end.device, end.call_id, end.cseq);
        let routes: String = end.routes.iter().map(|route| format!("\nRoute: {route}")).collect();
        let transport = if end.device == "desk" { "TCP" } else { "TLS" };
        let head = format!(
            "{method} {} SIP/2.0\nVia: SIP/2.0/{transport} c.invalid;branch={branch};rport\nMax-Forwards: 70\nFrom: {}\nTo: {}\n\
             Call-ID: {}\nCSeq: {} {method}\nContact: <{}>{routes}{headers}",
            end.target,
            end.local,
            end.remote,
            end.call_id,
            end.cseq,
            self.contact(end.device),
        );
        self.world.receive(self.flow(end.device), &head, body);
    }

    /// A request within a dialog and its answer.
    fn exchange(
        &mut self,
        end: &mut End,
        to: &str,
        method: &str,
        headers: &str,
        body: &str,
        status: u16,
    ) -> Message {
        self.says(end, method, headers, body);
        let request = self.arrives(end.device, to);
        self.responds(to, &request, status);
        assert_eq!(self.arrives(to, end.device).status(), Some(status));
        request
    }

    /// A call that is up.
    fn call(&mut self, caller: &'static str, callee: &'static str, uri: &str) -> (End, End) {
        let user = if caller == "desk" { "carol" } else { caller };
        self.asks(caller, user, "INVITE", uri, "");
        let invite = self.arrives(caller, callee);
        self.answers(caller, callee, &invite)
    }

    /// The progress of a transfer, told within its dialog (RFC 3515 §2.4.4).
    fn notifies(&mut self, end: &mut End, to: &str, state: &str, fragment: &str) {
        let headers =
            format!("\nEvent: refer\nSubscription-State: {state}\nContent-Type: message/sipfrag;version=2.0");
        let notify = self.exchange(end, to, "NOTIFY", &headers, fragment, 200);
        assert_eq!(notify.body(), fragment.as_bytes());
    }

    fn up(&self) -> [usize; 3] {
        [ALICE, BOB, CAROL].map(|user| self.world.node.calls_up(user))
    }

    /// What passed since the last look; nothing else did.
    fn ladder(&mut self) -> String {
        assert!(self.world.is_silent(), "more than\n{}", self.ladder);
        std::mem::take(&mut self.ladder)
    }
}

fn text(message: &Message, name: &str) -> String {
    String::from_utf8_lossy(message.header_named(name).unwrap_or_default()).into_owned()
}

#[test]
fn a_call_is_transferred_blindly() {
    for uri in [GRUU, DESK] {
        let mut scene = Scene::new();
        let (mut alice, mut bob) = scene.call("alice", "bob", "sip:bob@contoso.example");
        let referred_by = "\nReferred-By: <sip:bob@contoso.example>";
        let refer =
            scene.exchange(&mut bob, "alice", "REFER", &format!("\nRefer-To: <{uri}>{referred_by}"), "", 202);
        assert_eq!(text(&refer, "Refer-To"), format!("<{uri}>"));
        scene.notifies(&mut alice, "bob", "active;expires=60", "SIP/2.0 100 Trying");
        scene.asks("alice", "alice", "INVITE", uri, referred_by);
        let at_desk = scene.arrives("alice", "desk");
        assert_eq!(at_desk.request_uri_text(), DESK);
        assert_eq!(text(&at_desk, "Referred-By"), "<sip:bob@contoso.example>");
        assert_eq!(text(&at_desk, "P-Asserted-Identity"), "<sip:alice@contoso.example>");
        assert_eq!(scene.up(), [1, 1, 0]);
        let (mut new, _) = scene.answers("alice", "desk", &at_desk);
        assert_eq!(scene.up(), [2, 1, 1]);
        scene.notifies(&mut alice, "bob", "terminated;reason=noresource", "SIP/2.0 200 OK");
        scene.exchange(&mut bob, "alice", "BYE", "", "", 200);
        assert_eq!(scene.up(), [1, 0, 1]);
        scene.exchange(&mut new, "desk", "BYE", "", "", 200);
        assert_eq!((scene.up(), scene.world.node.calls.len()), ([0, 0, 0], 0));
        let ladder = "\
alice INVITE bob
bob 200 alice
alice ACK bob
bob REFER alice
alice 202 bob
alice NOTIFY bob
bob 200 alice
alice INVITE desk
desk 200 alice
alice ACK desk
alice NOTIFY bob
bob 200 alice
bob BYE alice
alice 200 bob
alice BYE desk
desk 200 alice
";
        assert_eq!(scene.ladder(), ladder, "{uri}");
        assert_eq!(
            log(&scene.world, ALICE),
            ["Sent carol Answered 4s carol@contoso.example", "Sent bob Answered 6s bob@contoso.example"],
            "{uri}"
        );
        assert_eq!(log(&scene.world, BOB), ["Received alice Answered 6s test (198.51.100.7)"]);
        assert_eq!(log(&scene.world, CAROL), ["Received alice Answered 4s test (192.0.2.7)"]);
    }
}

#[test]
fn a_call_that_is_transferred_to_a_user_rings_everywhere() {
    let mut scene = Scene::new();
    let (_, mut bob) = scene.call("alice", "bob", "sip:bob@contoso.example");
    scene.exchange(&mut bob, "alice", "REFER", &format!("\nRefer-To: <{AOR}>"), "", 202);
    scene.exchange(&mut bob, "alice", "BYE", "", "", 200);
    scene.asks("alice", "alice", "INVITE", AOR, "\nReferred-By: <sip:bob@contoso.example>");
    let (at_pc, at_desk) = (scene.arrives("alice", "pc"), scene.arrives("alice", "desk"));
    scene.responds("pc", &at_pc, 180);
    scene.arrives("pc", "alice");
    scene.responds("desk", &at_desk, 200);
    scene.arrives("desk", "alice");
    let cancel = scene.arrives("server", "pc");
    scene.responds("pc", &cancel, 200);
    scene.responds("pc", &at_pc, 487);
    scene.arrives("server", "pc");
    assert_eq!(scene.up(), [1, 0, 1]);
    let ladder = "\
alice INVITE bob
bob 200 alice
alice ACK bob
bob REFER alice
alice 202 bob
bob BYE alice
alice 200 bob
alice INVITE pc
alice INVITE desk
pc 180 alice
desk 200 alice
server CANCEL pc
server ACK pc
";
    assert_eq!(scene.ladder(), ladder);
}

#[test]
fn a_call_is_transferred_after_consultation() {
    for uri in [AOR, GRUU, DESK] {
        let mut scene = Scene::new();
        let (mut alice, mut bob) = scene.call("alice", "bob", "sip:bob@contoso.example");
        let (consulting, mut consulted) = scene.call("bob", "desk", GRUU);
        let tag = |value: &str| value.split_once("tag=").unwrap().1.to_owned();
        let replaces = (consulting.call_id.clone(), tag(&consulting.remote), tag(&consulting.local));
        let (call_id, to_tag, from_tag) = replaces;
        let refer_to =
            format!("\nRefer-To: <{uri}?Replaces={call_id}%3Bto-tag%3D{to_tag}%3Bfrom-tag%3D{from_tag}>");
        scene.exchange(&mut bob, "alice", "REFER", &refer_to, "", 202);
        let headers = format!(
            "\nReferred-By: <sip:bob@contoso.example>\nRequire: replaces\n\
             Replaces: {call_id};to-tag={to_tag};from-tag={from_tag}"
        );
        scene.asks("alice", "alice", "INVITE", uri, &headers);
        let at_desk = scene.arrives("alice", "desk");
        assert_eq!(at_desk.request_uri_text(), DESK);
        assert_eq!(text(&at_desk, "Replaces"), format!("{call_id};to-tag={to_tag};from-tag={from_tag}"));
        let (mut new, _) = scene.answers("alice", "desk", &at_desk);
        assert_eq!(scene.up(), [2, 2, 2]);
        // The device ends what was replaced (RFC 3891 §3), the one who transferred the call ends the first.
        scene.exchange(&mut consulted, "bob", "BYE", "", "", 200);
        scene.notifies(&mut alice, "bob", "terminated;reason=noresource", "SIP/2.0 200 OK");
        scene.exchange(&mut bob, "alice", "BYE", "", "", 200);
        assert_eq!(scene.up(), [1, 0, 1]);
        scene.exchange(&mut new, "desk", "BYE", "", "", 200);
        assert_eq!((scene.up(), scene.world.node.calls.len()), ([0, 0, 0], 0));
        let ladder = "\
alice INVITE bob
bob 200 alice
alice ACK bob
bob INVITE desk
desk 200 bob
bob ACK desk
bob REFER alice
alice 202 bob
alice INVITE desk
desk 200 alice
alice ACK desk
desk BYE bob
bob 200 desk
alice NOTIFY bob
bob 200 alice
bob BYE alice
alice 200 bob
alice BYE desk
desk 200 alice
";
        assert_eq!(scene.ladder(), ladder, "{uri}");
        assert_eq!(
            log(&scene.world, CAROL),
            ["Received alice Answered 5s test (192.0.2.7)", "Received bob Answered 4s test (192.0.2.7)"],
            "{uri}"
        );
        assert_eq!(
            log(&scene.world, ALICE),
            ["Sent carol Answered 5s carol@contoso.example", "Sent bob Answered 7s bob@contoso.example"]
        );
        assert_eq!(
            log(&scene.world, BOB),
            [
                "Sent carol Answered 4s carol@contoso.example",
                "Received alice Answered 7s test (198.51.100.7)"
            ]
        );
    }
}

#[test]
fn a_device_that_has_not_the_dialog_does_not_refuse_for_the_others() {
    for (others, status) in [(200, 200), (486, 486), (481, 481)] {
        let mut scene = Scene::new();
        // A dialog of before a restart: nobody knows whose it is.
        let replaces = "\nRequire: replaces\nReplaces: before;to-tag=a;from-tag=b";
        scene.asks("alice", "alice", "INVITE", AOR, replaces);
        let (at_desk, at_pc) = (scene.arrives("alice", "desk"), scene.arrives("alice", "pc"));
        scene.responds("pc", &at_pc, 481);
        scene.arrives("server", "pc");
        assert!(scene.world.is_silent(), "the other device may have it");
        scene.responds("desk", &at_desk, others);
        assert_eq!(scene.arrives("desk", "alice").status(), Some(status));
    }
}

#[test]
fn a_transfer_without_a_call_reaches_one_device() {
    for uri in [GRUU, DESK] {
        let mut scene = Scene::new();
        let headers = "\nRefer-To: <sip:bob@contoso.example>\nReferred-By: <sip:alice@contoso.example>";
        scene.asks("alice", "alice", "REFER", uri, headers);
        let refer = scene.arrives("alice", "desk");
        assert_eq!(refer.request_uri_text(), DESK);
        scene.responds("desk", &refer, 202);
        let accepted = scene.arrives("desk", "alice");
        let text = |id| String::from_utf8_lossy(accepted.header(id).unwrap()).into_owned();
        let mut desk = End {
            device: "desk",
            call_id: accepted.call_id().unwrap().to_owned(),
            local: text(HeaderId::To),
            remote: text(HeaderId::From),
            routes: lines(&refer, HeaderId::RecordRoute),
            target: scene.contact("alice"),
            cseq: 0,
        };
        scene.notifies(&mut desk, "alice", "active;expires=60", "SIP/2.0 100 Trying");
        let (mut new, _) = scene.call("desk", "bob", "sip:bob@contoso.example");
        scene.notifies(&mut desk, "alice", "terminated;reason=noresource", "SIP/2.0 200 OK");
        assert_eq!(scene.up(), [0, 1, 1]);
        scene.exchange(&mut new, "bob", "BYE", "", "", 200);
        let ladder = "\
alice REFER desk
desk 202 alice
desk NOTIFY alice
alice 200 desk
desk INVITE bob
bob 200 desk
desk ACK bob
desk NOTIFY alice
alice 200 desk
desk BYE bob
bob 200 desk
";
        assert_eq!(scene.ladder(), ladder, "{uri}");
        assert!(log(&scene.world, ALICE).is_empty(), "a REFER is no call");
    }
}

impl Scene {
    fn refused(&mut self, from: &str, method: &str, uri: &str) -> Option<u16> {
        self.asks("alice", from, method, uri, "\nRefer-To: <sip:bob@contoso.example>");
        let answer = self.arrives("server", "alice");
        assert!(self.world.is_silent(), "nobody else hears of {method} {uri}");
        answer.status()
    }
}

#[test]
fn only_what_is_registered_here_is_a_device() {
    let mut scene = Scene::new();
    for method in ["INVITE", "REFER"] {
        for uri in [
            "sip:carol@192.0.2.7:5067;transport=tcp",
            "sip:carol@192.0.2.7;transport=tcp",
            "sip:carol@192.0.2.8:5066;transport=tcp",
            "sip:Carol@192.0.2.7:5066;transport=tcp",
            "sips:carol@192.0.2.7:5066;transport=tcp",
            "sip:carol@192.0.2.7:5066;transport=udp",
            "sip:carol@192.0.2.7:5066",
        ] {
            assert_eq!(scene.refused("alice", method, uri), Some(403), "{method} {uri}");
        }
    }
    for method in ["MESSAGE", "OPTIONS", "INFO", "NOTIFY"] {
        assert_eq!(scene.refused("alice", method, DESK), Some(403), "{method}");
    }
    // Another spelling of the same.
    scene.asks(
        "alice",
        "alice",
        "REFER",
        "sip:c%61rol@192.0.2.7:5066;TRANSPORT=TCP;x=y",
        "\nRefer-To: <sip:x@y>",
    );
    assert_eq!(scene.arrives("alice", "desk").request_uri_text(), DESK);

    let desk = scene.flow("desk");
    let gone = scene.world.register(
        desk,
        "carol",
        &format!("Contact: <{DESK}>;+sip.instance=\"<{INSTANCE}>\";expires=0"),
    );
    assert_eq!(gone.status(), Some(200));
    assert_eq!(scene.refused("alice", "INVITE", DESK), Some(403), "it is not there any more");
    assert_eq!(scene.world.node.contacts.len(), 3);
}

#[test]
fn nobody_comes_into_calls_by_registering_what_is_not_theirs() {
    let mut scene = Scene::new();
    let elsewhere = "sip:director@fabrikam.example";
    scene.device("trap", "bob", elsewhere, "");
    assert_eq!(scene.refused("alice", "INVITE", elsewhere), Some(403), "another organisation's name");
    // Two users behind two NATs, or one who wants another's calls.
    scene.device("twin", "bob", DESK, "");
    assert_eq!(scene.refused("alice", "INVITE", DESK), Some(403));
    assert_eq!(scene.refused("alice", "REFER", DESK), Some(403));
    let twin = scene.flow("twin");
    scene.world.disconnect(twin);
    scene.asks("alice", "alice", "INVITE", DESK, "");
    scene.arrives("alice", "desk");
}

#[test]
fn who_transfers_is_who_signed_in() {
    let mut scene = Scene::new();
    for uri in [AOR, GRUU, DESK] {
        for method in ["INVITE", "REFER"] {
            assert_eq!(scene.refused("bob", method, uri), Some(403), "{method} {uri}");
        }
    }
    let (_, mut bob) = scene.call("alice", "bob", "sip:bob@contoso.example");
    // carol has seen the dialog and speaks for bob.
    bob.device = "pc";
    scene.says(&mut bob, "REFER", "\nRefer-To: <sip:x@contoso.example>", "");
    assert_eq!(scene.arrives("server", "pc").status(), Some(403));
    assert!(scene.world.is_silent());
}

#[test]
fn who_is_not_to_be_disturbed_is_so_on_each_device() {
    let mut scene = Scene::new();
    let (consulting, _) = scene.call("bob", "desk", GRUU);
    let choose = Call::SetPresence {
        address: SipAddress::parse("carol@contoso.example").unwrap(),
        choice: Some((ManualState::DoNotDisturb, None)),
        note: None,
    };
    assert_eq!(scene.world.call(choose), Answer::Done);
    for uri in [GRUU, DESK] {
        assert_eq!(scene.refused("alice", "INVITE", uri), Some(486), "{uri}");
    }
    let tag = |value: &str| value.split_once("tag=").unwrap().1.to_owned();
    let (to_tag, from_tag) = (tag(&consulting.remote), tag(&consulting.local));
    let replaces = format!("\nReplaces: {};to-tag={to_tag};from-tag={from_tag}", consulting.call_id);
    scene.asks("alice", "alice", "INVITE", DESK, &replaces);
    scene.arrives("alice", "desk");
}
