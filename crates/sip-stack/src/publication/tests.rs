//! Publications as conversations under a virtual clock.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use expect_test::{Expect, expect};
use node::Instant;
use proptest::prelude::*;
use sip_message::Message;

use super::{Limits, Policy, PublicationId, Publications, Publish, Published, Step};
use crate::dialog::Refusal;

const LIMITS: Limits = Limits { publications_max: 4, per_resource_max: 2 };
const POLICY: Policy =
    Policy { expires_seconds_default: 3600, expires_seconds_min: 60, expires_seconds_max: 7200 };

fn publish(more: &str, body: &str) -> Message {
    let more = more.lines().map(|line| format!("{}\r\n", line.trim())).collect::<String>();
    let text = format!(
        "PUBLISH sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.com>;tag=a\r\nTo: <sip:alice@example.com>\r\nCall-ID: call\r\nCSeq: 1 PUBLISH\r\n\
         {more}{}Content-Length: {}\r\n\r\n{body}",
        if body.is_empty() { "" } else { "Content-Type: application/pidf+xml\r\n" },
        body.len()
    );
    let message = Message::parse(Bytes::from(text)).expect("the test's message parses");
    message.validate().expect("the test's message is valid");
    message
}

struct World {
    table: Publications<String>,
    now: Instant,
    log: String,
}

impl World {
    fn new() -> World {
        World { table: Publications::new([7; 32], LIMITS), now: Instant(0), log: String::new() }
    }

    fn publish(&mut self, resource: &str, more: &str, body: &str) -> Option<Published> {
        let request = publish(&format!("Event: presence\n{more}"), body);
        let result = self.try_publish(resource, &request);
        match result {
            Ok(Published { expires_seconds, step, .. }) => {
                writeln!(self.log, "< 200 {step:?}, Expires {expires_seconds}").unwrap()
            }
            Err(Refusal { status, reason, min_expires_seconds, retry_after_seconds }) => {
                write!(self.log, "< {status} {reason}").unwrap();
                if let Some(seconds) = min_expires_seconds {
                    write!(self.log, ", Min-Expires {seconds}").unwrap();
                }
                if let Some(seconds) = retry_after_seconds {
                    write!(self.log, ", Retry-After {seconds}").unwrap();
                }
                self.log.push('\n');
            }
        }
        self.drain();
        result.ok()
    }

    fn try_publish(&mut self, resource: &str, request: &Message) -> Result<Published, Refusal> {
        let facts = Publish::read(request)?;
        self.table.handle_publish(self.now, &facts, resource, &POLICY, |publish| {
            let (content_type, content) = publish.body.expect("called for a body alone");
            assert_eq!((publish.package, content_type), ("presence", "application/pidf+xml"));
            let text = String::from_utf8(content.to_vec()).unwrap();
            if text == "nonsense" { Err(Refusal::new(400, "nonsense")) } else { Ok(text) }
        })
    }

    /// A PUBLISH about what was published before.
    fn again(&mut self, published: Published, more: &str, body: &str) -> Option<Published> {
        self.publish("alice", &format!("SIP-If-Match: {}\n{more}", published.tag), body)
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.table.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.table.handle_timer(due);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(ended) = self.table.poll_ended() {
            let at = self.now.0 / 1_000_000;
            writeln!(self.log, "  {}'s {:?} at {at} s: {:?}", ended.resource, ended.state, ended.reason)
                .unwrap();
        }
    }

    fn states(&self, resource: &str) -> Vec<&str> {
        self.table.of_resource(resource).map(|(_, state)| state.as_str()).collect()
    }

    fn check(&self, expected: Expect) {
        expected.assert_eq(&self.log);
    }
}

#[test]
fn a_life_from_first_to_last() {
    let mut w = World::new();
    let first = w.publish("alice", "Expires: 600", "open").unwrap();
    w.pass(500);
    let second = w.again(first, "Expires: 600", "").unwrap();
    assert_eq!(w.states("alice"), ["open"]);
    w.pass(500);
    let third = w.again(second, "Expires: 600", "busy").unwrap();
    assert_eq!(w.states("alice"), ["busy"]);
    assert!(first.id == second.id && second.id == third.id);
    assert!(first.tag != second.tag && second.tag != third.tag && first.tag != third.tag);
    let last = w.again(third, "Expires: 0", "").unwrap();
    assert_ne!(last.tag, third.tag);
    assert!(w.table.is_empty() && w.table.get(first.id).is_none() && w.table.next_deadline().is_none());
    w.check(expect![[r#"
        < 200 Began, Expires 600
        < 200 Refreshed, Expires 600
        < 200 Modified, Expires 600
        < 200 Removed, Expires 0
    "#]]);
}

#[test]
fn a_tag_is_good_once_and_for_its_own_resource() {
    let mut w = World::new();
    let first = w.publish("alice", "", "open").unwrap();
    let second = w.again(first, "", "").unwrap();
    w.again(first, "", "");
    w.again(first, "", "stale");
    w.again(first, "Expires: 0", "");
    w.publish("bob", &format!("SIP-If-Match: {}", second.tag), "stolen");
    w.publish("alice", &format!("SIP-If-Match: {}", second.tag.to_string().to_uppercase()), "");
    w.publish("alice", "SIP-If-Match: made-up", "open");
    assert_eq!(w.states("alice"), ["open"]);
    assert!(w.states("bob").is_empty());
    w.again(second, "Expires: 0", "");
    w.again(second, "Expires: 0", "");
    w.check(expect![[r#"
        < 200 Began, Expires 3600
        < 200 Refreshed, Expires 3600
        < 412 no publication has this entity tag
        < 412 no publication has this entity tag
        < 412 no publication has this entity tag
        < 412 no publication has this entity tag
        < 412 no publication has this entity tag
        < 412 no publication has this entity tag
        < 200 Removed, Expires 0
        < 412 no publication has this entity tag
    "#]]);
}

#[test]
fn what_is_not_refreshed_runs_out() {
    let mut w = World::new();
    w.publish("alice", "Expires: 60", "desk");
    let mobile = w.publish("alice", "Expires: 90", "mobile").unwrap();
    w.pass(70);
    assert_eq!(w.states("alice"), ["mobile"]);
    let mobile = w.again(mobile, "Expires: 60", "").unwrap();
    w.pass(59);
    assert_eq!(w.table.expires(mobile.id), Some(w.now + Duration::from_secs(1)));
    w.pass(1);
    w.again(mobile, "", "");
    w.check(expect![[r#"
        < 200 Began, Expires 60
        < 200 Began, Expires 90
          alice's "desk" at 60 s: Expired
        < 200 Refreshed, Expires 60
          alice's "mobile" at 130 s: Expired
        < 412 no publication has this entity tag
    "#]]);
}

#[test]
fn durations_are_bounded() {
    let mut w = World::new();
    w.publish("alice", "Expires: 59", "open");
    w.publish("alice", "Expires: 4294967295", "open");
    w.publish("bob", "Expires: 0", "here and gone");
    assert_eq!((w.states("alice"), w.states("bob")), (vec!["open"], vec![]));
    w.check(expect![[r#"
        < 423 the interval is too brief, Min-Expires 60
        < 200 Began, Expires 7200
        < 200 Removed, Expires 0
    "#]]);
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut w = World::new();
    w.publish("alice", "", "");
    let first = w.publish("alice", "", "open").unwrap();
    w.again(first, "", "nonsense");
    w.again(first, "Expires: 1", "busy");
    w.publish("alice", "SIP-If-Match: a, b", "open");
    w.publish("alice", "SIP-If-Match:", "open");
    assert_eq!(w.states("alice"), ["open"]);
    w.again(first, "", "busy");
    let missing = w.try_publish("alice", &publish("", "open")).unwrap_err();
    assert_eq!((missing.status, missing.reason), (489, "Event is missing"));
    w.check(expect![[r#"
        < 400 a first publication has a body
        < 200 Began, Expires 3600
        < 400 nonsense
        < 423 the interval is too brief, Min-Expires 60
        < 400 SIP-If-Match must hold one entity tag
        < 400 SIP-If-Match must hold one entity tag
        < 200 Modified, Expires 3600
    "#]]);
}

#[test]
fn tables_are_bounded() {
    let mut w = World::new();
    w.publish("alice", "Expires: 600", "one");
    w.publish("alice", "Expires: 300", "two");
    w.publish("alice", "Expires: 60", "three");
    assert_eq!(w.states("alice"), ["one", "three"]);
    w.publish("bob", "", "bob's");
    let carols = w.publish("carol", "", "carol's").unwrap();
    w.publish("dave", "", "dave's");
    w.publish("alice", "", "four");
    assert_eq!(w.states("alice"), ["one", "four"]);
    assert_eq!(w.table.remove(carols.id), Some("carol's".to_owned()));
    w.publish("dave", "", "dave's");
    assert!(w.table.remove_resource("alice") && !w.table.remove_resource("alice"));
    assert_eq!((w.table.len(), w.states("alice")), (2, vec![]));
    w.pass(4000);
    assert!(w.table.is_empty());
    w.check(expect![[r#"
        < 200 Began, Expires 600
        < 200 Began, Expires 300
        < 200 Began, Expires 60
          alice's "two" at 0 s: Displaced
        < 200 Began, Expires 3600
        < 200 Began, Expires 3600
        < 503 there are too many publications, Retry-After 60
        < 200 Began, Expires 3600
          alice's "three" at 0 s: Displaced
        < 200 Began, Expires 3600
          bob's "bob's" at 3600 s: Expired
          dave's "dave's" at 3600 s: Expired
    "#]]);
}

#[derive(Clone, Debug)]
enum Act {
    Publish { resource: u8, tag: Option<usize>, expires: u32, body: Option<u8> },
    Remove { which: usize },
    Pass { seconds: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let expires = prop_oneof![Just(0), Just(60), Just(600), any::<u32>()];
    let act = prop_oneof![
        4 => (0..3u8, prop::option::of(0..9usize), expires, prop::option::of(any::<u8>()))
            .prop_map(|(resource, tag, expires, body)| Act::Publish { resource, tag, expires, body }),
        1 => (0..9usize).prop_map(|which| Act::Remove { which }),
        1 => (0..400u64).prop_map(|seconds| Act::Pass { seconds }),
    ];
    prop::collection::vec(act, 0..60)
}

proptest! {
    /// Whatever the order: a tag works once, the bounds hold, the tables agree, and when time has passed nothing is left.
    #[test]
    fn whatever_is_published_the_tables_agree(acts in acts()) {
        let mut w = World::new();
        let mut given: Vec<Published> = Vec::new();
        for act in acts.into_iter().chain([Act::Pass { seconds: 8000 }]) {
            match act {
                Act::Publish { resource, tag, expires, body } => {
                    let tag = tag.and_then(|which| given.get(which % given.len().max(1))).copied();
                    let mut more = format!("Expires: {expires}");
                    if let Some(published) = tag {
                        write!(more, "\nSIP-If-Match: {}", published.tag).unwrap();
                    }
                    let body = body.map_or(String::new(), |body| format!("b{body}"));
                    if let Some(published) = w.publish(&format!("r{resource}"), &more, &body) {
                        prop_assert!(given.iter().all(|earlier| earlier.tag != published.tag));
                        prop_assert_eq!(w.table.get(published.id).is_none(), published.step == Step::Removed);
                        given.push(published);
                    }
                }
                Act::Remove { which } => {
                    let known: Vec<PublicationId> = given.iter().map(|published| published.id).collect();
                    if let Some(id) = known.get(which % known.len().max(1)) {
                        w.table.remove(*id);
                    }
                }
                Act::Pass { seconds } => w.pass(seconds),
            }
            let of_each = (0..3).map(|r| w.table.of_resource(&format!("r{r}")).count());
            let of_each: Vec<usize> = of_each.collect();
            prop_assert!(of_each.iter().all(|count| *count <= LIMITS.per_resource_max));
            prop_assert_eq!(of_each.iter().sum::<usize>(), w.table.len());
            prop_assert!(w.table.len() <= LIMITS.publications_max);
        }
        prop_assert!(w.table.is_empty());
        prop_assert_eq!(w.table.next_deadline(), None);
    }
}

#[test]
fn a_resource_goes_by_another_name_with_its_tags() {
    let mut world = World::new();
    let first = world.publish("alice", "", "open").unwrap();
    world.publish("alicia", "", "from elsewhere").unwrap();
    world.table.rename_resource("alice", "alicia");
    world.table.rename_resource("nobody", "somebody");
    assert_eq!(world.states("alice"), [""; 0]);
    assert_eq!(world.states("alicia"), ["from elsewhere", "open"]);
    let again = world.publish("alicia", &format!("SIP-If-Match: {}", first.tag), "closed");
    assert!(again.is_some(), "{}", world.log);
    assert_eq!(world.states("alicia"), ["from elsewhere", "closed"]);
}
