//! Presence: what is published, what is composed of it, and what watchers see.

use std::time::Duration;

use ::presence::{Level, Manual, ManualState, Note, Why};
use directory::{SipAddress, UserState};
use node::{Flow, Transport};
use sip_message::{HeaderId, Message};

use super::world::World;
use crate::admin::{Answer, Call};

/// A publication of one tuple.
pub(super) fn pidf(basic: &str, more: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"sip:x@contoso.example\"><tuple id=\"t\"><status><basic>{basic}</basic>\
         </status></tuple>{more}</presence>"
    )
}

/// An RPID activity.
pub(super) fn activity(name: &str) -> String {
    format!("<dm:person id=\"p\"><rpid:activities><rpid:{name}/></rpid:activities></dm:person>")
}

/// A dialog that a watcher has open.
pub(super) struct Watch {
    pub(super) flow: Flow,
    pub(super) from: &'static str,
    pub(super) package: &'static str,
    pub(super) call_id: String,
    pub(super) to: String,
    pub(super) contact: String,
}

impl World {
    pub(super) fn publish(&mut self, flow: Flow, from: &str, headers: &str, body: &str) -> Message {
        let uri = format!("sip:{from}@contoso.example");
        let head = self.head("PUBLISH", from, &uri, &uri);
        let content_type = if body.is_empty() { "" } else { "\nContent-Type: application/pidf+xml" };
        let headers = if headers.is_empty() { String::new() } else { format!("\n{headers}") };
        self.receive(flow, &format!("{head}\nEvent: presence{content_type}{headers}"), body);
        self.sent_to(flow).expect("an answer to PUBLISH")
    }

    /// Publishes for the first time; gives the entity tag.
    pub(super) fn publishes(&mut self, flow: Flow, from: &str, body: &str) -> String {
        let answer = self.publish(flow, from, "Expires: 600", body);
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        text(answer.header(HeaderId::SipEtag).expect("an entity tag"))
    }

    pub(super) fn subscribe(&mut self, flow: Flow, from: &str, to: &str, headers: &str) -> Message {
        let uri = format!("sip:{to}@contoso.example");
        let head = self.head("SUBSCRIBE", from, &uri, &uri);
        let contact = format!("Contact: <sip:{from}@{from}-pc.invalid;transport=tls>");
        self.receive(flow, &format!("{head}\nEvent: presence\n{contact}\n{headers}"), "");
        self.sent_to(flow).expect("an answer to SUBSCRIBE")
    }

    /// Subscribes, and takes the first NOTIFY.
    pub(super) fn watches(&mut self, flow: Flow, from: &'static str, to: &str) -> (Watch, Message) {
        let answer = self.subscribe(flow, from, to, "Expires: 600");
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        let watch = Watch {
            flow,
            from,
            package: "presence",
            call_id: answer.call_id().unwrap().to_owned(),
            to: text(answer.header(HeaderId::To).unwrap()),
            contact: text(answer.header(HeaderId::Contact).unwrap()).trim_matches(['<', '>']).to_owned(),
        };
        let first = self.notified(flow).expect("a first NOTIFY");
        (watch, first)
    }

    /// A SUBSCRIBE within the dialog.
    pub(super) fn resubscribe(&mut self, watch: &Watch, headers: &str) -> u16 {
        let head = self.head("SUBSCRIBE", watch.from, &watch.contact, "sip:x");
        let lines = head.lines().map(|line| match line {
            _ if line.starts_with("To:") => format!("To: {}", watch.to),
            _ if line.starts_with("Call-ID:") => format!("Call-ID: {}", watch.call_id),
            _ => line.to_owned(),
        });
        let head = lines.collect::<Vec<_>>().join("\n");
        self.receive(watch.flow, &format!("{head}\nEvent: {}\n{headers}", watch.package), "");
        self.status_to(watch.flow)
    }

    /// The next NOTIFY to a flow, which is answered 200.
    pub(super) fn notified(&mut self, flow: Flow) -> Option<Message> {
        let notify = self.sent_to(flow)?;
        assert_eq!(notify.method().as_str(), "NOTIFY", "{notify:?}");
        self.respond(flow, &notify, 200);
        Some(notify)
    }

    pub(super) fn expects_nothing(&mut self, flow: Flow) {
        assert!(self.sent_to(flow).is_none());
    }
}

pub(super) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// What a NOTIFY of presence says, in a line: basic status, activities, note.
pub(super) fn seen(notify: &Message) -> String {
    let body = text(notify.body());
    let between = |from: &str, to: &str| {
        let at = body.find(from)? + from.len();
        Some(body[at..].split(to).next().unwrap_or_default().to_owned())
    };
    let mut seen = between("<basic>", "<").unwrap_or_default();
    if let Some(activities) = between("<rpid:activities>", "</rpid:activities>") {
        seen +=
            &activities.replace("<rpid:", " ").replace("/>", "").replace("other>", "").replace("</rpid:", "");
    }
    if let Some(note) = between("<note>", "</note>") {
        seen += &format!(" \"{note}\"");
    }
    seen
}

fn state_of(notify: &Message) -> String {
    text(notify.header(HeaderId::SubscriptionState).unwrap())
}

#[test]
fn a_watcher_sees_a_device_come_say_something_and_go() {
    let mut world = World::new();
    let bob = world.sign_in("bob");
    let (_, first) = world.watches(bob, "bob", "alice");
    assert_eq!((&*seen(&first), &*state_of(&first)), ("closed", "active;expires=600"));
    assert_eq!(first.content_type(), "application/pidf+xml");
    let alice = world.sign_in("alice");
    assert_eq!(seen(&world.notified(bob).unwrap()), "open");
    world.pass(Duration::from_secs(1));
    let tag = world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open busy meeting");
    world.pass(Duration::from_secs(1));
    // Refreshed: nothing new to see.
    let refreshed = world.publish(alice, "alice", &format!("SIP-If-Match: {tag}\nExpires: 600"), "");
    let tag = text(refreshed.header(HeaderId::SipEtag).unwrap());
    world.expects_nothing(bob);
    let modified = format!("SIP-If-Match: {tag}\nExpires: 600");
    let modified = world.publish(alice, "alice", &modified, &pidf("open", "<note>at lunch</note>"));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open \"at lunch\"");
    let stale = world.publish(alice, "alice", &format!("SIP-If-Match: {tag}\nExpires: 600"), "");
    assert_eq!(stale.status(), Some(412));
    world.pass(Duration::from_secs(1));
    let tag = text(modified.header(HeaderId::SipEtag).unwrap());
    let removed = world.publish(alice, "alice", &format!("SIP-If-Match: {tag}\nExpires: 0"), "");
    assert_eq!((removed.status(), removed.number(HeaderId::Expires)), (Some(200), Ok(Some(0))));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open", "the device is registered still");
    world.pass(Duration::from_secs(1));
    world.disconnect(alice);
    assert_eq!(seen(&world.notified(bob).unwrap()), "closed");
}

#[test]
fn the_most_available_of_two_devices_is_seen() {
    let mut world = World::new();
    let (bob, pc) = (world.sign_in("bob"), world.sign_in("alice"));
    let (_, first) = world.watches(bob, "bob", "alice");
    assert_eq!(seen(&first), "open");
    world.publishes(pc, "alice", &pidf("open", &activity("away")));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open away");
    world.pass(Duration::from_secs(1));
    let phone = world.connect(Transport::Tls);
    world.register(phone, "alice", "Contact: <sip:alice@phone.invalid;transport=tls>");
    world.publishes(phone, "alice", &pidf("open", "<note>on my phone</note>"));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open", "the phone registered");
    world.pass(Duration::from_secs(1));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open \"on my phone\"");
    world.disconnect(phone);
    world.pass(Duration::from_secs(1));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open away", "the phone's publication went with it");
    world.disconnect(pc);
    world.pass(Duration::from_secs(1));
    assert_eq!(seen(&world.notified(bob).unwrap()), "closed");
}

#[test]
fn a_publication_runs_out() {
    let mut world = World::new();
    let (bob, alice) = (world.sign_in("bob"), world.sign_in("alice"));
    let tag = world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
    world.watches(bob, "bob", "alice");
    world.pass(Duration::from_secs(599));
    world.expects_nothing(bob);
    world.pass(Duration::from_secs(2));
    // Bob's subscription of 600 s ends as well.
    let last: Vec<_> = std::iter::from_fn(|| world.notified(bob)).collect();
    assert!(last.iter().all(|notify| seen(notify) == "open"), "{last:?}");
    assert_eq!(state_of(last.last().unwrap()), "terminated;reason=timeout");
    let stale = world.publish(alice, "alice", &format!("SIP-If-Match: {tag}"), "");
    assert_eq!(stale.status(), Some(412));
}

#[test]
fn publications_that_are_not_taken() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    let body = pidf("open", "");
    let head = |world: &mut World, to: &str| {
        let to = format!("sip:{to}@contoso.example");
        world.head("PUBLISH", "alice", &to, &to)
    };
    for (to, headers, body, status) in [
        ("bob", "Event: presence\nContent-Type: application/pidf+xml", &*body, 403),
        ("nobody", "Event: presence\nContent-Type: application/pidf+xml", &body, 403),
        ("alice", "Event: dialog\nContent-Type: application/pidf+xml", &body, 489),
        ("alice", "Content-Type: application/pidf+xml", &body, 489),
        ("alice", "Event: presence\nContent-Type: text/plain", &body, 415),
        ("alice", "Event: presence\nContent-Type: application/pidf+xml\nContent-Encoding: gzip", &body, 415),
        ("alice", "Event: presence\nContent-Type: application/pidf+xml", "<presence", 400),
        ("alice", "Event: presence\nContent-Type: application/pidf+xml", "<list/>", 415),
        ("alice", "Event: presence\nContent-Type: application/pidf+xml\nExpires: 10", &body, 423),
        ("alice", "Event: presence\nExpires: 600", "", 400),
        ("alice", "Event: presence\nSIP-If-Match: 0123\nExpires: 600", "", 412),
    ] {
        let head = head(&mut world, to);
        world.receive(alice, &format!("{head}\n{headers}"), body);
        let answer = world.sent_to(alice).unwrap();
        assert_eq!(answer.status(), Some(status), "{to} {headers} {body}");
        match status {
            489 => assert!(text(answer.header(HeaderId::AllowEvents).unwrap()).contains("presence")),
            415 => {
                assert!(answer.header(HeaderId::Accept).or(answer.header(HeaderId::AcceptEncoding)).is_some())
            }
            423 => assert_eq!(answer.number(HeaderId::MinExpires), Ok(Some(60))),
            _ => {}
        }
    }
    let huge = pidf("open", &format!("<note>{}</note>", "x".repeat(20_000)));
    assert_eq!(world.publish(alice, "alice", "Expires: 600", &huge).status(), Some(413));
}

#[test]
fn changes_in_quick_succession_become_one() {
    let mut world = World::new();
    let (bob, alice) = (world.sign_in("bob"), world.sign_in("alice"));
    world.watches(bob, "bob", "alice");
    let mut tag = world.publishes(alice, "alice", &pidf("open", "<note>1</note>"));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open \"1\"", "the first at once");
    for n in 2..=4 {
        world.pass(Duration::from_millis(10));
        let body = pidf("open", &format!("<note>{n}</note>"));
        let answer = world.publish(alice, "alice", &format!("SIP-If-Match: {tag}\nExpires: 600"), &body);
        tag = text(answer.header(HeaderId::SipEtag).unwrap());
        world.expects_nothing(bob);
    }
    world.pass(Duration::from_millis(25));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open \"4\"");
    // There and back within the window: nothing is new.
    for n in [5, 4] {
        let body = pidf("open", &format!("<note>{n}</note>"));
        let answer = world.publish(alice, "alice", &format!("SIP-If-Match: {tag}\nExpires: 600"), &body);
        tag = text(answer.header(HeaderId::SipEtag).unwrap());
    }
    world.pass(Duration::from_secs(1));
    world.expects_nothing(bob);
}

#[test]
fn whoever_is_blocked_sees_what_anybody_sees_of_somebody_offline() {
    let subscribed = |level: Level, is_there: bool| {
        let mut world = World::with(|config| config.presence.levels.same_organisation = level);
        let bob = world.sign_in("bob");
        let alice = is_there.then(|| world.sign_in("alice"));
        let answer = world.subscribe(bob, "bob", "alice", "Expires: 600");
        let notify = world.notified(bob).unwrap();
        if let Some(alice) = alice {
            world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
            world.pass(Duration::from_secs(1));
        }
        assert!(world.is_silent());
        let shown = |message: &Message| {
            let text = format!("{:?}", String::from_utf8_lossy(message.bytes()));
            text.replace(|c: char| c.is_ascii_hexdigit(), "")
        };
        (shown(&answer), shown(&notify))
    };
    assert_eq!(subscribed(Level::Blocked, true), subscribed(Level::Company, false));
    assert_eq!(subscribed(Level::Blocked, true), subscribed(Level::External, false));
}

#[test]
fn no_notify_where_a_level_sees_no_difference() {
    let mut world = World::with(|config| config.presence.levels.same_organisation = Level::External);
    let (bob, alice) = (world.sign_in("bob"), world.sign_in("alice"));
    let (_, first) = world.watches(bob, "bob", "alice");
    assert_eq!(seen(&first), "open");
    world.publishes(alice, "alice", &pidf("open", "<note>not for strangers</note>"));
    world.pass(Duration::from_secs(1));
    world.expects_nothing(bob);
    world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
    world.pass(Duration::from_secs(1));
    let busy = world.notified(bob).map(|notify| seen(&notify));
    assert!(busy.is_none_or(|seen| !seen.contains("meeting")));
}

#[test]
fn people_watch_themselves_and_see_everything() {
    let mut world = World::with(|config| config.presence.levels.same_organisation = Level::Blocked);
    let alice = world.sign_in("alice");
    let (_, first) = world.watches(alice, "alice", "alice");
    assert_eq!(seen(&first), "open");
    world.publishes(alice, "alice", &pidf("open", "<note>mine</note>"));
    assert_eq!(seen(&world.notified(alice).unwrap()), "open \"mine\"");
}

#[test]
fn subscriptions_that_are_not_taken() {
    let mut world = World::new();
    let bob = world.sign_in("bob");
    for (to, headers, status) in
        [("nobody", "", 404), ("alice", "Accept: text/plain", 406), ("alice", "Expires: 5", 423)]
    {
        assert_eq!(world.subscribe(bob, "bob", to, headers).status(), Some(status), "{to} {headers}");
    }
    let address = SipAddress::parse("alice@contoso.example").unwrap();
    world.call(Call::SetUserState(address, UserState::Disabled));
    assert_eq!(world.subscribe(bob, "bob", "alice", "").status(), Some(404), "as if there were no alice");
    let head = world.head("SUBSCRIBE", "bob", "sip:x@fabrikam.example", "sip:x@fabrikam.example");
    world.receive(bob, &format!("{head}\nEvent: presence\nContact: <sip:bob@x.invalid>"), "");
    assert_eq!(world.status_to(bob), 403);
    assert!(world.is_silent());
}

#[test]
fn a_dialog_is_its_watchers_alone() {
    let mut world = World::new();
    let (bob, carol) = (world.sign_in("bob"), world.sign_in("carol"));
    let (watch, _) = world.watches(bob, "bob", "alice");
    let stolen = Watch { flow: carol, from: "carol", ..watch };
    assert_eq!(world.resubscribe(&stolen, "Expires: 0"), 481);
}

#[test]
fn a_refresh_gets_the_whole_state_and_an_unsubscribe_the_last() {
    let mut world = World::new();
    let bob = world.sign_in("bob");
    let (watch, _) = world.watches(bob, "bob", "alice");
    assert_eq!(world.resubscribe(&watch, "Expires: 600"), 200);
    assert_eq!(seen(&world.notified(bob).unwrap()), "closed");
    // The refresh overtakes nothing: unsubscribed is unsubscribed.
    assert_eq!(world.resubscribe(&watch, "Expires: 0"), 200);
    assert_eq!(state_of(&world.notified(bob).unwrap()), "terminated;reason=timeout");
    assert_eq!(world.resubscribe(&watch, "Expires: 600"), 481);
    world.sign_in("alice");
    world.pass(Duration::from_secs(1));
    world.expects_nothing(bob);
}

#[test]
fn a_watcher_that_refuses_or_is_silent_is_forgotten_and_harms_nobody() {
    for status in [Some(481), Some(408), None] {
        let mut world = World::new();
        let (bob, carol) = (world.sign_in("bob"), world.sign_in("carol"));
        world.watches(bob, "bob", "alice");
        world.watches(carol, "carol", "alice");
        let alice = world.sign_in("alice");
        let unanswered = world.sent_to(bob).unwrap();
        assert_eq!(seen(&world.notified(carol).unwrap()), "open");
        match status {
            Some(status) => world.respond(bob, &unanswered, status),
            None => world.pass(Duration::from_secs(40)),
        }
        world.pass(Duration::from_secs(1));
        world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
        world.expects_nothing(bob);
        assert_eq!(seen(&world.notified(carol).unwrap()), "open busy meeting", "{status:?}");
    }
}

#[test]
fn a_watcher_whose_connection_is_gone_is_not_written_to() {
    let mut world = World::new();
    let bob = world.sign_in("bob");
    world.watches(bob, "bob", "alice");
    world.disconnect(bob);
    assert!(world.node.subscriptions.is_empty());
    assert!(world.node.watchers.is_empty() && world.node.watchers_on.is_empty());
    world.sign_in("alice");
    world.pass(Duration::from_secs(1));
    assert!(world.is_silent());
}

#[test]
fn watchers_of_a_removed_user_are_told() {
    let mut world = World::new();
    let (bob, _) = (world.sign_in("bob"), world.sign_in("alice"));
    world.watches(bob, "bob", "alice");
    let address = SipAddress::parse("alice@contoso.example").unwrap();
    assert_eq!(world.call(Call::RemoveUser(address)), Answer::Done);
    let told: Vec<_> = std::iter::from_fn(|| world.notified(bob)).collect();
    assert_eq!(state_of(told.last().unwrap()), "terminated;reason=noresource");
    assert!(world.node.subscriptions.is_empty());
}

fn set(
    world: &mut World,
    choice: Option<(ManualState, Option<u64>)>,
    note: Option<(&str, Option<u64>)>,
) -> Answer {
    let address = SipAddress::parse("alice@contoso.example").unwrap();
    let note = note.map(|(text, expires_unix_ms)| Note { text: text.into(), expires_unix_ms });
    world.call(Call::SetPresence { address, choice, note })
}

fn shown(world: &mut World) -> crate::admin::PresenceDetails {
    let address = SipAddress::parse("alice@contoso.example").unwrap();
    let Answer::Presence(details) = world.call(Call::ShowPresence(address)) else { panic!("no details") };
    *details
}

#[test]
fn what_a_person_chose_wins_until_it_ends() {
    let mut world = World::new();
    let bob = world.sign_in("bob");
    world.watches(bob, "bob", "alice");
    let until = |world: &World, seconds: u64| Some(world.wall_unix_ms() + seconds * 1000);
    let soon = until(&world, 60);
    assert_eq!(set(&mut world, Some((ManualState::DoNotDisturb, soon)), None), Answer::Done);
    world.pass(Duration::from_secs(1));
    world.expects_nothing(bob);
    let alice = world.sign_in("alice");
    assert_eq!(seen(&world.notified(bob).unwrap()), "open busy Do not disturb");
    assert_eq!(shown(&mut world).state.why, Why::Manual(ManualState::DoNotDisturb));
    world.pass(Duration::from_secs(1));
    // What a device says now is heard when the choice is over.
    world.publishes(alice, "alice", &pidf("open", &activity("meal")));
    world.expects_nothing(bob);
    let later = until(&world, 120);
    set(&mut world, None, Some(("deep in thought", later)));
    assert_eq!(seen(&world.notified(bob).unwrap()), "open busy Do not disturb \"deep in thought\"");
    world.pass(Duration::from_secs(59));
    let over = seen(&world.notified(bob).unwrap());
    assert!(
        over.contains("meal") && over.ends_with("\"deep in thought\"") && !over.contains("disturb"),
        "{over}"
    );
    world.pass(Duration::from_secs(62));
    assert!(!seen(&world.notified(bob).unwrap()).contains("thought"));
    set(&mut world, Some((ManualState::AppearOffline, None)), Some(("gone", None)));
    world.pass(Duration::from_secs(1));
    assert_eq!(seen(&world.notified(bob).unwrap()), "closed \"gone\"");
    let address = SipAddress::parse("alice@contoso.example").unwrap();
    assert_eq!(world.call(Call::ClearPresence(address)), Answer::Done);
    world.pass(Duration::from_secs(1));
    assert!(seen(&world.notified(bob).unwrap()).contains("meal"));
    assert_eq!(shown(&mut world).state.why, Why::Device(0));
    assert_eq!(shown(&mut world).watchers, 1);
}

/// Ends of choices are times on the wall clock, and that may be set.
#[test]
fn a_choice_holds_by_the_wall_clock_whoever_sets_it() {
    let mut world = World::new();
    let bob = world.sign_in("bob");
    world.sign_in("alice");
    world.watches(bob, "bob", "alice");
    let until = Some(world.wall_unix_ms() + 600_000);
    set(&mut world, Some((ManualState::Busy, until)), None);
    assert_eq!(seen(&world.notified(bob).unwrap()), "open busy");
    world.pass(Duration::from_secs(1));
    world.set_clock(600_000);
    assert!(!seen(&world.notified(bob).unwrap()).contains("busy"), "its end has passed");
    world.pass(Duration::from_secs(1));
    world.set_clock(-600_000);
    assert_eq!(seen(&world.notified(bob).unwrap()), "open busy", "its end is to come again");
    world.pass(Duration::from_secs(597));
    world.expects_nothing(bob);
    world.pass(Duration::from_secs(2));
    assert!(!seen(&world.notified(bob).unwrap()).contains("busy"), "and comes");
}

#[test]
fn a_choice_outlives_a_restart_and_a_failed_disk_changes_nothing() {
    let mut world = World::new();
    world.disk = Err(node::StoreError::Full);
    assert!(matches!(set(&mut world, Some((ManualState::Busy, None)), None), Answer::Refused(_)));
    assert_eq!(shown(&mut world).manual, Manual::default());
    world.disk = Ok(());
    let at = world.wall_unix_ms() + 1_000_000_000_000;
    set(&mut world, Some((ManualState::Busy, Some(at))), Some(("x", None)));
    let mut world = World::on(world.tables, 2, |_| ());
    let details = shown(&mut world);
    assert_eq!(details.manual.state_at(0), Some(ManualState::Busy));
    assert_eq!((details.state.why, details.state.note.as_deref()), (Why::NoDevice, Some("x")));
    world.sign_in("alice");
    assert_eq!(shown(&mut world).state.why, Why::Manual(ManualState::Busy));
}

#[test]
fn what_real_clients_publish_is_understood() {
    // Modelled on what was seen of each on the wire.
    let linphone = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
        xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" xmlns:pidfonline=\"http://www.linphone.org/xsds/pidfonline.xsd\" \
        entity=\"sip:alice@contoso.example\" xmlns=\"urn:ietf:params:xml:ns:pidf\">\n <tuple id=\"r-5hsc\">\n  <status>\n   <basic>open</basic>\n   \
        <pidfonline:online/>\n  </status>\n  <contact priority=\"0.8\">sip:alice@contoso.example</contact>\n  \
        <timestamp>2026-11-21T23:07:32Z</timestamp>\n </tuple>\n</";
    let baresip = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\"\n    \
        xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\"\n    xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\"\n    \
        entity=\"sip:alice@contoso.example\">\n  <dm:person id=\"p4159\"><rpid:activities/></dm:person>\n  <tuple id=\"t4109\">\n    <status>\n      \
        <basic>open</basic>\n    </status>\n    <contact>sip:alice@contoso.example</contact>\n  </tuple>\n</presence>\n";
    let sip_js = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
        entity=\"sip:alice@contoso.example\"><tuple id=\"t1\"><status><basic>open</basic></status><note>at desk</note></tuple></presence>";
    for (body, expected) in [(linphone, "open"), (baresip, "open"), (sip_js, "open \"at desk\"")] {
        let mut world = World::new();
        let (bob, alice) = (world.sign_in("bob"), world.sign_in("alice"));
        let head = world.head("PUBLISH", "alice", "sip:alice@contoso.example", "sip:alice@contoso.example");
        let head = head.replace("To: <sip:alice@contoso.example>", "To: sip:alice@contoso.example");
        world.receive(
            alice,
            &format!("{head}\nEvent: presence\nExpires: 120\nContent-Type: application/pidf+xml"),
            body,
        );
        assert_eq!(world.status_to(alice), 200);
        let (_, first) = world.watches(bob, "bob", "alice");
        let seen = seen(&first).replace(" unknown", "");
        assert_eq!(seen, expected);
    }
}
