//! People of other organisations, through an Access Edge that is a few lines of text: what they may ask, what they are asked, and
//! what they are shown.

use std::time::Duration;

use ::presence::Level;
use ::presence::rules::Subject;
use directory::{PermissionChange, SipAddress};
use federation::{HostPort, ServerRole, TrustedServer};
use node::{Anchors, ConnectError, Flow, Input};
use presence::{pidf, seen, text};
use records::{CallEnd, Query, Rows};
use sip_message::{HeaderId, Message, Method};

use super::calls::lines;
use super::presence;
use super::presence_lists::listed;
use super::world::{World, certificate};
use crate::admin::{Answer, Call, Verdict};

const EDGE: &str = "edge.contoso.example";
const DIRECT: &str = "partner;domain=fabrikam.example;mode=direct;edge=edge.contoso.example";
const THROUGH_HUB: &str =
    "partner;domain=fabrikam.example;mode=clearinghouse;hub=hub.trade.example;edge=edge.contoso.example";
/// What the edge puts on top of the requests that it passes.
const EDGE_ROUTE: &str = "<sip:e1@edge.contoso.example:5062;transport=tls;lr>";

/// A front end that reaches other organisations through an edge, and the edge's connection to it.
fn world() -> (World, Flow) {
    let mut world = World::with(|config| {
        config.servers = vec![TrustedServer { host: EDGE.to_owned(), role: ServerRole::AccessEdge }];
        config.federation.route = Some(HostPort { host: EDGE.to_owned(), port: 5062 });
    });
    let edge = world.connect_server(EDGE);
    (world, edge)
}

fn address(text: &str) -> SipAddress {
    SipAddress::parse(text).unwrap()
}

impl World {
    /// The connection that the front end wants to open to the edge is up.
    fn reaches_edge(&mut self) -> Flow {
        let (token, target) = self.connects.pop_front().expect("a connection is wanted");
        let expected = target.expected.clone().expect("a server must prove who it is");
        assert_eq!(expected.server_name, EDGE);
        self.connected_to(token, &target, certificate(EDGE, vec![Anchors::Servers]))
    }

    /// The head of a request from another organisation, as the edge passes it. `from` and `to` are addresses.
    fn partner_head(&mut self, origin: &str, method: &str, from: &str, to: &str) -> String {
        let head = self.head(method, "x", &format!("sip:{to}"), &format!("sip:{to}"));
        head.replace("sip:x@contoso.example", &format!("sip:{from}"))
            + &format!("\nChancery-Origin: {origin}\nContact: <sip:frank@192.0.2.77>")
    }

    fn partner_asks(
        &mut self,
        edge: Flow,
        method: &str,
        to: &str,
        lines: &str,
        body: &str,
    ) -> Option<Message> {
        let head = self.partner_head(DIRECT, method, "frank@fabrikam.example", to);
        self.receive(edge, &format!("{head}\n{lines}"), body);
        self.sent_to(edge)
    }

    fn permit(&mut self, user: &str, federation: bool) {
        let change = PermissionChange { federation: Some(federation), ..Default::default() };
        assert_eq!(self.call(Call::SetPermissions(address(user), change)), Answer::Done);
    }

    fn was_refused_because(&self, reason: &str) -> bool {
        self.reports.iter().any(|report| report.event == "refused" && report.reason == reason)
    }
}

fn status(message: Option<Message>) -> u16 {
    message.expect("an answer").status().expect("a response")
}

const TEXT: &str = "Content-Type: text/plain";

// Messages.

#[test]
fn a_message_from_a_partner_is_kept_and_delivered_as_any_other() {
    let (mut world, edge) = world();
    let alice = world.sign_in("alice");
    world.commit();
    world.holds_commits = true;
    let head = world.partner_head(DIRECT, "MESSAGE", "frank@fabrikam.example", "alice@contoso.example");
    world.receive(edge, &format!("{head}\n{TEXT}"), "hello");
    assert!(world.is_silent(), "nothing is said before it is durable");
    world.commit();
    world.holds_commits = false;
    let delivered = world.sent_to(alice).unwrap();
    assert_eq!(delivered.body(), b"hello");
    let asserted = delivered.header(HeaderId::PAssertedIdentity).map(text);
    assert_eq!(asserted.as_deref(), Some("<sip:frank@fabrikam.example>"));
    assert_eq!(delivered.header_named("Chancery-Origin"), None);
    world.respond(alice, &delivered, 200);
    assert_eq!(world.status_to(edge), 200);
    let again = head.replace("branch=z9hG4bK", "branch=z9hG4bKagain");
    world.receive(edge, &format!("{again}\n{TEXT}"), "hello");
    assert_eq!(world.status_to(edge), 202, "a resend is recognised");
    assert!(world.sent_to(alice).is_none());
    // The same Call-ID of somebody else is another message.
    let other = again.replace("frank@fabrikam.example>;tag", "grace@fabrikam.example>;tag");
    world.receive(edge, &format!("{}\n{TEXT}", other.replace("z9hG4bKagain", "z9hG4bKother")), "hello");
    assert!(world.sent_to(alice).is_some());
}

#[test]
fn a_clearinghouse_that_vouches_is_named_and_nobody_else_can_name_one() {
    let (mut world, edge) = world();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let vouched = |message: &Message| message.header_named("Chancery-Vouched-By").map(text);
    let forged = "Chancery-Vouched-By: mallory.example";
    for (origin, hub) in [(THROUGH_HUB, Some("hub.trade.example")), (DIRECT, None)] {
        let head = world.partner_head(origin, "MESSAGE", "frank@fabrikam.example", "alice@contoso.example");
        world.receive(edge, &format!("{head}\n{forged}\n{TEXT}"), "hello");
        let delivered = world.sent_to(alice).unwrap();
        assert_eq!(vouched(&delivered).as_deref(), hub);
        world.respond(alice, &delivered, 200);
        world.sent_to(edge).unwrap();
        let head = world.partner_head(origin, "INVITE", "frank@fabrikam.example", "alice@contoso.example");
        world.receive(edge, &format!("{head}\n{forged}"), "");
        let invite = world.sent_to(alice).unwrap();
        assert_eq!(vouched(&invite).as_deref(), hub);
    }
    let head = world.head("MESSAGE", "alice", "sip:bob@contoso.example", "sip:bob@contoso.example");
    world.receive(alice, &format!("{head}\n{forged}\n{TEXT}"), "hello");
    assert_eq!(vouched(&world.sent_to(bob).unwrap()), None);
}

#[test]
fn do_not_disturb_holds_for_partners() {
    let (mut world, edge) = world();
    let alice = world.sign_in("alice");
    let choice = Some((::presence::ManualState::DoNotDisturb, None));
    world.call(Call::SetPresence { address: address("alice@contoso.example"), choice, note: None });
    assert_eq!(status(world.partner_asks(edge, "MESSAGE", "alice@contoso.example", TEXT, "hi")), 202);
    assert_eq!(status(world.partner_asks(edge, "INVITE", "alice@contoso.example", "", "")), 486);
    assert!(world.sent_to(alice).is_none(), "level external may not interrupt");
}

#[test]
fn a_message_to_a_partner_is_answered_by_the_partner() {
    let (mut world, _) = world();
    let pc = world.sign_in("alice");
    let phone = world.connect(node::Transport::Tls);
    world.register(phone, "alice", "Contact: <sip:alice@phone.invalid>");
    let to = "sip:frank@fabrikam.example";
    let mut edge = None;
    for (answer, has_copy) in [(200, true), (404, false)] {
        let head = world.head("MESSAGE", "alice", to, to);
        world.receive(pc, &format!("{head}\nProxy-Authorization: Digest x=y\n{TEXT}"), "hello");
        let edge = *edge.get_or_insert_with(|| world.reaches_edge());
        let sent = world.sent_to(edge).unwrap();
        assert_eq!((sent.method(), sent.request_uri_text()), (Method::Message, to));
        let asserted = sent.header(HeaderId::PAssertedIdentity).map(text);
        assert_eq!(asserted.as_deref(), Some("<sip:alice@contoso.example>"));
        assert!(world.is_silent(), "nothing is accepted here for somebody else");
        world.respond_with(edge, &sent, answer, &[(HeaderId::Warning, "399 edge.contoso.example \"x\"")]);
        let passed = world.sent_to(pc).unwrap();
        assert_eq!(passed.status(), Some(answer));
        assert_eq!(passed.header(HeaderId::Warning), Some(&b"399 edge.contoso.example \"x\""[..]));
        let copy = world.sent_to(phone);
        assert_eq!(copy.is_some(), has_copy, "{answer}");
        if let Some(copy) = copy {
            assert_eq!(copy.to().unwrap().uri.as_str(), to, "it says whom it went to");
            world.respond(phone, &copy, 200);
        }
    }
    let typing = world.head("MESSAGE", "alice", to, to);
    world.receive(pc, &format!("{typing}\nContent-Type: application/im-iscomposing+xml"), "<x/>");
    let edge = edge.unwrap();
    let sent = world.sent_to(edge).unwrap();
    world.respond(edge, &sent, 200);
    assert_eq!(world.status_to(pc), 200);
    assert!(world.is_silent(), "typing leaves no copy");
}

#[test]
fn who_may_not_talk_with_others_is_told_so_and_is_nobody_to_them() {
    let (mut world, edge) = world();
    let alice = world.sign_in("alice");
    world.permit("alice@contoso.example", false);
    for method in ["MESSAGE", "INVITE", "SUBSCRIBE"] {
        let lines = format!("Event: presence\n{TEXT}");
        assert_eq!(
            status(world.partner_asks(edge, method, "alice@contoso.example", &lines, "")),
            404,
            "{method}"
        );
        assert_eq!(
            status(world.partner_asks(edge, method, "nobody@contoso.example", &lines, "")),
            404,
            "{method}"
        );
        let to = "sip:frank@fabrikam.example";
        let head = world.head(method, "alice", to, to);
        world.receive(alice, &format!("{head}\nContact: <sip:alice@alice-pc.invalid>\n{lines}"), "");
        let answer = world.sent_to(alice).unwrap();
        assert_eq!(answer.status(), Some(403), "{method}");
        let warning = answer.header(HeaderId::Warning).map(text).unwrap();
        assert_eq!(
            warning,
            "399 sip.contoso.example \"Your account may not talk with people of other organisations\""
        );
    }
    assert!(world.connects.is_empty());
    world.permit("alice@contoso.example", true);
    assert_eq!(
        status(world.partner_asks(edge, "SUBSCRIBE", "alice@contoso.example", "Event: presence", "")),
        200
    );
}

#[test]
fn without_a_route_nobody_is_reached() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    let to = "sip:frank@fabrikam.example";
    let head = world.head("MESSAGE", "alice", to, to);
    world.receive(alice, &format!("{head}\n{TEXT}"), "hi");
    let answer = world.sent_to(alice).unwrap();
    assert_eq!(answer.status(), Some(403));
    assert!(answer.header(HeaderId::Warning).is_some_and(|w| text(w).contains("not connected with others")));
}

// Who speaks for whom.

#[test]
fn from_of_a_domain_that_was_not_proved_is_refused_on_every_method() {
    let (mut world, edge) = world();
    let _alice = world.sign_in("alice");
    for from in ["ceo@litware.example", "bob@contoso.example", "frank@fabrikam.example.evil.example"] {
        for method in [
            "MESSAGE",
            "INVITE",
            "SUBSCRIBE",
            "NOTIFY",
            "BYE",
            "REFER",
            "PUBLISH",
            "REGISTER",
            "OPTIONS",
            "INFO",
            "UPDATE",
            "PRACK",
        ] {
            let head = world.partner_head(DIRECT, method, from, "alice@contoso.example");
            let more = "Event: presence\nRefer-To: <sip:x@y.example>\nSubscription-State: active";
            world.reports.clear();
            world.receive(edge, &format!("{head}\n{more}"), "");
            assert_eq!(status(world.sent_to(edge)), 403, "{method} from {from}");
            assert!(
                world.was_refused_because("From is not of the domain that the partner proved"),
                "{method}"
            );
        }
    }
    assert!(world.is_silent());
}

#[test]
fn a_dialog_does_not_let_another_partner_speak() {
    let (mut world, edge) = world();
    let alice = world.sign_in("alice");
    let call = Inbound::set_up(&mut world, edge, alice);
    for method in ["BYE", "INVITE", "UPDATE", "INFO", "REFER", "NOTIFY"] {
        // The very dialog, told by an edge that proved another domain.
        let request = call.within(&mut world, method);
        let other = request.replace("domain=fabrikam.example", "domain=litware.example");
        world.receive(edge, &other, "");
        assert_eq!(status(world.sent_to(edge)), 403, "{method}");
        // A party of the proved domain that the dialog is not with.
        let other = request.replace("sip:frank@fabrikam.example", "sip:grace@fabrikam.example");
        world.receive(edge, &other.replace("branch=z9hG4bK", "branch=z9hG4bKg"), "");
        assert_eq!(status(world.sent_to(edge)), 403, "{method}");
        // An edge that does not say where it came from.
        let silent: Vec<&str> = request.lines().filter(|line| !line.starts_with("Chancery-Origin")).collect();
        world.receive(edge, &silent.join("\n").replace("branch=z9hG4bK", "branch=z9hG4bKs"), "");
        assert_eq!(status(world.sent_to(edge)), 403, "{method}");
    }
    let ack = call.within(&mut world, "ACK").replace("domain=fabrikam.example", "domain=litware.example");
    world.receive(edge, &ack, "");
    assert!(world.is_silent(), "an ACK has no answer, and does not pass");
}

#[test]
fn a_client_cannot_say_that_it_is_a_partner() {
    let (mut world, _) = world();
    let alice = world.sign_in("alice");
    let stranger = world.connect(node::Transport::Tls);
    let not_ours = world.connect_with(node::Transport::Tls, certificate(EDGE, vec![Anchors::Partners]));
    for flow in [stranger, not_ours] {
        assert_eq!(status(world.partner_asks(flow, "MESSAGE", "alice@contoso.example", TEXT, "hi")), 403);
    }
    assert!(world.sent_to(alice).is_none());
}

#[test]
fn partners_register_and_publish_nothing_and_are_not_passed_on() {
    let (mut world, edge) = world();
    let alice = world.sign_in("alice");
    let ours = "alice@contoso.example";
    for (method, to, reason) in [
        ("REGISTER", ours, "a person of another organisation registers and publishes nothing"),
        ("PUBLISH", ours, "a person of another organisation registers and publishes nothing"),
        ("REFER", ours, "another organisation may not ask for this"),
        ("OPTIONS", ours, "another organisation may not ask for this"),
        ("NOTIFY", ours, "another organisation may not ask for this"),
        ("MESSAGE", "grace@litware.example", "another organisation asks for transit"),
        ("INVITE", "grace@litware.example", "another organisation asks for transit"),
        ("INVITE", "grace@fabrikam.example", "another organisation asks for transit"),
        ("SUBSCRIBE", "grace@litware.example", "another organisation asks for transit"),
    ] {
        let lines = "Event: presence\nRefer-To: <sip:x@y.example>\nSubscription-State: active";
        assert_eq!(status(world.partner_asks(edge, method, to, lines, "")), 403, "{method} {to}");
        assert!(world.was_refused_because(reason), "{method} {to}");
    }
    let route = "Route: <sip:proxy.litware.example;lr>";
    assert_eq!(status(world.partner_asks(edge, "INVITE", ours, route, "")), 403, "nor along a Route");
    assert!(world.sent_to(alice).is_none() && world.connects.is_empty());
}

// Presence.

/// A partner's subscription.
fn watches(world: &mut World, edge: Flow, lines: &str) -> (u16, Option<Message>) {
    let lines = format!("Expires: 600\nRecord-Route: {EDGE_ROUTE}\n{lines}");
    let answer = status(world.partner_asks(edge, "SUBSCRIBE", "alice@contoso.example", &lines, ""));
    (answer, world.notified(edge))
}

#[test]
fn a_partner_sees_the_external_level_and_who_is_blocked_cannot_tell() {
    let (mut world, edge) = world();
    let alice = world.sign_in("alice");
    world.publishes(alice, "alice", &pidf("open", &presence::activity("meeting")));
    let (answer, first) = watches(&mut world, edge, "Event: presence");
    let first = first.expect("a first NOTIFY");
    assert_eq!((answer, seen(&first).as_str()), (200, "open busy"), "external: no activity");
    assert_eq!(lines(&first, HeaderId::Route), [EDGE_ROUTE], "the way back is the edge's");
    let set = |world: &mut World, level| {
        let subject = Subject::Domain(directory::DomainName::parse("fabrikam.example").unwrap());
        let user = address("alice@contoso.example");
        assert_eq!(world.call(Call::SetAccess { user, subject, level }), Answer::Done);
    };
    set(&mut world, Some(Level::Blocked));
    world.pass(Duration::from_secs(1));
    let blocked = world.notified(edge).expect("it looks as if Alice had left");
    assert!(text(blocked.header(HeaderId::SubscriptionState).unwrap()).starts_with("active"));
    assert_eq!(seen(&blocked), "closed");
    set(&mut world, None);
    world.pass(Duration::from_secs(1));
    assert_eq!(seen(&world.notified(edge).unwrap()), "open busy");
    world.permit("alice@contoso.example", false);
    world.pass(Duration::from_secs(1));
    assert_eq!(seen(&world.notified(edge).unwrap()), "closed");
}

#[test]
fn a_partner_watches_presence_alone_and_is_seen_watching() {
    let (mut world, edge) = world();
    let alice = world.sign_in("alice");
    for package in ["presence.winfo", "dialog", "reg", "xcap-diff", "conference"] {
        let (answer, notify) = watches(&mut world, edge, &format!("Event: {package}"));
        assert_eq!((answer, notify.is_some()), (489, false), "{package}");
    }
    watches(&mut world, edge, "Event: presence");
    let head = world.head("SUBSCRIBE", "alice", "sip:alice@contoso.example", "sip:alice@contoso.example");
    let contact = "Contact: <sip:alice@alice-pc.invalid;transport=tls>";
    world.receive(alice, &format!("{head}\nEvent: presence.winfo\n{contact}"), "");
    assert_eq!(world.status_to(alice), 200);
    let winfo = world.notified(alice).unwrap();
    assert!(text(winfo.body()).contains("sip:frank@fabrikam.example"), "{}", text(winfo.body()));
    let head = world.partner_head(DIRECT, "SUBSCRIBE", "frank@fabrikam.example", "rls@contoso.example");
    world.receive(edge, &format!("{head}\nEvent: presence\nSupported: eventlist"), "");
    assert_eq!(status(world.sent_to(edge)), 404, "lists are our users'");
}

#[test]
fn a_subscription_to_a_partner_goes_through_and_its_notifies_come_back() {
    let (mut world, _) = world();
    let alice = world.sign_in("alice");
    let to = "sip:frank@fabrikam.example";
    let contact = "Contact: <sip:alice@alice-pc.invalid;transport=tls>";
    let head = world.head("SUBSCRIBE", "alice", to, to);
    world.receive(alice, &format!("{head}\nEvent: presence\n{contact}"), "");
    let edge = world.reaches_edge();
    let at_edge = world.sent_to(edge).unwrap();
    assert_eq!(lines(&at_edge, HeaderId::RecordRoute).len(), 2);
    world.respond_with(
        edge,
        &at_edge,
        200,
        &[(HeaderId::RecordRoute, EDGE_ROUTE), (HeaderId::Expires, "600")],
    );
    assert_eq!(world.status_to(alice), 200);
    let routes: String =
        lines(&at_edge, HeaderId::RecordRoute).iter().map(|r| format!("\nRoute: {r}")).collect();
    let (from, call_id) =
        (text(at_edge.header(HeaderId::From).unwrap()), at_edge.call_id().unwrap().to_owned());
    let notify = |world: &mut World, sender: &str| {
        let head = world.partner_head(DIRECT, "NOTIFY", sender, "x@x.example");
        let head =
            head.replace("NOTIFY sip:x@x.example", "NOTIFY sip:alice@alice-pc.invalid;transport=tls")
                .replace("To: <sip:x@x.example>", &format!("To: {from}"))
                .lines()
                .map(|line| {
                    if line.starts_with("Call-ID") { format!("Call-ID: {call_id}") } else { line.to_owned() }
                })
                .collect::<Vec<_>>()
                .join("\n");
        let state = "Event: presence\nSubscription-State: active;expires=600";
        world.receive(edge, &format!("{head}{routes}\n{state}"), "");
    };
    notify(&mut world, "frank@fabrikam.example");
    let at_alice = world.sent_to(alice).expect("the NOTIFY");
    assert_eq!(at_alice.method(), Method::Notify);
    assert_eq!(at_alice.header_named("Chancery-Origin"), None);
    world.respond(alice, &at_alice, 200);
    assert_eq!(world.status_to(edge), 200);
    notify(&mut world, "grace@fabrikam.example");
    assert_eq!(status(world.sent_to(edge)), 403, "another notifier");
    for package in ["dialog", "presence.winfo", "reg"] {
        let head = world.head("SUBSCRIBE", "alice", to, to);
        world.receive(alice, &format!("{head}\nEvent: {package}\n{contact}"), "");
        assert_eq!(world.status_to(alice), 403, "{package}");
    }
}

#[test]
fn people_of_one_organisation_take_a_part_of_the_subscriptions_only() {
    const MAX: usize = 3;
    let mut world = World::with(|config| {
        config.servers = vec![TrustedServer { host: EDGE.to_owned(), role: ServerRole::AccessEdge }];
        config.federation.watchers_of_domain_max = MAX;
    });
    let edge = world.connect_server(EDGE);
    let _alice = world.sign_in("alice");
    // Gives the SUBSCRIBE, its status, and the tag that ours has in its dialog.
    let watch = |world: &mut World, who: &str, origin: &str| {
        let head = world.partner_head(origin, "SUBSCRIBE", who, "alice@contoso.example");
        let head = format!("{head}\nEvent: presence\nRecord-Route: {EDGE_ROUTE}");
        world.receive(edge, &head, "");
        let answer = world.sent_to(edge).expect("an answer");
        let retry = answer.header(HeaderId::RetryAfter).is_some();
        let tag = answer.to_tag().unwrap_or_default().to_owned();
        // The first NOTIFY.
        while let Some(notify) = world.sent_to(edge) {
            world.respond(edge, &notify, 200);
        }
        (head, answer.status(), retry, tag)
    };
    let first = watch(&mut world, "u0@fabrikam.example", DIRECT);
    for n in 1..MAX {
        assert_eq!(watch(&mut world, &format!("u{n}@fabrikam.example"), DIRECT).1, Some(200), "{n}");
    }
    let (_, status, retry, _) = watch(&mut world, "late@fabrikam.example", DIRECT);
    assert_eq!((status, retry), (Some(503), true));
    // Another organisation has its own part.
    let litware = DIRECT.replace("fabrikam", "litware");
    assert_eq!(watch(&mut world, "lee@litware.example", &litware).1, Some(200));
    // One that ends makes room.
    let (head, _, _, tag) = first;
    let end = head
        .replace("To: <sip:alice@contoso.example>", &format!("To: <sip:alice@contoso.example>;tag={tag}"))
        .replace("branch=z9hG4bK", "branch=z9hG4bKend")
        .replace("CSeq: ", "CSeq: 9");
    world.receive(edge, &format!("{end}\nExpires: 0"), "");
    assert_eq!(self::status(world.sent_to(edge)), 200);
    while let Some(notify) = world.sent_to(edge) {
        world.respond(edge, &notify, 200);
    }
    assert_eq!(watch(&mut world, "late@fabrikam.example", DIRECT).1, Some(200));
    assert_eq!(watch(&mut world, "later@fabrikam.example", DIRECT).1, Some(503));
}

// Lists.

/// A NOTIFY for a subscription of the server's own.
fn tell(world: &mut World, edge: Flow, subscribe: &Message, cseq: u32, state: &str, body: &str) -> u16 {
    let head = world.partner_head(DIRECT, "NOTIFY", "frank@fabrikam.example", "x@x.example");
    let contact = text(subscribe.header(HeaderId::Contact).unwrap());
    let contact = contact.trim_start_matches('<').split('>').next().unwrap().to_owned();
    let from = text(subscribe.header(HeaderId::From).unwrap());
    let call_id = subscribe.call_id().unwrap();
    let head = head
        .replace("NOTIFY sip:x@x.example", &format!("NOTIFY {contact}"))
        .replace("To: <sip:x@x.example>", &format!("To: {from}"))
        .lines()
        .map(|line| match line.split(':').next() {
            Some("Call-ID") => format!("Call-ID: {call_id}"),
            Some("CSeq") => format!("CSeq: {cseq} NOTIFY"),
            _ => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n");
    let content_type = if body.is_empty() { "" } else { "\nContent-Type: application/pidf+xml" };
    let more =
        format!("Event: presence\nSubscription-State: {state}\nRecord-Route: {EDGE_ROUTE}{content_type}");
    world.receive(edge, &format!("{head}\n{more}"), body);
    status(world.sent_to(edge))
}

fn frank(basic: &str) -> String {
    pidf(basic, "").replace("sip:x@contoso.example", "sip:frank@fabrikam.example")
}

#[test]
fn a_member_elsewhere_is_watched_once_for_each_owner_and_told_in_the_list() {
    let (mut world, _) = world();
    let alice = world.sign_in("alice");
    let uri = "sip:frank@fabrikam.example";
    let first = world.watch_list(alice, "alice", &[uri]);
    assert_eq!(first.members[uri], "-", "nothing is known yet");
    let edge = world.reaches_edge();
    let subscribe = world.sent_to(edge).unwrap();
    assert_eq!((subscribe.method(), subscribe.request_uri_text()), (Method::Subscribe, uri));
    assert_eq!(subscribe.from().unwrap().uri.as_str(), "sip:alice@contoso.example");
    let asserted = subscribe.header(HeaderId::PAssertedIdentity).map(text);
    assert_eq!(asserted.as_deref(), Some("<sip:alice@contoso.example>"));
    world.respond_with(edge, &subscribe, 200, &[(HeaderId::Expires, "600")]);
    assert_eq!(tell(&mut world, edge, &subscribe, 1, "active;expires=600", &frank("open")), 200);
    world.pass(Duration::from_secs(1));
    let told = listed(&world.notified(alice).unwrap());
    assert_eq!(told.members[uri], "active open");
    assert_eq!(tell(&mut world, edge, &subscribe, 2, "active;expires=590", &frank("closed")), 200);
    world.pass(Duration::from_secs(1));
    assert_eq!(listed(&world.notified(alice).unwrap()).members[uri], "active closed");

    // Another list of the same owner asks nobody again.
    let again = world.watch_list(alice, "alice", &[uri]);
    assert_eq!(again.members[uri], "active closed");
    assert!(world.sent_to(edge).is_none());

    // It is refreshed within its dialog before it ends, and only the other side ends it.
    world.pass(Duration::from_secs(535));
    let refresh = loop {
        let sent = world.sent_to(edge).expect("a refresh");
        if sent.method() == Method::Subscribe {
            break sent;
        }
    };
    assert_eq!(refresh.request_uri_text(), "sip:frank@192.0.2.77", "to the target that the dialog has");
    assert_eq!(lines(&refresh, HeaderId::Route), [EDGE_ROUTE]);
    world.respond(edge, &refresh, 200);
    assert_eq!(tell(&mut world, edge, &subscribe, 3, "terminated;reason=rejected", ""), 200);
    world.pass(Duration::from_secs(1));
    let told = std::iter::from_fn(|| world.notified(alice)).last().expect("the end is told");
    assert_eq!(listed(&told).members[uri], "terminated");
}

#[test]
fn nobody_but_the_watched_tells_a_list_anything() {
    let (mut world, _) = world();
    let alice = world.sign_in("alice");
    world.watch_list(alice, "alice", &["sip:frank@fabrikam.example"]);
    let edge = world.reaches_edge();
    let subscribe = world.sent_to(edge).unwrap();
    world.respond(edge, &subscribe, 200);
    let text = String::from_utf8(subscribe.bytes().to_vec()).unwrap();
    let with = |from: &str, to: &str| Message::parse(text.replace(from, to).into_bytes().into()).unwrap();
    let call_id = subscribe.call_id().unwrap();
    assert_eq!(tell(&mut world, edge, &with(call_id, "guessed"), 1, "active", &frank("open")), 481);
    assert_eq!(tell(&mut world, edge, &with(";tag=", ";tag=0"), 1, "active", &frank("open")), 481);
    let long = "x".repeat(20_000);
    for (cseq, body) in (1..).zip(["<html/>", "no xml", &long]) {
        assert_eq!(tell(&mut world, edge, &subscribe, cseq, "active", body), 200);
    }
    world.pass(Duration::from_secs(1));
    let told = listed(&world.notified(alice).unwrap());
    assert_eq!(told.members["sip:frank@fabrikam.example"], "active", "what is no PIDF is not passed on");
}

#[test]
fn a_member_elsewhere_that_refuses_is_told_so_and_asked_again_later() {
    let (mut world, _) = world();
    let alice = world.sign_in("alice");
    let uri = "sip:frank@fabrikam.example";
    world.watch_list(alice, "alice", &[uri]);
    let edge = world.reaches_edge();
    for (answer, wait) in [(503, 60), (480, 100), (403, 4600)] {
        let subscribe = world.sent_to(edge).expect("it is asked");
        assert_eq!(subscribe.to_tag(), None, "from the beginning");
        world.respond(edge, &subscribe, answer);
        world.pass(Duration::from_secs(1));
        if let Some(told) = world.notified(alice) {
            assert_eq!(listed(&told).members[uri], "terminated", "{answer}");
        }
        world.register_again(alice, "alice");
        assert!(world.sent_to(edge).is_none(), "not at once");
        world.pass(Duration::from_secs(wait));
        while world.notified(alice).is_some() {}
    }
}

#[test]
fn whoever_may_not_talk_with_others_watches_nobody_elsewhere() {
    let (mut world, _) = world();
    world.permit("alice@contoso.example", false);
    let alice = world.sign_in("alice");
    let uri = "sip:frank@fabrikam.example";
    assert_eq!(world.watch_list(alice, "alice", &[uri]).members[uri], "terminated");
    assert!(world.connects.is_empty());
    world.permit("alice@contoso.example", true);
    let edge = world.reaches_edge();
    let subscribe = world.sent_to(edge).unwrap();
    world.respond(edge, &subscribe, 200);
    assert_eq!(tell(&mut world, edge, &subscribe, 1, "active;expires=600", &frank("open")), 200);
    world.pass(Duration::from_secs(1));
    let told = std::iter::from_fn(|| world.notified(alice)).last().unwrap();
    assert_eq!(listed(&told).members[uri], "active open");
    world.permit("alice@contoso.example", false);
    let end = world.sent_to(edge).expect("the end of the subscription");
    assert_eq!(end.header(HeaderId::Expires), Some(&b"0"[..]));
    world.pass(Duration::from_secs(1));
    let told = std::iter::from_fn(|| world.notified(alice)).last().unwrap();
    assert_eq!(listed(&told).members[uri], "terminated");
}

// Calls.

/// A call from a partner that Alice has answered.
struct Inbound {
    /// As the caller has it.
    ok: Message,
}

impl Inbound {
    fn set_up(world: &mut World, edge: Flow, alice: Flow) -> Inbound {
        let head = world.partner_head(DIRECT, "INVITE", "frank@fabrikam.example", "alice@contoso.example");
        world.receive(edge, &format!("{head}\nRecord-Route: {EDGE_ROUTE}"), "");
        let invite = world.sent_to(alice).expect("it rings");
        let asserted = invite.header(HeaderId::PAssertedIdentity).map(text);
        assert_eq!(asserted.as_deref(), Some("<sip:frank@fabrikam.example>"));
        world.respond(alice, &invite, 180);
        assert_eq!(world.status_to(edge), 180);
        world.respond(alice, &invite, 200);
        let ok = world.sent_to(edge).expect("the answer");
        assert_eq!(ok.status(), Some(200));
        Inbound { ok }
    }

    /// A request of the caller, as the edge passes it: its own routes are gone.
    fn within(&self, world: &mut World, method: &str) -> String {
        let mut routes = lines(&self.ok, HeaderId::RecordRoute);
        routes.retain(|route| route != EDGE_ROUTE);
        routes.reverse();
        let request = super::calls::within(world, method, &self.ok, &routes, false);
        format!(
            "{request}\nChancery-Origin: {DIRECT}\nContact: <sip:frank@192.0.2.77>\nEvent: presence\nRefer-To: <sip:x@y.example>\nSubscription-State: active"
        )
    }
}

fn log_of(world: &World, user: u64) -> Vec<(String, CallEnd)> {
    let all = Query::Calls { owner: directory::UserId(user), before: None, missed_only: false, limit: 9 };
    let Rows::Calls(calls) = world.query(&all) else { panic!("no calls") };
    calls.into_iter().map(|call| (call.peer.to_string(), call.end)).collect()
}

#[test]
fn a_call_from_a_partner_runs_like_any_other() {
    let (mut world, edge) = world();
    let alice = world.sign_in("alice");
    let call = Inbound::set_up(&mut world, edge, alice);
    let ack = call.within(&mut world, "ACK");
    world.receive(edge, &ack, "");
    assert_eq!(world.sent_to(alice).unwrap().method(), Method::Ack);
    let Answer::Presence(seen) = world.call(Call::ShowPresence(address("alice@contoso.example"))) else {
        panic!("no presence")
    };
    assert_eq!(seen.state.why, ::presence::Why::InCall(1));
    let reinvite = call.within(&mut world, "INVITE").replace("CSeq: 99", "CSeq: 100");
    world.receive(edge, &reinvite, "");
    let reinvite = world.sent_to(alice).unwrap();
    world.respond(alice, &reinvite, 200);
    assert_eq!(status(world.sent_to(edge)), 200);
    let bye = call.within(&mut world, "BYE").replace("CSeq: 99", "CSeq: 101");
    world.receive(edge, &bye, "");
    let bye = world.sent_to(alice).unwrap();
    assert_eq!((bye.method(), bye.header_named("Chancery-Origin")), (Method::Bye, None));
    world.respond(alice, &bye, 200);
    assert_eq!(status(world.sent_to(edge)), 200);
    assert_eq!(log_of(&world, 1), [("frank@fabrikam.example".to_owned(), CallEnd::Answered)]);
}

#[test]
fn a_call_from_a_partner_can_be_given_up() {
    let (mut world, edge) = world();
    let alice = world.sign_in("alice");
    let head = world.partner_head(DIRECT, "INVITE", "frank@fabrikam.example", "alice@contoso.example");
    world.receive(edge, &head, "");
    let invite = world.sent_to(alice).unwrap();
    world.respond(alice, &invite, 180);
    assert_eq!(world.status_to(edge), 180);
    world.receive(edge, &head.replace("INVITE", "CANCEL"), "");
    assert_eq!(status(world.sent_to(edge)), 200);
    assert_eq!(world.sent_to(alice).unwrap().method(), Method::Cancel);
    world.respond(alice, &invite, 487);
    assert_eq!(status(world.sent_to(edge)), 487);
    assert_eq!(log_of(&world, 1), [("frank@fabrikam.example".to_owned(), CallEnd::Missed)]);
}

#[test]
fn a_call_to_a_partner_runs_through_the_edge_also_over_another_connection() {
    let (mut world, _) = world();
    let alice = world.sign_in("alice");
    let to = "sip:frank@fabrikam.example";
    let head = world.head("INVITE", "alice", to, to);
    world.receive(alice, &format!("{head}\nContact: <sip:alice@alice-pc.invalid;transport=tls>"), "");
    let edge = world.reaches_edge();
    let invite = world.sent_to(edge).unwrap();
    assert_eq!(invite.request_uri_text(), to);
    world.sent_to(alice);
    world.respond_with(edge, &invite, 200, &[(HeaderId::RecordRoute, EDGE_ROUTE)]);
    let ok = world.sent_to(alice).expect("the answer");
    assert_eq!(ok.status(), Some(200));
    // The connection breaks: the dialog goes on over the next one.
    world.disconnect(edge);
    let mut routes = lines(&invite, HeaderId::RecordRoute);
    routes.reverse();
    routes.push(EDGE_ROUTE.to_owned());
    let ack = super::calls::within(&mut world, "ACK", &ok, &routes, false);
    world.receive(alice, &ack, "");
    let edge = world.reaches_edge();
    let ack = world.sent_to(edge).unwrap();
    assert_eq!((ack.method(), lines(&ack, HeaderId::Route)), (Method::Ack, vec![EDGE_ROUTE.to_owned()]));
    let bye = super::calls::within(&mut world, "BYE", &ok, &routes, false);
    world.receive(alice, &bye, "");
    let bye = world.sent_to(edge).unwrap();
    let asserted = bye.header(HeaderId::PAssertedIdentity).map(text);
    assert_eq!(asserted.as_deref(), Some("<sip:alice@contoso.example>"));
    world.respond(edge, &bye, 200);
    assert_eq!(world.status_to(alice), 200);
    assert_eq!(log_of(&world, 1), [("frank@fabrikam.example".to_owned(), CallEnd::Answered)]);
}

const BESIDE: &str = "edge-2.contoso.example";

/// Two edges; what goes to other organisations goes through the first.
fn two_edges() -> World {
    World::with(|config| {
        let edge = |host: &str| TrustedServer { host: host.to_owned(), role: ServerRole::AccessEdge };
        config.servers = [EDGE, BESIDE].map(edge).to_vec();
        config.federation.route = Some(HostPort { host: EDGE.to_owned(), port: 5062 });
    })
}

impl World {
    /// The front end looks for the edge, which is dead, and then for the one beside it.
    fn goes_around_edge(&mut self) -> Flow {
        let (token, target) = self.connects.pop_front().expect("it looks for the edge of the dialog");
        assert_eq!(target.expected.map(|expected| expected.server_name).as_deref(), Some(EDGE));
        let error = ConnectError::Unreachable("nobody listens".to_owned());
        self.handle(Input::ConnectFailed { token, error });
        let (token, target) = self.connects.pop_front().expect("it looks for another edge");
        let expected = target.expected.clone().expect("a server must prove who it is");
        assert_eq!((expected.server_name.as_str(), target.address.port()), (BESIDE, 5062));
        self.connected_to(token, &target, certificate(BESIDE, vec![Anchors::Servers]))
    }
}

/// The edge that stands in a dialog's Route is dead: what it has sealed, the one beside it can read.
#[test]
fn a_dialog_goes_on_through_the_edge_beside() {
    let mut world = two_edges();
    let alice = world.sign_in("alice");
    let to = "sip:frank@fabrikam.example";
    let head = world.head("INVITE", "alice", to, to);
    world.receive(alice, &format!("{head}\nContact: <sip:alice@alice-pc.invalid;transport=tls>"), "");
    let edge = world.reaches_edge();
    let invite = world.sent_to(edge).unwrap();
    world.sent_to(alice);
    world.respond_with(edge, &invite, 200, &[(HeaderId::RecordRoute, EDGE_ROUTE)]);
    let ok = world.sent_to(alice).expect("the answer");
    world.disconnect(edge);
    let mut routes = lines(&invite, HeaderId::RecordRoute);
    routes.reverse();
    routes.push(EDGE_ROUTE.to_owned());
    for method in ["ACK", "BYE"] {
        let request = super::calls::within(&mut world, method, &ok, &routes, false);
        world.receive(alice, &request, "");
        let beside = world.goes_around_edge();
        let request = world.sent_to(beside).expect("it goes through the other one");
        assert_eq!(request.method().as_str(), method);
        assert_eq!(lines(&request, HeaderId::Route), [EDGE_ROUTE]);
        if method == "BYE" {
            world.respond(beside, &request, 200);
            assert_eq!(world.status_to(alice), 200);
        }
        world.disconnect(beside);
    }
}

/// So does the server's own dialog with somebody elsewhere who watches a user.
#[test]
fn a_subscription_goes_on_through_the_edge_beside() {
    let mut world = two_edges();
    let edge = world.connect_server(EDGE);
    let alice = world.sign_in("alice");
    assert_eq!(watches(&mut world, edge, "Event: presence").0, 200);
    world.disconnect(edge);
    world.publishes(alice, "alice", &pidf("open", &presence::activity("meeting")));
    world.pass(Duration::from_secs(1));
    let beside = world.goes_around_edge();
    let notify = world.notified(beside).expect("it is told through the other one");
    assert_eq!(
        (seen(&notify).as_str(), lines(&notify, HeaderId::Route)),
        ("open busy", vec![EDGE_ROUTE.to_owned()])
    );
}

/// Bob's device sent Alice on to Frank (RFC 3261 §8.1.3.4: To stays), who is Bob in this call and nowhere else.
#[test]
fn whom_a_call_was_forwarded_to_speaks_by_the_address_that_was_called() {
    let (mut world, _) = world();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let head = world.head("INVITE", "alice", "sip:frank@fabrikam.example", "sip:bob@contoso.example");
    world.receive(alice, &format!("{head}\nContact: <sip:alice@alice-pc.invalid;transport=tls>"), "");
    let edge = world.reaches_edge();
    let invite = world.sent_to(edge).unwrap();
    world.sent_to(alice);
    world.respond_with(edge, &invite, 200, &[(HeaderId::RecordRoute, EDGE_ROUTE)]);
    let ok = world.sent_to(alice).unwrap();
    assert_eq!(ok.status(), Some(200));
    let routes = lines(&invite, HeaderId::RecordRoute).join(", ");
    let (from, to) = (text(ok.header(HeaderId::To).unwrap()), text(ok.header(HeaderId::From).unwrap()));
    let mut number = 0;
    let mut bye = |from: &str, origin: &str| {
        number += 1;
        format!(
            "BYE sip:alice@alice-pc.invalid SIP/2.0\nVia: SIP/2.0/TLS {EDGE}:5062;branch=z9hG4bKfwd{number}\nMax-Forwards: 69\n\
             From: {from}\nTo: {to}\nCall-ID: {}\nCSeq: {number} BYE\nRoute: {routes}\nChancery-Origin: {origin}",
            invite.call_id().unwrap()
        )
    };
    let in_dialog = DIRECT.replace(";edge", ";from=dialog;edge");
    for (from, origin) in [
        (from.as_str(), DIRECT),
        ("<sip:carol@contoso.example>;tag=x", in_dialog.as_str()),
        ("<sip:grace@litware.example>;tag=x", in_dialog.as_str()),
    ] {
        world.receive(edge, &bye(from, origin), "");
        assert_eq!(status(world.sent_to(edge)), 403, "{from} {origin}");
    }
    // Outside of the dialog the same words are worth nothing.
    let message = world.partner_head(&in_dialog, "MESSAGE", "bob@contoso.example", "alice@contoso.example");
    world.receive(edge, &format!("{message}\n{TEXT}"), "hi");
    assert_eq!(status(world.sent_to(edge)), 403);
    world.receive(edge, &bye(&from, &in_dialog), "");
    let got = world.sent_to(alice).expect("the end of the call");
    assert_eq!((got.method(), got.header(HeaderId::PAssertedIdentity)), (Method::Bye, None));
    world.respond(alice, &got, 200);
    assert_eq!(status(world.sent_to(edge)), 200);
    assert!(world.sent_to(bob).is_none());
    assert_eq!(log_of(&world, 1), [("frank@fabrikam.example".to_owned(), CallEnd::Answered)]);
}

/// Frank's phone gave its address where a GRUU should stand (RFC 5589 §7.5). Bob, whom Alice sends to him, reaches the person who has
/// the dialog; without one an address is nobody's.
#[test]
fn a_transfer_to_a_device_elsewhere_goes_to_who_has_the_dialog() {
    let (mut world, _) = world();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let to = "sip:frank@fabrikam.example";
    let head = world.head("INVITE", "alice", to, to);
    world.receive(alice, &format!("{head}\nContact: <sip:alice@alice-pc.invalid;transport=tls>"), "");
    let edge = world.reaches_edge();
    let invite = world.sent_to(edge).unwrap();
    world.sent_to(alice);
    world.respond_with(edge, &invite, 200, &[(HeaderId::RecordRoute, EDGE_ROUTE)]);
    let ok = world.sent_to(alice).unwrap();
    // As Frank sees the dialog: his own tag is the one of To.
    let (his, hers) = (ok.to_tag().unwrap(), ok.from_tag().unwrap());
    let replaces = format!("{};to-tag={his};from-tag={hers}", ok.call_id().unwrap());
    let device = "sip:frank@192.0.2.77";
    let contact = "Contact: <sip:bob@bob-pc.invalid;transport=tls>";
    for (replaces, reaches) in [("", false), ("Replaces: x;to-tag=a;from-tag=b\n", false), (&replaces, true)]
    {
        let replaces = if reaches { format!("Replaces: {replaces}\n") } else { replaces.to_owned() };
        let head = world.head("INVITE", "bob", device, device);
        world.receive(bob, &format!("{head}\n{replaces}{contact}"), "");
        if !reaches {
            assert_eq!(status(world.sent_to(bob)), 403, "{replaces}");
            continue;
        }
        let passed = world.sent_to(edge).expect("it crosses");
        assert_eq!((passed.method(), passed.request_uri_text()), (Method::Invite, to));
        assert_eq!(
            passed.header(HeaderId::Replaces).map(text),
            Some(replaces.trim().split_once(": ").unwrap().1.to_owned())
        );
    }
    // Who may not talk with others is not let across this way either.
    world.permit("bob@contoso.example", false);
    let head = world.head("INVITE", "bob", device, device);
    world.receive(bob, &format!("{head}\nReplaces: {replaces}\n{contact}"), "");
    let answers: Vec<_> = std::iter::from_fn(|| world.sent_to(bob)).filter_map(|m| m.status()).collect();
    assert!(answers.contains(&403), "{answers:?}");
    assert!(world.sent_to(edge).is_none());
}

/// Frank has called Alice, whose calls go to Bob, and connects Grace with whom he talks: by the address that he called.
#[test]
fn a_transfer_to_the_address_that_was_called_reaches_who_answered() {
    use crate::admin::{CallSettingChange, Cause};
    let (mut world, edge) = world();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let changes = vec![CallSettingChange::Forward(Cause::Always, Some(address("bob@contoso.example")))];
    let settings = Call::SetCallSettings { address: address("alice@contoso.example"), changes };
    assert_eq!(world.call(settings), Answer::Done);
    let call = Inbound::set_up(&mut world, edge, bob);
    let (his, bobs) = (call.ok.from_tag().unwrap(), call.ok.to_tag().unwrap());
    let replaces = format!("Replaces: {};to-tag={bobs};from-tag={his}", call.ok.call_id().unwrap());
    world.call(Call::SetCallSettings {
        address: address("alice@contoso.example"),
        changes: vec![CallSettingChange::Forward(Cause::Always, None)],
    });
    let asks = |world: &mut World, replaces: &str| {
        let head = world.partner_head(DIRECT, "INVITE", "grace@fabrikam.example", "alice@contoso.example");
        world.receive(edge, &format!("{head}\n{replaces}"), "");
    };
    asks(&mut world, &replaces);
    let invite = world.sent_to(bob).expect("Bob has the dialog");
    assert_eq!(invite.method(), Method::Invite);
    assert!(world.sent_to(alice).is_none());
    // Of a dialog that nobody has, and of one whose holder may not talk with others, the address decides.
    world.permit("bob@contoso.example", false);
    for replaces in ["Replaces: x;to-tag=a;from-tag=b", &replaces] {
        asks(&mut world, replaces);
        assert!(world.sent_to(alice).is_some(), "{replaces}");
    }
    assert!(world.sent_to(bob).is_none());
}

#[test]
fn a_partner_is_not_forwarded_to_who_may_not_talk_with_others() {
    use crate::admin::{CallSettingChange, Cause};
    let (mut world, edge) = world();
    let (_alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let changes = vec![CallSettingChange::Forward(Cause::Always, Some(address("bob@contoso.example")))];
    let settings = Call::SetCallSettings { address: address("alice@contoso.example"), changes };
    assert_eq!(world.call(settings), Answer::Done);
    world.permit("bob@contoso.example", false);
    assert_eq!(status(world.partner_asks(edge, "INVITE", "alice@contoso.example", "", "")), 480);
    assert!(world.sent_to(bob).is_none());
    world.permit("bob@contoso.example", true);
    world.partner_asks(edge, "INVITE", "alice@contoso.example", "", "");
    assert!(world.sent_to(bob).is_some());
}

#[test]
fn explain_knows_other_organisations() {
    let explain = |world: &mut World, from: &str, to: &str| {
        let call = Call::Explain { from: address(from), to: address(to) };
        let Answer::Explanation(explanation) = world.call(call) else { panic!("no explanation") };
        let stops = explanation.steps.iter().find(|step| step.verdict == Verdict::Stops);
        stops.map(|step| step.what)
    };
    let (ours, theirs) = ("alice@contoso.example", "frank@fabrikam.example");
    let (mut with_route, _) = world();
    let _alice = with_route.sign_in("alice");
    assert_eq!(explain(&mut with_route, ours, theirs), None);
    assert_eq!(explain(&mut with_route, theirs, ours), None);
    assert_eq!(explain(&mut with_route, theirs, "grace@litware.example"), Some("recipient"));
    with_route.permit(ours, false);
    assert_eq!(explain(&mut with_route, ours, theirs), Some("permission"));
    assert_eq!(explain(&mut with_route, theirs, ours), Some("permission"));
    let mut without = World::new();
    assert_eq!(explain(&mut without, ours, theirs), Some("route"));
    assert_eq!(explain(&mut without, theirs, ours), Some("route"));
}
