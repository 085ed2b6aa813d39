//! What a watcher gets.

use std::fmt::Write as _;

use crate::xml::{DECLARATION, Escaped};
use crate::{Activities, Activity, Capabilities, Class, View, time};

use super::{BE_RIGHT_BACK, CAPS, CIPID, DATA_MODEL, DO_NOT_DISTURB, LINPHONE_ONLINE, PIDF, RPID};

/// The document of a view of `entity` (`sip:alice@contoso.example`, or its `pres:`). The same view gives the same octets: no
/// time but what the view says, no identifier that is drawn.
///
/// Extensions stand in `<status>`, which takes any element (RFC 3863 §4.2.4).
/// COMPAT: the schema of liblinphone 5 has no other place for them; a document is valid by it and by those of the RFCs.
/// Prefixes are those that people expect, because baresip 1.0 looks for the text `<rpid:busy/>`.
pub fn render(view: &View, entity: &str) -> Vec<u8> {
    let mut xml = String::with_capacity(1024);
    let activities = shown_activities(view);
    let convention = match view.availability.class() {
        Class::DoNotDisturb => Some(DO_NOT_DISTURB),
        Class::BeRightBack => Some(BE_RIGHT_BACK),
        _ => None,
    };
    xml.push_str(DECLARATION);
    let has_person = !activities.is_empty() || convention.is_some();
    let has_rpid = has_person || view.idle_since_unix_ms.is_some() || view.place.is_some();
    let is_online = view.availability.class() < Class::Busy && !activities.is_empty();
    let _ = write!(xml, "<presence xmlns=\"{PIDF}\"");
    for (is_used, prefix, namespace) in [
        (has_person, "dm", DATA_MODEL),
        (has_rpid, "rpid", RPID),
        (true, "c", CIPID),
        (known_capabilities(view).is_some(), "caps", CAPS),
        (is_online, "pidfonline", LINPHONE_ONLINE),
    ] {
        if is_used {
            let _ = write!(xml, " xmlns:{prefix}=\"{namespace}\"");
        }
    }
    let entity = Escaped(entity);
    let basic = if view.availability.class() == Class::Offline { "closed" } else { "open" };
    let _ =
        write!(xml, " entity=\"{entity}\">\r\n<tuple id=\"t1\">\r\n<status>\r\n<basic>{basic}</basic>\r\n");
    if is_online {
        xml.push_str("<pidfonline:online/>\r\n");
    }
    status_extensions(&mut xml, view);
    let _ = write!(xml, "</status>\r\n<contact>{entity}</contact>\r\n");
    if let Some(note) = &view.note {
        let _ = write!(xml, "<note>{}</note>\r\n", Escaped(note));
    }
    xml.push_str("</tuple>\r\n");
    if has_person {
        xml.push_str("<dm:person id=\"p1\"><rpid:activities>");
        for activity in activities.iter() {
            let _ = write!(xml, "<rpid:{}/>", activity.element());
        }
        if let Some(words) = convention {
            let _ = write!(xml, "<rpid:other>{words}</rpid:other>");
        }
        xml.push_str("</rpid:activities></dm:person>\r\n");
    }
    xml.push_str("</presence>\r\n");
    xml.into_bytes()
}

fn status_extensions(xml: &mut String, view: &View) {
    if let Some(since) = view.idle_since_unix_ms {
        let since = time::format(since);
        let _ = write!(xml, "<rpid:user-input last-input=\"{since}\">idle</rpid:user-input>\r\n");
    }
    if let Some(place) = &view.place {
        let place = Escaped(place);
        let _ = write!(xml, "<rpid:place-type><rpid:other>{place}</rpid:other></rpid:place-type>\r\n");
    }
    if let Some(Capabilities { audio, video, message, application }) = known_capabilities(view) {
        xml.push_str("<caps:servcaps>");
        // In the order of the schema (RFC 5196 §4).
        let all = [("application", application), ("audio", audio), ("message", message), ("video", video)];
        for (name, _) in all.iter().filter(|(_, is_there)| *is_there) {
            let _ = write!(xml, "<caps:{name}>true</caps:{name}>");
        }
        xml.push_str("</caps:servcaps>\r\n");
    }
    let name = Some(&view.display_name).filter(|name| !name.is_empty());
    for (element, text) in [
        ("card", view.card.as_ref()),
        ("display-name", name),
        ("homepage", view.homepage.as_ref()),
        ("icon", view.icon.as_ref()),
    ] {
        if let Some(text) = text {
            let _ = write!(xml, "<c:{element}>{}</c:{element}>\r\n", Escaped(text));
        }
    }
}

/// Those that somebody told of: what no device speaks of is not known, which is not the same as not there.
fn known_capabilities(view: &View) -> Option<Capabilities> {
    view.capabilities.filter(|known| *known != Capabilities::default())
}

/// The activities that the schema of RPID knows, and the one that says what the availability means.
fn shown_activities(view: &View) -> Activities {
    let class = view.availability.class();
    if class == Class::Offline {
        return Activities::default();
    }
    let all = view.activities.iter().map(|activity| match activity {
        // RFC 4480 §3.2 describes it, and its schema forgets it.
        Activity::Lunch => Activity::Meal,
        other => other,
    });
    let all: Activities = match class {
        Class::Busy | Class::BusyIdle | Class::DoNotDisturb => all.chain([Activity::Busy]).collect(),
        Class::BeRightBack | Class::Away => all.chain([Activity::Away]).collect(),
        Class::Available | Class::AvailableIdle | Class::Offline => all.collect(),
    };
    // By the schema it stands alone.
    let known: Activities = all.iter().filter(|activity| *activity != Activity::Unknown).collect();
    if known.is_empty() { all } else { known }
}
