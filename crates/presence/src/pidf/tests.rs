//! What clients publish, what watchers get.

use proptest::prelude::*;

use super::{PidfError, Published, read, render};
use crate::testing::{conformance, validate, view};
use crate::xml::XmlError;
use crate::{Activities, Activity, Availability, Capabilities, View};

const HEAD: &str = "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
    xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' xmlns:c='urn:ietf:params:xml:ns:pidf:cipid' \
    xmlns:caps='urn:ietf:params:xml:ns:pidf:caps' xmlns:lt='urn:ietf:params:xml:ns:location-type' \
    xmlns:x='urn:example:x' entity='sip:alice@example.test'>";

fn publish(inner: &str) -> Published {
    read(format!("{HEAD}{inner}</presence>").as_bytes()).expect("it is taken")
}

fn person(inner: &str) -> Published {
    publish(&format!(
        "<tuple id='t'><status><basic>open</basic></status></tuple><dm:person id='p'>{inner}</dm:person>"
    ))
}

#[track_caller]
fn check(published: &Published, availability: Availability, activities: &[Activity]) {
    assert_eq!(published.state.availability, availability);
    assert_eq!(published.state.activities, activities.iter().copied().collect::<Activities>());
}

#[test]
fn basic_and_activities_say_how_available_somebody_is() {
    check(
        &publish("<tuple id='t'><status><basic>closed</basic></status></tuple>"),
        Availability::OFFLINE,
        &[],
    );
    check(&person("<rpid:activities/>"), Availability::AVAILABLE, &[]);
    for (activity, availability) in [
        (Activity::Busy, Availability::BUSY),
        (Activity::OnThePhone, Availability::BUSY),
        (Activity::Meeting, Availability::BUSY),
        (Activity::Away, Availability::AWAY),
        (Activity::Meal, Availability::AWAY),
        (Activity::Vacation, Availability::AWAY),
        (Activity::Working, Availability::AVAILABLE),
        (Activity::Unknown, Availability::AVAILABLE),
    ] {
        let inner = format!("<rpid:activities><rpid:{}/></rpid:activities>", activity.element());
        check(&person(&inner), availability, &[activity]);
    }
    let both = "<rpid:activities><rpid:meeting/><rpid:travel/></rpid:activities>";
    check(&person(both), Availability::AWAY, &[Activity::Meeting, Activity::Travel]);
    // One open service is enough.
    let two = "<tuple id='a'><status><basic>closed</basic></status></tuple>\
        <tuple id='b'><status><basic> open </basic></status></tuple>";
    check(&publish(two), Availability::AVAILABLE, &[]);
}

#[test]
fn conventions_of_clients_are_known() {
    let busy = "<rpid:activities><rpid:busy/></rpid:activities>";
    // liblinphone.
    let closed = "<tuple id='t'><status><basic>closed</basic></status></tuple>";
    let linphone = publish(&format!("{closed}<dm:person id='p'>{busy}</dm:person>"));
    check(&linphone, Availability::DO_NOT_DISTURB, &[Activity::Busy]);
    let away = "<dm:person id='p'><rpid:activities><rpid:away/></rpid:activities></dm:person>";
    check(&publish(&format!("{closed}{away}")), Availability::OFFLINE, &[Activity::Away]);
    let online = "<tuple id='t'><status><basic>open</basic><o:online xmlns:o='http://www.linphone.org/xsds/pidfonline.xsd'/>\
        </status></tuple><dm:person id='p'><rpid:activities><rpid:busy/></rpid:activities></dm:person>";
    check(&publish(online), Availability::AVAILABLE, &[Activity::Busy]);
    // Notes that say nothing else.
    check(
        &person(&format!("{busy}<dm:note>Do Not Disturb</dm:note>")),
        Availability::DO_NOT_DISTURB,
        &[Activity::Busy],
    );
    check(&person("<dm:note>BRB</dm:note>"), Availability::BE_RIGHT_BACK, &[]);
    check(&person("<dm:note>do not disturb the cat</dm:note>"), Availability::AVAILABLE, &[]);
    // Elements and words in activities.
    for (words, availability) in [
        ("<rpid:other>DND</rpid:other>", Availability::DO_NOT_DISTURB),
        ("<x:dnd/>", Availability::DO_NOT_DISTURB),
        ("<x:be-right-back/>", Availability::BE_RIGHT_BACK),
        ("<rpid:other>thinking</rpid:other>", Availability::AVAILABLE),
    ] {
        check(&person(&format!("<rpid:activities>{words}</rpid:activities>")), availability, &[]);
    }
    // Drafts of RPID: the activities within the tuple.
    let draft = "<tuple id='t'><status><basic>open</basic><e:activities xmlns:e='urn:ietf:params:xml:ns:pidf:status:rpid-status'>\
        <e:activity>on-the-phone</e:activity></e:activities></status></tuple>";
    let read = publish(draft);
    assert_eq!(
        read.state.availability,
        Availability::AVAILABLE,
        "an element inside is no activity by its name"
    );
    let draft =
        "<tuple id='t'><status><basic>open</basic><x:activity>on-the-phone</x:activity></status></tuple>";
    check(&publish(draft), Availability::BUSY, &[Activity::OnThePhone]);
}

#[test]
fn idle_place_note_card_and_capabilities_are_read() {
    let all = publish(
        "<tuple id='t'><status><basic>open</basic></status>\
         <caps:servcaps><caps:audio>true</caps:audio><caps:video>false</caps:video><caps:message>1</caps:message></caps:servcaps>\
         <contact priority='0.8'>sip:alice@192.0.2.1</contact><note>in the tuple</note></tuple>\
         <note>of the presence</note>\
         <dm:person id='p'><rpid:activities><rpid:note>of the activity</rpid:note><rpid:busy/></rpid:activities>\
         <rpid:mood><rpid:happy/></rpid:mood>\
         <rpid:place-is><rpid:audio><rpid:noisy/></rpid:audio></rpid:place-is><rpid:place-type><lt:office/></rpid:place-type>\
         <c:card>https://a.example/card</c:card><c:display-name>Alice &amp; co</c:display-name>\
         <c:homepage>https://a.example/</c:homepage><c:icon>https://a.example/i.png</c:icon>\
         <dm:note xml:lang='en'> of &lt;the&gt;&#x20;person </dm:note></dm:person>\
         <dm:device id='d'><caps:devcaps><caps:application>true</caps:application></caps:devcaps>\
         <rpid:user-input last-input='2026-11-22T08:00:00Z'>idle</rpid:user-input>\
         <dm:deviceID>urn:uuid:48662e19-5fbf-43fc-a2fd-d23002787599</dm:deviceID></dm:device>",
    );
    assert_eq!(&*all.entity, "sip:alice@example.test");
    check(&all, Availability::BUSY_IDLE, &[Activity::Busy]);
    assert_eq!(all.state.note.as_deref(), Some("of <the> person"));
    assert_eq!(all.state.place.as_deref(), Some("office"));
    let capabilities = Capabilities { audio: true, video: false, message: true, application: true };
    assert_eq!(all.state.capabilities, capabilities);
    assert_eq!(all.state.idle_since_unix_ms, Some(1_795_334_400_000));
    assert_eq!(*all.card.display_name, *"Alice & co");
    assert_eq!(all.card.homepage.as_deref(), Some("https://a.example/"));
    assert_eq!(all.contacts, ["sip:alice@192.0.2.1".into()]);
    assert_eq!(all.device_ids, ["urn:uuid:48662e19-5fbf-43fc-a2fd-d23002787599".into()]);
    assert_eq!(all.clone().into_state(1).idle_since_unix_ms, Some(1), "not since the future");

    let idle = person("<rpid:user-input>idle</rpid:user-input>");
    check(&idle, Availability::IDLE, &[]);
    assert_eq!(idle.into_state(7).idle_since_unix_ms, Some(7));
    let one_of_two =
        person("<rpid:user-input>idle</rpid:user-input><rpid:user-input>active</rpid:user-input>");
    check(&one_of_two, Availability::AVAILABLE, &[]);
    let active = person("<rpid:user-input last-input='2026-11-22T08:00:00Z'>active</rpid:user-input>");
    check(&active, Availability::AVAILABLE, &[]);
    assert_eq!(active.into_state(7).idle_since_unix_ms, None);
}

#[test]
fn what_is_kept_is_bounded() {
    let long = person(&format!("<dm:note>{}</dm:note>", "ä".repeat(2000)));
    assert_eq!(long.state.note.expect("a note").len(), crate::TEXT_OCTETS_MAX);
    let many =
        "<tuple id='t'><status><basic>open</basic></status><contact>sip:a@b</contact></tuple>".repeat(100);
    assert_eq!(publish(&many).contacts.len(), super::read::CONTACTS_MAX);
}

#[test]
fn what_is_no_publication_is_refused() {
    #[track_caller]
    fn refused(body: &str, error: PidfError) {
        assert_eq!(read(body.as_bytes()), Err(error));
    }
    refused("<presence xmlns='urn:example:other'/>", PidfError::NotPresence);
    refused("<list xmlns='urn:ietf:params:xml:ns:pidf'/>", PidfError::NotPresence);
    refused(&format!("{HEAD}</presence>"), PidfError::Empty);
    refused(
        &format!("{HEAD}<tuple id='t'><status><basic>op"),
        PidfError::Xml(XmlError::NotWellFormed("an element without an end")),
    );
    refused("<!DOCTYPE presence SYSTEM 'http://x.example/'><presence/>", PidfError::Xml(XmlError::Dtd));
    refused(&"x".repeat(17 * 1024), PidfError::Xml(XmlError::TooLarge("octets")));
    refused(&format!("{HEAD}{}", "<a>".repeat(100)), PidfError::Xml(XmlError::TooLarge("depth")));
    refused(&format!("{HEAD}{}", "<a/>".repeat(1000)), PidfError::Xml(XmlError::TooLarge("elements")));
}

#[test]
fn what_stands_around_a_document_does_no_harm() {
    let document = format!("{HEAD}<tuple id='t'><status><basic>open</basic></status></tuple></presence>");
    let known = read(document.as_bytes()).expect("taken");
    for (before, after) in
        [("\u{feff}", ""), ("\r\n<?xml version='1.0'?>", "\r\n\r\n"), ("", "\0"), ("", "\r\n\0")]
    {
        assert_eq!(
            read(format!("{before}{document}{after}").as_bytes()).as_ref(),
            Ok(&known),
            "{before:?} {after:?}"
        );
    }
}

#[test]
fn documents_that_lost_their_end_tags_are_read() {
    let whole = format!(
        "{HEAD}<tuple id='t'><status><basic>open</basic></status></tuple>\
         <dm:person id='p'><rpid:activities><rpid:away/></rpid:activities></dm:person></presence>"
    );
    let known = read(whole.as_bytes()).expect("whole");
    let last = whole.find("</rpid:activities>").expect("there");
    for end in last + 1..whole.len() {
        assert_eq!(read(&whole.as_bytes()[..end]).as_ref(), Ok(&known), "{}", &whole[last..end]);
    }
}

/// Every PIDF that was captured.
#[test]
fn publications_of_real_clients_are_understood() {
    let Some(folder) = conformance("sip-live") else { return };
    let mut read_count = 0;
    for file in crate::testing::files(&folder, "-publish-") {
        let message = std::fs::read(&file).expect("readable");
        let at = message.windows(4).position(|w| w == b"\r\n\r\n").expect("a head ends") + 4;
        let body = &message[at..];
        if body.is_empty() {
            continue;
        }
        let published = read(body).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(published.state.availability, Availability::AVAILABLE, "{}", file.display());
        assert!(published.entity.ends_with("@example.test"));
        if file.to_string_lossy().contains("sipjs") {
            assert_eq!(published.state.note.as_deref(), Some("at desk"));
        } else {
            assert_eq!(published.contacts.len(), 1);
        }
        read_count += 1;
    }
    assert!(read_count >= 10, "{read_count} publications");
}

#[test]
fn samples_of_documents_are_understood() {
    let Some(folder) = conformance("xml/samples") else { return };
    let mut open = Vec::new();
    for file in crate::testing::files(&folder, "presence-") {
        let published = read(&std::fs::read(&file).expect("readable")).expect("understood");
        open.push(published.state.availability == Availability::AVAILABLE);
    }
    assert_eq!(open, [true, true, true, true, true, false]);
}

#[test]
fn a_view_is_written() {
    let view = View {
        availability: Availability::DO_NOT_DISTURB,
        activities: [Activity::Lunch, Activity::Unknown].into_iter().collect(),
        idle_since_unix_ms: Some(1_795_334_400_999),
        note: Some("a < b".into()),
        place: Some("Room \"5\"".into()),
        capabilities: Some(Capabilities { audio: true, ..Capabilities::default() }),
        display_name: "Alice".into(),
        card: Some("https://a.example/card?a&b".into()),
        homepage: None,
        icon: None,
    };
    let written = String::from_utf8(render(&view, "sip:alice@contoso.example")).expect("UTF-8");
    expect_test::expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:c="urn:ietf:params:xml:ns:pidf:cipid" xmlns:caps="urn:ietf:params:xml:ns:pidf:caps" entity="sip:alice@contoso.example">
        <tuple id="t1">
        <status>
        <basic>open</basic>
        <rpid:user-input last-input="2026-11-22T08:00:00Z">idle</rpid:user-input>
        <rpid:place-type><rpid:other>Room &quot;5&quot;</rpid:other></rpid:place-type>
        <caps:servcaps><caps:audio>true</caps:audio></caps:servcaps>
        <c:card>https://a.example/card?a&amp;b</c:card>
        <c:display-name>Alice</c:display-name>
        </status>
        <contact>sip:alice@contoso.example</contact>
        <note>a &lt; b</note>
        </tuple>
        <dm:person id="p1"><rpid:activities><rpid:busy/><rpid:meal/><rpid:other>Do not disturb</rpid:other></rpid:activities></dm:person>
        </presence>
    "#]]
    .assert_eq(&written.replace("\r\n", "\n"));
}

/// The text that baresip 1.0 looks for in what it is told.
#[test]
fn baresip_recognises_busy_and_away() {
    let of = |availability| {
        let view = View { availability, place: None, ..view() };
        String::from_utf8(render(&view, "sip:a@b.example")).expect("UTF-8")
    };
    for (availability, basic, looked_for) in [
        (Availability::AVAILABLE, "open", None),
        (Availability::BUSY, "open", Some("<rpid:busy/>")),
        (Availability::DO_NOT_DISTURB, "open", Some("<rpid:busy/>")),
        (Availability::BE_RIGHT_BACK, "open", Some("<rpid:away/>")),
        (Availability::AWAY, "open", Some("<rpid:away/>")),
        (Availability::OFFLINE, "closed", None),
    ] {
        let written = of(availability);
        assert!(written.contains(&format!("<basic>{basic}</basic>")));
        assert_eq!(written.contains("<rpid:"), looked_for.is_some());
        assert!(looked_for.is_none_or(|text| written.contains(text)));
    }
}

#[test]
fn what_is_written_is_valid_by_the_schema() {
    let mut documents = Vec::new();
    for number in [3500, 5000, 6500, 8000, 9500, 12_500, 15_500, 18_500] {
        let availability = Availability::new(number);
        for activities in [Activities::default(), Activity::ALL.iter().copied().collect()] {
            documents.push(render(&View { availability, activities, ..view() }, "sip:alice@contoso.example"));
        }
        let unknown = [Activity::Unknown].into_iter().collect();
        documents.push(render(
            &View { availability, activities: unknown, ..view() },
            "pres:alice@contoso.example",
        ));
    }
    validate("pidf.xsd", &documents);
}

proptest! {
    #[test]
    fn what_is_written_is_read_the_same(
        number in 3000u16..20_000,
        bits in prop::collection::vec(prop::sample::select(Activity::ALL), 0..4),
        idle in prop::option::of(0u64..2_000_000_000),
        note in prop::option::of("[ -~äßü\u{1}\u{10000}]{0,40}"),
        place in prop::option::of("[a-zA-Z<>&\"' ]{1,20}"),
    ) {
        let view = View {
            availability: Availability::new(number),
            activities: bits.into_iter().collect(),
            idle_since_unix_ms: idle.map(|seconds| seconds * 1000),
            note: note.map(Into::into),
            place: place.map(Into::into),
            ..view()
        };
        let published = read(&render(&view, "sip:alice@contoso.example")).expect("what we write is read");
        let class = |availability: Availability| availability.class();
        let is_open = class(view.availability) != crate::Class::Offline;
        prop_assert_eq!(class(published.state.availability) != crate::Class::Offline, is_open);
        for activity in view.activities.iter().filter(|a| is_open && !matches!(a, Activity::Lunch | Activity::Unknown)) {
            prop_assert!(published.state.activities.has(activity));
        }
        prop_assert_eq!(published.is_idle, view.idle_since_unix_ms.is_some());
        prop_assert_eq!(published.state.idle_since_unix_ms, view.idle_since_unix_ms);
        let trimmed = |text: &Option<Box<str>>| {
            let text = text.as_deref().unwrap_or_default().replace('\u{1}', "\u{fffd}");
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        prop_assert_eq!(published.state.note.map(String::from), trimmed(&view.note));
        prop_assert_eq!(published.state.place.map(String::from), trimmed(&view.place));
        prop_assert_eq!(Some(published.state.capabilities), view.capabilities);
        prop_assert_eq!(&published.card.card, &view.card);
        prop_assert_eq!(&published.card.display_name, &view.display_name);
        // What our own words say comes back to the step where only the words could have said it.
        if view.activities.is_empty() && view.note.is_none() {
            use crate::Class::{AvailableIdle, Available, Busy, BusyIdle};
            let (written, back) = (class(view.availability), class(published.state.availability));
            let same_but_for_idle = match written {
                Available | AvailableIdle => matches!(back, Available | AvailableIdle),
                Busy | BusyIdle => matches!(back, Busy | BusyIdle),
                other => back == other,
            };
            prop_assert!(same_but_for_idle, "{written:?} {back:?}");
        }
    }

    #[test]
    fn nothing_that_is_read_breaks_the_reader(text in "(<[a-z/!?:]{0,6}( [a-z:]{1,5}=['\"][a-z&;#0-9]{0,5}['\"])?/?>|&[a-z#0-9]{0,4};|[a-z ]{0,4}|</[a-z]{1,3}>){0,12}") {
        let _ = read(text.as_bytes());
        let _ = read(format!("{HEAD}{text}</presence>").as_bytes());
        let _ = read(format!("{HEAD}<tuple id='t'><status><basic>open</basic>{text}").as_bytes());
    }

    #[test]
    fn octets_never_break_the_reader(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&octets);
    }
}
