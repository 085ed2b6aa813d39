//! Live traces: what belongs to one, what it shows, and how it ends.

use std::time::Duration;

use expect_test::{Expect, expect};

use super::world::*;
use crate::admin::{Answer, Call, Refusal};
use crate::trace::*;

fn start(world: &mut World, subject: &str, bodies: Bodies) -> TraceId {
    let request = TraceRequest {
        subject: subject.to_owned(),
        duration: Duration::from_secs(60),
        bodies,
        asked_by: "uid 0".to_owned(),
    };
    match world.call(Call::TraceStart(Box::new(request))) {
        Answer::TraceStarted { id, .. } => id,
        other => panic!("no trace: {other:?}"),
    }
}

fn poll(world: &mut World, id: TraceId) -> TracePage {
    match world.call(Call::TracePoll(id)) {
        Answer::Trace(page) => page,
        other => panic!("no page: {other:?}"),
    }
}

/// Each event as a line: way, party, first line; or a report.
fn lines(page: &TracePage) -> String {
    let line = |event: &TraceEvent| match &event.what {
        TraceWhat::Message { direction, party, text } => {
            let arrow = if *direction == Direction::In { ">" } else { "<" };
            let id = event.request.map_or("", |_| " (request)");
            format!("{arrow} {} {}: {}{id}\n", party.transport, party.user, text.lines().next().unwrap())
        }
        TraceWhat::Unreadable { octets, reason, .. } => format!("? {octets} octets: {reason}\n"),
        TraceWhat::Report { event, reason } => format!("! {event}: {reason}\n"),
    };
    page.events.iter().map(line).collect()
}

fn check(page: &TracePage, expected: Expect) {
    expected.assert_eq(&lines(page));
}

#[test]
fn a_users_trace_holds_what_names_the_user_or_comes_over_its_flow() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    let trace = start(&mut world, "Alice@Contoso.Example", Bodies::Hidden);
    world.send_text(alice, "alice", "bob", "for bob only");
    let delivered = world.sent_to(bob).unwrap();
    world.respond(bob, &delivered, 200);
    // Between others: not hers.
    world.send_text(carol, "carol", "bob", "nothing of alice's");
    let delivered = world.sent_to(bob).unwrap();
    world.respond(bob, &delivered, 200);
    // Over her flow, in another's name: hers, with what the server thought of it.
    world.send_text(alice, "bob", "carol", "forged");
    let page = poll(&mut world, trace);
    check(
        &page,
        expect![[r#"
            > tls alice@contoso.example: MESSAGE sip:bob@contoso.example SIP/2.0 (request)
            < tls bob@contoso.example: MESSAGE sip:bob@bob-pc.invalid;transport=tls SIP/2.0
            > tls bob@contoso.example: SIP/2.0 200 OK
            < tls alice@contoso.example: SIP/2.0 200 OK
            > tls alice@contoso.example: MESSAGE sip:carol@contoso.example SIP/2.0 (request)
            ! refused: From is not the identity that signed in
            < tls alice@contoso.example: SIP/2.0 403 Forbidden
        "#]],
    );
    let all = format!("{page:?}");
    assert!(!all.contains("for bob only") && !all.contains("forged"), "{all}");
    assert_eq!(poll(&mut world, trace).events, [], "what was polled is gone");
}

#[test]
fn a_sign_in_shows_no_nonce_and_no_answer() {
    let mut world = World::new();
    let trace = start(&mut world, "alice@contoso.example", Bodies::Shown);
    world.sign_in("alice");
    let page = poll(&mut world, trace);
    check(
        &page,
        expect![[r#"
            > tls : REGISTER sip:contoso.example SIP/2.0 (request)
            < tls : SIP/2.0 401 Unauthorized
            > tls : REGISTER sip:contoso.example SIP/2.0 (request)
            ! registered: bindings changed
            < tls alice@contoso.example: SIP/2.0 200 OK
        "#]],
    );
    let all = format!("{page:?}");
    for secret in ["nonce=", "response=", "opaque=", "cnonce="] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[test]
fn a_call_id_is_followed_whoever_speaks() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let to = "sip:bob@contoso.example";
    let head = world.head("MESSAGE", "alice", to, to);
    let call_id = head.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap().to_owned();
    let trace = start(&mut world, &call_id, Bodies::Shown);
    world.send_text(bob, "bob", "alice", "something else");
    world.receive(alice, &format!("{head}\nContent-Type: text/plain"), "this one");
    let page = poll(&mut world, trace);
    let TraceWhat::Message { text, .. } = &page.events[0].what else { panic!("no message") };
    assert!(text.ends_with("\r\n\r\nthis one"), "{text}");
    assert!(!format!("{page:?}").contains("something else"), "{}", lines(&page));
}

#[test]
fn what_is_no_sip_is_told_by_its_length() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    let trace = start(&mut world, "alice@contoso.example", Bodies::Shown);
    world.handle(node::Input::Received { flow: alice, bytes: bytes::Bytes::from_static(b"secret\r\n\r\n") });
    let page = poll(&mut world, trace);
    assert!(lines(&page).starts_with("? 10 octets: ") && !format!("{page:?}").contains("secret"), "{page:?}");
}

#[test]
fn a_trace_ends_when_its_time_is_over_and_is_told_twice_in_the_log() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    let trace = start(&mut world, "alice@contoso.example", Bodies::Hidden);
    for _ in 0..6 {
        world.pass(Duration::from_secs(10));
        assert!(!poll(&mut world, trace).is_over || world.reports.iter().any(|r| r.reason.contains("over")));
    }
    world.send_text(alice, "alice", "bob", "too late");
    assert_eq!(world.call(Call::TracePoll(trace)), Answer::Refused(Refusal::NoSuchTrace));
    let told: Vec<(&str, bool)> = world
        .reports
        .iter()
        .filter(|report| report.event == "administered")
        .map(|report| (&*report.reason, report.fields.contains(&("asked_by", "uid 0".to_owned()))))
        .collect();
    assert_eq!(told, [("a trace began", true), ("a trace's time is over", true)]);
}

#[test]
fn a_trace_that_nobody_polls_ends_and_only_so_many_run() {
    let mut world = World::new();
    let watched = start(&mut world, "alice@contoso.example", Bodies::Hidden);
    for _ in 1..TRACES_MAX {
        start(&mut world, "some-call", Bodies::Shown);
    }
    let request = TraceRequest {
        subject: "other".to_owned(),
        duration: Duration::MAX,
        bodies: Bodies::Hidden,
        asked_by: String::new(),
    };
    let more = Call::TraceStart(Box::new(request));
    assert_eq!(world.call(more.clone()), Answer::Refused(Refusal::TooManyTraces));
    for _ in 0..2 {
        world.pass(Duration::from_secs(9));
        poll(&mut world, watched);
    }
    let Answer::TraceStarted { duration, .. } = world.call(more) else { panic!("there is room") };
    assert_eq!(duration, DURATION_MAX);
    assert_eq!(world.call(Call::TraceStop(watched)), Answer::Done);
    assert_eq!(world.call(Call::TraceStop(watched)), Answer::Refused(Refusal::NoSuchTrace));
    world.pass(Duration::from_secs(700));
    assert!(world.node.traces.is_empty());
}

#[test]
fn what_nobody_takes_is_dropped_from_the_front_and_counted() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    let trace = start(&mut world, "alice@contoso.example", Bodies::Shown);
    let text = "x".repeat(20_000);
    for _ in 0..100 {
        world.send_text(alice, "alice", "nobody", &text);
    }
    let mut pages = vec![poll(&mut world, trace)];
    while pages.last().is_some_and(|page| page.more) {
        pages.push(poll(&mut world, trace));
    }
    let lost: u64 = pages.iter().map(|page| page.lost).sum();
    let kept: usize = pages.iter().map(|page| page.events.len()).sum();
    let octets: usize = pages
        .iter()
        .flat_map(|page| &page.events)
        .map(|event| match &event.what {
            TraceWhat::Message { text, .. } => text.len(),
            _ => 0,
        })
        .sum();
    assert!(octets <= EVENT_OCTETS_MAX && kept <= EVENTS_MAX && lost > 40, "{octets} {kept} {lost}");
    assert!(pages.len() > 2, "an answer is no longer than a page");
}
