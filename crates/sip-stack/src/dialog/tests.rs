//! Subscriptions as conversations under a virtual clock.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use expect_test::{Expect, expect};
use node::Instant;
use proptest::prelude::*;
use sip_message::Message;

use super::{
    Dialog, Limits, NotifyResult, Policy, Standing, Subscribe, SubscriptionId, Subscriptions, Termination,
    Watch,
};

const LIMITS: Limits = Limits { subscriptions_max: 6, per_watcher_max: 3, per_resource_max: 4 };
const POLICY: Policy = Policy {
    expires_seconds_default: 3600,
    expires_seconds_min: 60,
    expires_seconds_max: 7200,
    interval_min: Duration::ZERO,
    interval_unchanged_min: Duration::from_secs(5),
};
/// The same with five seconds between changes.
const SLOW: Policy = Policy { interval_min: Duration::from_secs(5), ..POLICY };

fn message(lines: &str) -> Message {
    let text = format!(
        "{}\r\nContent-Length: 0\r\n\r\n",
        lines.trim().lines().map(str::trim).collect::<Vec<_>>().join("\r\n")
    );
    let message = Message::parse(Bytes::from(text)).expect("the test's message parses");
    message.validate().expect("the test's message is valid");
    message
}

/// A SUBSCRIBE of Bob's; `to_tag` makes it one within a dialog, `more` holds further header lines.
fn subscribe(to_tag: &str, cseq: u32, more: &str) -> Message {
    let to_tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    message(&format!(
        "SUBSCRIBE sip:alice@example.com SIP/2.0
         Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{cseq}
         Max-Forwards: 70
         From: \"Bob\" <sip:bob@example.com>;tag=b
         To: <sip:alice@example.com>{to_tag}
         Call-ID: call
         CSeq: {cseq} SUBSCRIBE
         Contact: <sip:bob@192.0.2.1>
         Event: reg
         {more}"
    ))
}

struct World {
    table: Subscriptions,
    now: Instant,
    policy: &'static Policy,
    /// The entity tag of what watchers would be told.
    entity_tag: Option<&'static str>,
    /// The tag of the last subscription that was accepted.
    tag: String,
    log: String,
}

impl World {
    fn new() -> World {
        World {
            table: Subscriptions::new([5; 32], LIMITS),
            now: Instant(0),
            policy: &POLICY,
            entity_tag: None,
            tag: String::new(),
            log: String::new(),
        }
    }

    fn accept(&mut self, request: &Message) -> Option<SubscriptionId> {
        self.accept_as(request, "alice", "bob", Standing::Active)
    }

    fn accept_as(
        &mut self,
        request: &Message,
        resource: &str,
        watcher: &str,
        standing: Standing,
    ) -> Option<SubscriptionId> {
        let entity_tag = self.entity_tag;
        let watch = Watch {
            resource,
            watcher,
            contact: "<sip:server.example.com>",
            standing,
            entity_tag,
            require: None,
            package: None,
        };
        let policy = self.policy;
        let result = Subscribe::read(request).and_then(|s| self.table.accept(self.now, &s, &watch, policy));
        self.answered(result)
    }

    fn within(&mut self, request: &Message) -> Option<SubscriptionId> {
        let result =
            Subscribe::read(request).and_then(|s| self.table.handle_subscribe(self.now, &s, self.entity_tag));
        self.answered(result)
    }

    fn answered(&mut self, result: Result<super::Accepted, super::Refusal>) -> Option<SubscriptionId> {
        match result {
            Ok(accepted) => {
                writeln!(self.log, "< {}, Expires {}", accepted.status, accepted.expires_seconds).unwrap();
                self.tag = accepted.id.local_tag();
                self.drain();
                Some(accepted.id)
            }
            Err(refusal) => {
                write!(self.log, "< {} {}", refusal.status, refusal.reason).unwrap();
                if let Some(seconds) = refusal.min_expires_seconds {
                    write!(self.log, ", Min-Expires {seconds}").unwrap();
                }
                if let Some(seconds) = refusal.retry_after_seconds {
                    write!(self.log, ", Retry-After {seconds}").unwrap();
                }
                self.log.push('\n');
                self.drain();
                None
            }
        }
    }

    fn note(&mut self, text: &str) -> &mut World {
        writeln!(self.log, "{text}").unwrap();
        self
    }

    fn changed(&mut self) -> &mut World {
        self.note("changed");
        self.table.changed(self.now, "alice");
        self.drain();
        self
    }

    /// Something new that may wait five seconds for more.
    fn gathered(&mut self, id: SubscriptionId) -> &mut World {
        self.note("gathered");
        self.table.gather_for(self.now, id, Duration::from_secs(5));
        self.drain();
        self
    }

    fn result(&mut self, id: SubscriptionId, result: NotifyResult) -> &mut World {
        match result {
            NotifyResult::Response { status, retry_after_seconds: None } => self.note(&format!("> {status}")),
            NotifyResult::Response { status, retry_after_seconds: Some(s) } => {
                self.note(&format!("> {status}, Retry-After {s}"))
            }
            other => self.note(&format!("> {other:?}")),
        };
        self.table.handle_notify_result(self.now, id, result);
        self.drain();
        self
    }

    fn status(&mut self, id: SubscriptionId, status: u16) -> &mut World {
        self.result(id, NotifyResult::Response { status, retry_after_seconds: None })
    }

    fn pass(&mut self, seconds: u64) -> &mut World {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.table.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.table.handle_timer(due);
            let before = self.log.len();
            self.drain();
            if self.log.len() > before {
                self.log.insert_str(before, &format!("at {} s\n", due.0 / 1_000_000));
            }
        }
        self.now = end;
        self
    }

    fn drain(&mut self) {
        while let Some(due) = self.table.poll_due(self.now) {
            let notify = self.table.notify(self.now, due.id).expect("what is due is there");
            assert_eq!(self.table.notify(self.now, due.id), None, "one NOTIFY in flight");
            let known = if notify.body_is_known() { " (known)" } else { "" };
            writeln!(self.log, "  NOTIFY {} {}{known}", notify.cseq(), notify.subscription_state()).unwrap();
        }
        while let Some(ended) = self.table.poll_ended() {
            writeln!(self.log, "  ended: {} of {}: {:?}", ended.resource, ended.watcher, ended.reason)
                .unwrap();
        }
    }

    fn check(&self, expected: Expect) {
        expected.assert_eq(&self.log);
    }
}

#[test]
fn a_life_from_subscribe_to_unsubscribe() {
    let mut w = World::new();
    let id = w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    w.status(id, 200).pass(10).changed().status(id, 200).pass(300);
    let tag = w.tag.clone();
    w.within(&subscribe(&tag, 2, "Expires: 600"));
    w.status(id, 200).pass(500);
    w.within(&subscribe(&tag, 3, "Expires: 0"));
    w.status(id, 200);
    w.within(&subscribe(&tag, 4, "Expires: 600"));
    assert!(w.table.is_empty() && w.table.next_deadline().is_none());
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
        changed
          NOTIFY 2 active;expires=590
        > 200
        < 200, Expires 600
          NOTIFY 3 active;expires=600
        > 200
        < 200, Expires 0
          NOTIFY 4 terminated;reason=timeout
          ended: alice of bob: Terminated(TimedOut)
        > 200
        < 481 the subscription does not exist
    "#]]);
}

#[test]
fn a_fetch_is_one_notify() {
    let mut w = World::new();
    w.accept(&subscribe("", 1, "Expires: 0"));
    assert!(w.table.is_empty());
    w.check(expect![[r#"
        < 200, Expires 0
          NOTIFY 1 terminated;reason=timeout
          ended: alice of bob: Terminated(TimedOut)
    "#]]);
}

#[test]
fn expiry_ends_with_a_last_notify() {
    let mut w = World::new();
    let id = w.accept(&subscribe("", 1, "Expires: 60")).unwrap();
    w.status(id, 200).pass(59).changed().status(id, 200).pass(10);
    w.check(expect![[r#"
        < 200, Expires 60
          NOTIFY 1 active;expires=60
        > 200
        changed
          NOTIFY 2 active;expires=1
        > 200
        at 60 s
          NOTIFY 3 terminated;reason=timeout
          ended: alice of bob: Terminated(TimedOut)
    "#]]);
}

#[test]
fn durations_are_bounded() {
    let mut w = World::new();
    w.accept(&subscribe("", 1, ""));
    w.accept(&subscribe("", 2, "Expires: 4294967295"));
    w.accept(&subscribe("", 3, "Expires: 59"));
    w.check(expect![[r#"
        < 200, Expires 3600
          NOTIFY 1 active;expires=3600
        < 200, Expires 7200
          NOTIFY 1 active;expires=7200
        < 423 the interval is too brief, Min-Expires 60
    "#]]);
}

#[test]
fn changes_while_a_notify_is_in_flight_become_one() {
    let mut w = World::new();
    let id = w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    w.changed().changed().changed().status(id, 200).status(id, 200).status(id, 200);
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        changed
        changed
        changed
        > 200
          NOTIFY 2 active;expires=600
        > 200
        > 200
    "#]]);
}

#[test]
fn one_of_two_watchers_is_told_and_the_other_forgotten() {
    let mut w = World::new();
    let one = w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    let other = w.accept(&subscribe("", 2, "Expires: 600")).unwrap();
    w.status(one, 200).status(other, 200).note("one changed");
    w.table.changed_for(w.now, one);
    w.drain();
    w.status(one, 200).note("the other's connection is gone");
    w.table.forget(other);
    w.table.changed_for(w.now, other);
    w.drain();
    assert_eq!(w.table.len(), 1);
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
        > 200
        one changed
          NOTIFY 2 active;expires=600
        > 200
        the other's connection is gone
          ended: alice of bob: Silent
    "#]]);
}

#[test]
fn changes_wait_for_the_interval_but_a_refresh_does_not() {
    let mut w = World::new();
    w.policy = &SLOW;
    let id = w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    w.status(id, 200).changed().pass(2).changed().pass(10).status(id, 200).changed();
    let tag = w.tag.clone();
    w.within(&subscribe(&tag, 2, "Expires: 600"));
    w.status(id, 200);
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
        changed
        changed
        at 5 s
          NOTIFY 2 active;expires=595
        > 200
        changed
          NOTIFY 3 active;expires=588
        < 200, Expires 600
        > 200
          NOTIFY 4 active;expires=600
    "#]]);
}

#[test]
fn expiry_and_unsubscribing_wait_for_the_notify_in_flight() {
    let mut w = World::new();
    let id = w.accept(&subscribe("", 1, "Expires: 60")).unwrap();
    let tag = w.tag.clone();
    w.pass(60).note("expired");
    w.within(&subscribe(&tag, 2, "Expires: 600"));
    w.status(id, 200);
    w.note("another");
    let id = w.accept(&subscribe("", 1, "Expires: 60")).unwrap();
    let tag = w.tag.clone();
    w.within(&subscribe(&tag, 2, "Expires: 0"));
    w.changed().status(id, 200).status(id, 481);
    w.check(expect![[r#"
        < 200, Expires 60
          NOTIFY 1 active;expires=60
        expired
        < 481 the subscription does not exist
        > 200
          NOTIFY 2 terminated;reason=timeout
          ended: alice of bob: Terminated(TimedOut)
        another
        < 200, Expires 60
          NOTIFY 1 active;expires=60
        < 200, Expires 0
        changed
        > 200
          NOTIFY 2 terminated;reason=timeout
          ended: alice of bob: Terminated(TimedOut)
        > 481
    "#]]);
}

#[test]
fn what_the_watcher_answers_decides() {
    let mut w = World::new();
    let begin = |w: &mut World, text: &str| {
        w.note(text);
        w.accept(&subscribe("", 1, "Expires: 600")).unwrap()
    };
    let id = begin(&mut w, "- gone");
    w.status(id, 481);
    let id = begin(&mut w, "- silent");
    w.result(id, NotifyResult::TimedOut);
    let id = begin(&mut w, "- unreachable");
    w.result(id, NotifyResult::Unreachable);
    let id = begin(&mut w, "- result lost");
    w.pass(100);
    assert!(w.table.get(id).is_none());
    let id = begin(&mut w, "- busy for a while");
    w.result(id, NotifyResult::Response { status: 503, retry_after_seconds: Some(30) })
        .pass(60)
        .status(id, 200);
    let id2 = begin(&mut w, "- refuses each");
    w.status(id2, 500).changed().status(id2, 500).changed().status(id2, 500);
    assert_eq!(w.table.len(), 1);
    w.check(expect![[r#"
        - gone
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 481
          ended: alice of bob: Refused(481)
        - silent
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > TimedOut
          ended: alice of bob: Silent
        - unreachable
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > Unreachable
          ended: alice of bob: Silent
        - result lost
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        at 64 s
          ended: alice of bob: Silent
        - busy for a while
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 503, Retry-After 30
        at 130 s
          NOTIFY 2 active;expires=570
        > 200
        - refuses each
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 500
        changed
          NOTIFY 3 active;expires=540
          NOTIFY 2 active;expires=600
        > 500
        changed
          NOTIFY 3 active;expires=600
        > 500
          ended: alice of bob: Refused(500)
    "#]]);
}

#[test]
fn pending_watchers_see_no_change_until_they_may() {
    let mut w = World::new();
    let id = w.accept_as(&subscribe("", 1, "Expires: 600"), "alice", "bob", Standing::Pending).unwrap();
    w.status(id, 200).changed().note("allowed");
    w.table.set_standing(w.now, id, Standing::Active);
    w.drain();
    w.status(id, 200).note("rejected");
    w.table.terminate(w.now, id, Termination::Rejected);
    w.drain();
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 pending;expires=600
        > 200
        changed
        allowed
          NOTIFY 2 active;expires=600
        > 200
        rejected
          NOTIFY 3 terminated;reason=rejected
          ended: alice of bob: Terminated(Rejected)
    "#]]);
}

#[test]
fn terminations_name_their_reason() {
    let mut w = World::new();
    for termination in [
        Termination::Deactivated,
        Termination::Probation(30),
        Termination::Rejected,
        Termination::TimedOut,
        Termination::GaveUp,
        Termination::NoResource,
    ] {
        let id = w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
        w.status(id, 200);
        w.table.terminate_resource(w.now, "alice", termination);
        w.drain();
    }
    w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    w.table.terminate_watcher(w.now, "bob", Termination::Rejected);
    w.drain();
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
          NOTIFY 2 terminated;reason=deactivated
          ended: alice of bob: Terminated(Deactivated)
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
          NOTIFY 2 terminated;reason=probation;retry-after=30
          ended: alice of bob: Terminated(Probation(30))
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
          NOTIFY 2 terminated;reason=rejected
          ended: alice of bob: Terminated(Rejected)
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
          NOTIFY 2 terminated;reason=timeout
          ended: alice of bob: Terminated(TimedOut)
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
          NOTIFY 2 terminated;reason=giveup
          ended: alice of bob: Terminated(GaveUp)
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
          NOTIFY 2 terminated;reason=noresource
          ended: alice of bob: Terminated(NoResource)
        < 200, Expires 600
          NOTIFY 1 active;expires=600
    "#]]);
}

#[test]
fn requests_outside_their_dialog_are_refused() {
    let mut w = World::new();
    let id = w.accept(&subscribe("", 10, "Expires: 600")).unwrap();
    w.status(id, 200);
    let tag = w.tag.clone();
    w.note("older CSeq").within(&subscribe(&tag, 9, "Expires: 600"));
    w.note("foreign tag").within(&subscribe("0123456789abcdef", 11, ""));
    w.note("our tag in capitals").within(&subscribe(&tag.to_uppercase(), 11, ""));
    w.note("other event id");
    let other = subscribe(&tag, 11, "Expires: 600");
    let text = String::from_utf8(other.bytes().to_vec()).unwrap();
    let replaced = |from: &str, to: &str| Message::parse(Bytes::from(text.replace(from, to))).unwrap();
    w.within(&replaced("Event: reg", "Event: reg;id=2"));
    w.note("other package").within(&replaced("Event: reg", "Event: presence"));
    w.note("other call").within(&replaced("Call-ID: call", "Call-ID: Call"));
    w.note("other remote tag").within(&replaced(";tag=b", ";tag=c"));
    w.note("too brief").within(&replaced("Expires: 600", "Expires: 6"));
    w.note("no event").within(&replaced("Event: reg\r\n", ""));
    w.note("bad event").within(&replaced("Event: reg", "Event: ;id=1"));
    w.note("its own").within(&other);
    assert_eq!(w.table.of_dialog("call", &tag, "b"), Some(id));
    assert_eq!(w.table.of_dialog("call", &tag, "c"), None);
    assert!(
        size_of::<super::Subscription>() <= 320,
        "a subscription takes {} octets",
        size_of::<super::Subscription>()
    );
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
        older CSeq
        < 500 CSeq is older than the last one
        foreign tag
        < 481 the subscription does not exist
        our tag in capitals
        < 481 the subscription does not exist
        other event id
        < 481 the subscription does not exist
        other package
        < 481 the subscription does not exist
        other call
        < 481 the subscription does not exist
        other remote tag
        < 481 the subscription does not exist
        too brief
        < 423 the interval is too brief, Min-Expires 60
        no event
        < 489 Event is missing
        bad event
        < 400 Event is malformed
        its own
        < 200, Expires 600
          NOTIFY 2 active;expires=600
    "#]]);
}

#[test]
fn tables_are_bounded_and_room_comes_back() {
    let mut w = World::new();
    let request = subscribe("", 1, "Expires: 600");
    for _ in 0..3 {
        w.accept(&request);
    }
    w.note("a fourth of the same watcher").accept(&request);
    w.accept_as(&request, "alice", "carol", Standing::Active);
    w.note("a fifth of the same resource").accept_as(&request, "alice", "dave", Standing::Active);
    w.accept_as(&request, "erin", "carol", Standing::Active);
    w.accept_as(&request, "erin", "carol", Standing::Active);
    w.note("a seventh").accept_as(&request, "frank", "frank", Standing::Active);
    w.table.terminate_watcher(w.now, "bob", Termination::TimedOut);
    w.drain();
    let ids: Vec<_> = w.table.of_resource("alice").map(|(id, _)| id).collect();
    for id in ids {
        w.table.handle_notify_result(w.now, id, NotifyResult::TimedOut);
    }
    w.drain();
    w.note("later").accept(&request);
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        a fourth of the same watcher
        < 403 the watcher has too many subscriptions
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        a fifth of the same resource
        < 503 the resource has too many watchers, Retry-After 60
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        a seventh
        < 503 there are too many subscriptions, Retry-After 60
          ended: alice of bob: Silent
          ended: alice of bob: Silent
          ended: alice of bob: Silent
          ended: alice of carol: Silent
        later
        < 200, Expires 600
          NOTIFY 1 active;expires=600
    "#]]);
}

#[test]
fn a_notify_is_a_request_of_the_dialog() {
    let mut w = World::new();
    let request = subscribe(
        "",
        1,
        "Record-Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>
         Record-Route: <sip:p3.example.com;lr>
         Accept: application/reginfo+xml",
    );
    let text = String::from_utf8(request.bytes().to_vec()).unwrap().replace("Event: reg", "Event: reg;id=7");
    let request = Message::parse(Bytes::from(text)).unwrap();
    let facts = Subscribe::read(&request).unwrap();
    let watch = Watch {
        resource: "alice",
        watcher: "bob",
        contact: "<sip:here.example.com>",
        standing: Standing::Active,
        entity_tag: None,
        require: None,
        package: None,
    };
    let id = w.table.accept(w.now, &facts, &watch, &POLICY).unwrap().id;
    let subscription = w.table.get(id).unwrap();
    assert_eq!((subscription.package(), subscription.event_id()), ("reg", Some("7")));
    assert_eq!(subscription.accept(), Some("application/reginfo+xml"));
    let notify = w.table.notify(w.now, id).unwrap();
    assert_eq!(notify.next_hop(), "sip:p1.example.com;lr");
    let bytes = notify.build(
        Some("SIP/2.0/UDP here.example.com;branch=z9hG4bK1"),
        Some("t1"),
        Some(("application/reginfo+xml", b"<reginfo/>")),
    );
    Message::parse(bytes.clone()).unwrap().validate().unwrap();
    let bare = notify.build(None, None, None);
    assert!(bare.starts_with(b"NOTIFY sip:bob@192.0.2.1 SIP/2.0\r\nMax-Forwards: 70\r\n"), "{bare:?}");
    expect![[r#"
        NOTIFY sip:bob@192.0.2.1 SIP/2.0
        Via: SIP/2.0/UDP here.example.com;branch=z9hG4bK1
        Max-Forwards: 70
        Route: <sip:p1.example.com;lr>
        Route: <sip:p2.example.com;lr>
        Route: <sip:p3.example.com;lr>
        From: <sip:alice@example.com>;tag=c0c092c21cf4e3b100000000
        To: "Bob" <sip:bob@example.com>;tag=b
        Call-ID: call
        Contact: <sip:here.example.com>
        Event: reg;id=7
        CSeq: 1 NOTIFY
        Subscription-State: active;expires=3600
        SIP-ETag: t1
        Content-Type: application/reginfo+xml
        Content-Length: 10

        <reginfo/>"#]]
    .assert_eq(&String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n"));
}

#[test]
fn a_refresh_moves_the_target() {
    let mut w = World::new();
    let id = w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    w.table.handle_notify_result(
        w.now,
        id,
        NotifyResult::Response { status: 200, retry_after_seconds: None },
    );
    let text = String::from_utf8(subscribe(&w.tag, 2, "Expires: 600").bytes().to_vec()).unwrap();
    let moved = Message::parse(Bytes::from(text.replace("bob@192.0.2.1", "bob@192.0.2.99"))).unwrap();
    w.table.handle_subscribe(w.now, &Subscribe::read(&moved).unwrap(), None).unwrap();
    let notify = w.table.notify(w.now, id).unwrap();
    assert_eq!((notify.request_uri(), notify.next_hop()), ("sip:bob@192.0.2.99", "sip:bob@192.0.2.99"));
}

#[test]
fn both_ends_compute_the_same_dialog() {
    let request = subscribe("", 7, "Record-Route: <sip:p2.example.com;lr>, <sip:p1.example.com;lr>");
    let response = message(
        "SIP/2.0 200 OK
         Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK7
         From: \"Bob\" <sip:bob@example.com>;tag=b
         To: <sip:alice@example.com>;tag=a
         Call-ID: call
         CSeq: 7 SUBSCRIBE
         Contact: <sip:server.example.com>
         Record-Route: <sip:p2.example.com;lr>, <sip:p1.example.com;lr>",
    );
    let answering = Dialog::answering(&request, "a").unwrap();
    let asking = Dialog::asking(&request, &response).unwrap();
    assert_eq!((&answering.local, &answering.remote), (&asking.remote, &asking.local));
    assert_eq!((&answering.local_tag, &answering.remote_tag), (&asking.remote_tag, &asking.local_tag));
    let (uri, route) = answering.request_uri_and_route();
    assert_eq!(
        (uri, route.join(" ")),
        ("sip:bob@192.0.2.1", "<sip:p2.example.com;lr> <sip:p1.example.com;lr>".into())
    );
    let (uri, route) = asking.request_uri_and_route();
    assert_eq!(
        (uri, route.join(" ")),
        ("sip:server.example.com", "<sip:p1.example.com;lr> <sip:p2.example.com;lr>".into())
    );
    assert_eq!((answering.remote_cseq, asking.local_cseq), (Some(7), 7));
}

#[test]
fn a_strict_router_takes_the_request_uri() {
    let request = subscribe("", 1, "Record-Route: <sip:old.example.com>, <sip:p1.example.com;lr>");
    let dialog = Dialog::answering(&request, "a").unwrap();
    let (uri, route) = dialog.request_uri_and_route();
    assert_eq!(uri, "sip:old.example.com");
    assert_eq!(route.join(" "), "<sip:p1.example.com;lr> <sip:bob@192.0.2.1>");
}

#[test]
fn long_or_strange_dialogs_are_refused() {
    let mut w = World::new();
    let with = |from: &str, to: &str| {
        let text = String::from_utf8(subscribe("", 1, "Expires: 600").bytes().to_vec()).unwrap();
        Message::parse(Bytes::from(text.replace(from, to))).unwrap()
    };
    w.accept(&with("Contact: <sip:bob@192.0.2.1>\r\n", ""));
    w.accept(&with("Contact: <sip:bob@192.0.2.1>", "Contact: *"));
    w.accept(&with("Contact: <sip:bob@192.0.2.1>", "Contact: <mailto:bob@example.com>"));
    w.accept(&with("Contact: <sip:bob@192.0.2.1>", "Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>"));
    w.accept(&with("Call-ID: call", &format!("Call-ID: {}", "c".repeat(5000))));
    w.accept(&with("Event: reg", &format!("Event: {}", "e".repeat(600))));
    w.accept(&with("Event: reg", &format!("Event: reg\r\nAccept: {}", "e".repeat(600))));
    assert!(w.table.is_empty());
    w.check(expect![[r#"
        < 400 Contact is missing
        < 400 Contact must be a URI
        < 400 Contact is no sip or sips URI
        < 400 there must be one Contact
        < 400 the dialog's headers are too long
        < 400 Event or Accept is too long
        < 400 Event or Accept is too long
    "#]]);
}

/// The same SUBSCRIBE with parameters behind the event.
fn asking(event: &str, to_tag: &str, cseq: u32, more: &str) -> Message {
    let text = String::from_utf8(subscribe(to_tag, cseq, more).bytes().to_vec()).unwrap();
    Message::parse(Bytes::from(text.replace("Event: reg", &format!("Event: {event}")))).unwrap()
}

#[test]
fn a_watcher_sets_how_often_at_most() {
    let mut w = World::new();
    let id = w.accept(&asking("reg;max-rate=0.05", "", 1, "Expires: 600")).unwrap();
    w.status(id, 200).pass(19);
    w.changed().changed().note("19 s after the last").pass(2);
    w.status(id, 200).changed().pass(5);
    let tag = w.tag.clone();
    w.within(&subscribe(&tag, 2, "Expires: 600"));
    w.status(id, 200).note("asked for no more").changed().status(id, 200);
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600;max-rate=0.05
        > 200
        changed
        changed
        19 s after the last
        at 20 s
          NOTIFY 2 active;expires=580;max-rate=0.05
        > 200
        changed
        < 200, Expires 600
          NOTIFY 3 active;expires=600
        > 200
        asked for no more
        changed
          NOTIFY 4 active;expires=600
        > 200
    "#]]);
}

#[test]
fn what_may_wait_is_told_with_what_comes_after_it() {
    let mut w = World::new();
    let id = w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    w.status(id, 200).pass(10).note("after a quiet time").gathered(id).status(id, 200);
    w.pass(1).gathered(id).pass(1).gathered(id).pass(4).status(id, 200);
    w.pass(1).gathered(id).note("what does not wait takes it along").changed().status(id, 200);
    w.pass(1).gathered(id).note("and so does a refresh");
    let tag = w.tag.clone();
    w.within(&subscribe(&tag, 2, "Expires: 600"));
    w.note("while it is under way").gathered(id).status(id, 200).pass(5);
    w.status(id, 200).pass(1).gathered(id).note("and the end");
    w.table.terminate(w.now, id, Termination::Deactivated);
    w.drain();
    w.pass(10);
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > 200
        after a quiet time
        gathered
          NOTIFY 2 active;expires=590
        > 200
        gathered
        gathered
        at 15 s
          NOTIFY 3 active;expires=585
        > 200
        gathered
        what does not wait takes it along
        changed
          NOTIFY 4 active;expires=583
        > 200
        gathered
        and so does a refresh
        < 200, Expires 600
          NOTIFY 5 active;expires=600
        while it is under way
        gathered
        > 200
        at 23 s
          NOTIFY 6 active;expires=595
        > 200
        gathered
        and the end
          NOTIFY 7 terminated;reason=deactivated
          ended: alice of bob: Terminated(Deactivated)
    "#]]);
}

#[test]
fn what_may_wait_waits_as_long_as_its_watcher_asks_and_no_longer_than_it_may() {
    let waits = |rate: &str, expected: Expect| {
        let mut w = World::new();
        let id = w.accept(&asking(&format!("reg;{rate}"), "", 1, "Expires: 600")).unwrap();
        w.status(id, 200).pass(1).gathered(id).pass(6).status(id, 200);
        w.pass(1).gathered(id).note("and what need not wait").changed().pass(20);
        w.check(expected);
    };
    // Less than a NOTIFY in five seconds: even what need not wait does, for its watcher.
    waits(
        "max-rate=0.1",
        expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600;max-rate=0.1
        > 200
        gathered
        > 200
        gathered
        and what need not wait
        changed
        at 10 s
          NOTIFY 2 active;expires=590;max-rate=0.1
    "#]],
    );
    // More.
    waits(
        "max-rate=1",
        expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600;max-rate=1
        > 200
        gathered
        at 5 s
          NOTIFY 2 active;expires=595;max-rate=1
        > 200
        gathered
        and what need not wait
        changed
          NOTIFY 3 active;expires=592;max-rate=1
    "#]],
    );
    waits(
        "min-rate=0.1",
        expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600;min-rate=0.1
        > 200
        gathered
        at 5 s
          NOTIFY 2 active;expires=595;min-rate=0.1
        > 200
        gathered
        and what need not wait
        changed
          NOTIFY 3 active;expires=592;min-rate=0.1
    "#]],
    );
}

#[test]
fn a_watcher_sets_how_often_at_least() {
    let mut w = World::new();
    let id = w.accept(&asking("reg;min-rate=0.1", "", 1, "Expires: 600")).unwrap();
    w.status(id, 200).pass(10);
    w.status(id, 200).pass(4);
    w.changed().status(id, 200).pass(9);
    w.note("9 s after a change").pass(2);
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600;min-rate=0.1
        > 200
        at 10 s
          NOTIFY 2 active;expires=590;min-rate=0.1
        > 200
        changed
          NOTIFY 3 active;expires=586;min-rate=0.1
        > 200
        9 s after a change
        at 24 s
          NOTIFY 4 active;expires=576;min-rate=0.1
    "#]]);
}

#[test]
fn rates_are_brought_within_the_policy_and_each_other() {
    let mut w = World::new();
    w.policy = &SLOW;
    w.accept(&asking("reg;max-rate=1;min-rate=0.5", "", 1, "Expires: 600"));
    w.accept(&asking("reg;max-rate=0.01;min-rate=0.1;adaptive-min-rate=0.02", "", 1, "Expires: 600"));
    w.accept(&asking("reg;max-rate=0;min-rate=fast;adaptive-min-rate=-1", "", 1, "Expires: 600"));
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600;max-rate=0.2;min-rate=0.2
        < 200, Expires 600
          NOTIFY 1 active;expires=600;max-rate=0.01;min-rate=0.01;adaptive-min-rate=0.01
        < 200, Expires 600
          NOTIFY 1 active;expires=600
    "#]]);
}

#[test]
fn an_adaptive_rate_earns_silence_by_changes() {
    let mut w = World::new();
    let id = w.accept(&asking("reg;adaptive-min-rate=0.1", "", 1, "Expires: 7200")).unwrap();
    let mut unchanged = 0;
    w.log.clear();
    w.status(id, 200);
    for _ in 0..600 {
        let before = w.table.get(id).unwrap().notified();
        w.pass(1);
        if w.table.get(id).unwrap().notified() > before {
            unchanged += 1;
            w.status(id, 200);
        }
    }
    assert!((50..=70).contains(&unchanged), "one in ten seconds on average: {unchanged} in 600 s");
    for _ in 0..16 {
        w.changed().status(id, 200);
    }
    let before = w.table.get(id).unwrap().notified();
    w.pass(20);
    assert_eq!(w.table.get(id).unwrap().notified(), before, "a burst is followed by silence");
}

#[test]
fn pending_watchers_get_no_notify_without_news() {
    let mut w = World::new();
    let request = asking("reg;min-rate=0.1", "", 1, "Expires: 600");
    let id = w.accept_as(&request, "alice", "bob", Standing::Pending).unwrap();
    w.status(id, 200).pass(60);
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 pending;expires=600;min-rate=0.1
        > 200
    "#]]);
}

#[test]
fn what_the_watcher_knows_is_not_said_again() {
    let mut w = World::new();
    w.entity_tag = Some("v1");
    let id = w.accept(&subscribe("", 1, "Expires: 600\nSuppress-If-Match: v1")).unwrap();
    w.status(id, 200);
    let tag = w.tag.clone();
    w.within(&subscribe(&tag, 2, "Expires: 600\nSuppress-If-Match: v1"));
    w.entity_tag = Some("v2");
    w.changed().status(id, 200);
    w.within(&subscribe(&tag, 3, "Expires: 600\nSuppress-If-Match: v1"));
    w.status(id, 200).note("whatever there is");
    w.within(&subscribe(&tag, 4, "Expires: 600\nSuppress-If-Match: *"));
    w.within(&subscribe(&tag, 5, "Expires: 0\nSuppress-If-Match: *"));
    w.note("a fetch").accept(&subscribe("", 1, "Expires: 0\nSuppress-If-Match: v2"));
    w.note("a package without tags").entity_tag = None;
    w.accept(&subscribe("", 1, "Expires: 600\nSuppress-If-Match: v1"));
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600 (known)
        > 200
        < 204, Expires 600
        changed
          NOTIFY 2 active;expires=600
        > 200
        < 200, Expires 600
          NOTIFY 3 active;expires=600
        > 200
        whatever there is
        < 204, Expires 600
        < 204, Expires 0
          ended: alice of bob: Terminated(TimedOut)
        a fetch
        < 200, Expires 0
          NOTIFY 1 terminated;reason=timeout (known)
          ended: alice of bob: Terminated(TimedOut)
        a package without tags
        < 200, Expires 600
          NOTIFY 1 active;expires=600
    "#]]);
}

#[test]
fn a_change_before_the_first_notify_is_said() {
    let mut w = World::new();
    let request = subscribe("", 1, "Expires: 600\nSuppress-If-Match: v1");
    let facts = Subscribe::read(&request).unwrap();
    let watch = Watch {
        resource: "alice",
        watcher: "bob",
        contact: "<sip:server.example.com>",
        standing: Standing::Active,
        entity_tag: Some("v1"),
        require: None,
        package: None,
    };
    let id = w.table.accept(w.now, &facts, &watch, &POLICY).unwrap().id;
    w.table.changed(w.now, "alice");
    let notify = w.table.notify(w.now, id).unwrap();
    assert!(!notify.body_is_known());
    let bytes = notify.build(None, Some("v2"), Some(("text/plain", b"news")));
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(text.contains("\r\nSIP-ETag: v2\r\n") && text.ends_with("\r\n\r\nnews"), "{text}");
}

#[test]
fn a_known_body_is_left_out_and_its_tag_is_not() {
    let mut w = World::new();
    let request = subscribe("", 1, "Expires: 600\nSuppress-If-Match: v1");
    let facts = Subscribe::read(&request).unwrap();
    let watch = Watch {
        resource: "alice",
        watcher: "bob",
        contact: "<sip:server.example.com>",
        standing: Standing::Active,
        entity_tag: Some("v1"),
        require: None,
        package: None,
    };
    let id = w.table.accept(w.now, &facts, &watch, &POLICY).unwrap().id;
    let notify = w.table.notify(w.now, id).unwrap();
    let bytes = notify.build(None, Some("v1"), Some(("text/plain", b"news")));
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(
        text.contains("\r\nSIP-ETag: v1\r\n") && text.ends_with("\r\nContent-Length: 0\r\n\r\n"),
        "{text}"
    );
}

#[test]
fn unsubscribing_and_refreshing_in_any_order_ends_once() {
    let mut w = World::new();
    w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    let tag = w.tag.clone();
    w.note("the end overtakes a refresh").within(&subscribe(&tag, 3, "Expires: 0"));
    w.within(&subscribe(&tag, 2, "Expires: 600"));
    w.note("and a refresh follows it").within(&subscribe(&tag, 4, "Expires: 600"));
    let id = w.table.of_dialog("call", &tag, "b").unwrap();
    w.status(id, 200).status(id, 200);
    w.within(&subscribe(&tag, 5, "Expires: 600"));
    assert!(w.table.is_empty());
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        the end overtakes a refresh
        < 200, Expires 0
        < 500 CSeq is older than the last one
        and a refresh follows it
        < 481 the subscription does not exist
        > 200
          NOTIFY 2 terminated;reason=timeout
          ended: alice of bob: Terminated(TimedOut)
        > 200
        < 481 the subscription does not exist
    "#]]);
}

#[test]
fn a_name_of_the_past_means_nobody_new() {
    let mut w = World::new();
    let old = w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    w.result(old, NotifyResult::TimedOut);
    let new = w.accept(&subscribe("", 1, "Expires: 600")).unwrap();
    assert_ne!(old, new);
    w.table.changed_for(w.now, old);
    w.table.terminate(w.now, old, Termination::Rejected);
    w.table.set_standing(w.now, old, Standing::Pending);
    w.result(old, NotifyResult::Unreachable);
    assert!(w.table.get(old).is_none() && w.table.notify(w.now, old).is_none());
    w.status(new, 200).note("touched");
    w.table.changed_for(w.now, new);
    w.drain();
    w.check(expect![[r#"
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > TimedOut
          ended: alice of bob: Silent
        < 200, Expires 600
          NOTIFY 1 active;expires=600
        > Unreachable
        > 200
        touched
          NOTIFY 2 active;expires=600
    "#]]);
}

#[test]
fn a_refresh_keeps_the_dialog_whatever_the_target_s_length() {
    for (routes, target) in [
        ("", "sip:bob@192.0.2.99:5061;transport=tcp"),
        ("", "sip:b@h"),
        ("Record-Route: <sip:p1.example.com;lr>", "sip:bob@192.0.2.99:5061;transport=tcp"),
        ("Record-Route: <sip:old.example.com>, <sip:p1.example.com;lr>", "sip:b@h"),
        ("Record-Route: <sip:old.example.com>", "sip:bob@192.0.2.99:5061;transport=tcp"),
    ] {
        let with_target = |to_tag: &str, cseq, target: &str| {
            let request = subscribe(to_tag, cseq, &format!("Expires: 600\n{routes}\nAccept: text/plain"));
            let text =
                String::from_utf8(request.bytes().to_vec()).unwrap().replace("\r\n\r\nAccept", "\r\nAccept");
            Message::parse(Bytes::from(text.replace("sip:bob@192.0.2.1>", &format!("{target}>")))).unwrap()
        };
        let notify_after = |targets: &[&str]| {
            let mut w = World::new();
            let id = w.accept(&with_target("", 1, targets[0])).unwrap();
            for (cseq, target) in (2..).zip(&targets[1..]) {
                w.status(id, 200);
                w.within(&with_target(&w.tag.clone(), cseq, target)).expect("the dialog is known");
            }
            let subscription = w.table.get(id).unwrap();
            assert_eq!((subscription.package(), subscription.accept()), ("reg", Some("text/plain")));
            let envelope = subscription.envelope.clone();
            (envelope.parts().0.to_owned(), envelope.parts().1.to_owned())
        };
        assert_eq!(notify_after(&["sip:bob@192.0.2.1", target]), notify_after(&[target]), "{routes}");
        assert_eq!(notify_after(&["sip:bob@192.0.2.1", target, "sip:c@h"]), notify_after(&["sip:c@h"]));
    }
}

/// What one subscription takes: what stands in the table, what it points at with the heap's own 16 octets a piece, and its share of
/// lists and maps, which are half empty at worst.
#[test]
fn a_subscription_takes_less_than_a_kibibyte() {
    let request = message(
        "SUBSCRIBE sip:alice.anderson@contoso.example SIP/2.0
         Via: SIP/2.0/TCP 192.0.2.101:49152;branch=z9hG4bK0123456789abcdef
         Max-Forwards: 70
         From: \"Bob Brown\" <sip:bob.brown@contoso.example>;tag=0123456789abcdef
         To: <sip:alice.anderson@contoso.example>
         Call-ID: 01234567-89ab-cdef-0123-456789abcdef
         CSeq: 1 SUBSCRIBE
         Contact: <sip:bob.brown@192.0.2.101:49152;transport=tcp;ob>
         Event: presence
         Accept: application/pidf+xml",
    );
    let (resource, watcher) = ("presence alice.anderson@contoso.example", "bob.brown@contoso.example");
    let mut table = Subscriptions::new([5; 32], LIMITS);
    let facts = Subscribe::read(&request).unwrap();
    let watch = Watch {
        resource,
        watcher,
        contact: "<sip:home.contoso.example:5061;transport=tls>",
        standing: Standing::Active,
        entity_tag: None,
        require: None,
        package: None,
    };
    let id = table.accept(Instant(0), &facts, &watch, &POLICY).unwrap().id;
    let envelope = &table.get(id).unwrap().envelope;
    let text = envelope.parts().0.len() + envelope.parts().1.len() + facts.accept.unwrap().len();
    const HEAP: usize = 16;
    const ARC: usize = 16 + HEAP;
    let own = size_of::<super::Subscription>() + 8;
    let envelope = size_of_val(&**envelope) + ARC + text + HEAP;
    let keys = resource.len() + watcher.len() + 2 * ARC;
    let maps = 2 * (2 * (size_of::<(std::sync::Arc<str>, Vec<u32>)>() + 1) + 4 * size_of::<u32>() + HEAP);
    let timer = 40;
    let all = own + envelope + keys + maps + timer;
    assert!(all < 1024, "{own} + {envelope} + {keys} + {maps} + {timer} = {all}");
}

#[derive(Clone, Debug)]
enum Step {
    Accept { watcher: u8, expires: u32, event: &'static str },
    Within { which: usize, cseq: u32, expires: u32, event: &'static str },
    Result { which: usize, status: u16, retry_after: Option<u32> },
    Silent { which: usize },
    Changed,
    Touch { which: usize },
    Gather { which: usize, seconds: u64 },
    Terminate { which: usize },
    Pass { seconds: u64 },
}

fn event() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("reg"), 1 => Just("reg;min-rate=0.02"), 1 => Just("reg;max-rate=0.1"), 1 => Just("reg;adaptive-min-rate=0.1")]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expires = prop_oneof![Just(0), Just(60), Just(600), any::<u32>()];
    let which = 0..8usize;
    let step =
        prop_oneof![
            (0..4u8, expires.clone(), event()).prop_map(|(watcher, expires, event)| Step::Accept {
                watcher,
                expires,
                event
            }),
            (which.clone(), 0..5u32, expires, event())
                .prop_map(|(which, cseq, expires, event)| Step::Within { which, cseq, expires, event }),
            (which.clone(), 200..700u16, prop::option::of(any::<u32>()))
                .prop_map(|(which, status, retry_after)| Step::Result { which, status, retry_after }),
            which.clone().prop_map(|which| Step::Silent { which }),
            Just(Step::Changed),
            which.clone().prop_map(|which| Step::Touch { which }),
            (which.clone(), 0..10u64).prop_map(|(which, seconds)| Step::Gather { which, seconds }),
            which.prop_map(|which| Step::Terminate { which }),
            (0..400u64).prop_map(|seconds| Step::Pass { seconds }),
        ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever the order: one NOTIFY in flight, CSeq counts by one, every subscription ends once, the tables agree, and
    /// when all is answered and time has passed nothing is left.
    #[test]
    fn races_leave_nothing_behind(steps in steps()) {
        let mut w = World::new();
        let mut ids: Vec<SubscriptionId> = Vec::new();
        let mut begun = 0;
        let mut ended = 0;
        let pick = |ids: &[SubscriptionId], which: usize| ids.get(which % ids.len().max(1)).copied();
        for step in steps.into_iter().chain([Step::Pass { seconds: 8000 }]) {
            match step {
                Step::Accept { watcher, expires, event } => {
                    let request = asking(event, "", 1, &format!("Expires: {expires}"));
                    let facts = Subscribe::read(&request).unwrap();
                    let watcher = format!("w{watcher}");
                    let watch = Watch { resource: "alice", watcher: &watcher, contact: "<sip:x>", standing: Standing::Active, entity_tag: None, require: None, package: None };
                    if let Ok(accepted) = w.table.accept(w.now, &facts, &watch, &POLICY) {
                        ids.push(accepted.id);
                        begun += 1;
                    }
                }
                Step::Within { which, cseq, expires, event } => {
                    if let Some(id) = pick(&ids, which) {
                        let request = asking(event, &id.local_tag(), cseq, &format!("Expires: {expires}"));
                        let _ = w.table.handle_subscribe(w.now, &Subscribe::read(&request).unwrap(), None);
                    }
                }
                Step::Result { which, status, retry_after } => {
                    if let Some(id) = pick(&ids, which) {
                        let result = NotifyResult::Response { status, retry_after_seconds: retry_after };
                        w.table.handle_notify_result(w.now, id, result);
                    }
                }
                Step::Silent { which } => {
                    if let Some(id) = pick(&ids, which) {
                        w.table.handle_notify_result(w.now, id, NotifyResult::TimedOut);
                    }
                }
                Step::Changed => w.table.changed(w.now, "alice"),
                Step::Touch { which } => {
                    if let Some(id) = pick(&ids, which) {
                        w.table.changed_for(w.now, id);
                    }
                }
                Step::Gather { which, seconds } => {
                    if let Some(id) = pick(&ids, which) {
                        w.table.gather_for(w.now, id, Duration::from_secs(seconds));
                    }
                }
                Step::Terminate { which } => {
                    if let Some(id) = pick(&ids, which) {
                        w.table.terminate(w.now, id, Termination::Deactivated);
                    }
                }
                Step::Pass { seconds } => {
                    w.pass(seconds);
                }
            }
            w.drain();
            ended = w.log.matches("  ended: ").count();
            prop_assert_eq!(begun, ended + w.table.len());
            prop_assert!(w.table.len() <= LIMITS.per_resource_max);
            prop_assert_eq!(w.table.of_resource("alice").count(), w.table.len());
        }
        prop_assert!(w.table.is_empty(), "{}", w.log);
        prop_assert_eq!(begun, ended);
        prop_assert_eq!(w.table.next_deadline(), None);
    }
}

#[test]
fn all_lines_of_accept_are_one() {
    for (headers, accept) in [
        ("Expires: 600", None),
        ("Accept: a/b, c/d", Some("a/b, c/d")),
        ("Accept: a/b\nAccept: c/d;q=1\nAccept: e/f", Some("a/b, c/d;q=1, e/f")),
    ] {
        let request = subscribe("", 1, headers);
        assert_eq!(Subscribe::read(&request).unwrap().accept.as_deref(), accept, "{headers}");
    }
}

#[test]
fn a_resource_and_a_watcher_go_by_other_keys_and_the_subscription_goes_on() {
    let mut world = World::new();
    let id = world.accept(&subscribe("", 1, "")).unwrap();
    world.status(id, 200);
    world.table.rename_resource("alice", "alicia");
    world.table.rename_watcher("bob", "robert");
    world.pass(10);
    world.log.clear();
    world.changed();
    assert!(!world.log.contains("NOTIFY"), "the old key means nothing: {}", world.log);
    world.table.changed(world.now, "alicia");
    world.drain();
    assert!(world.log.contains("NOTIFY"), "{}", world.log);
    world.status(id, 200);
    world.table.terminate_watcher(world.now, "robert", Termination::Rejected);
    world.drain();
    assert!(world.log.contains("ended: alicia of robert"), "{}", world.log);
}
