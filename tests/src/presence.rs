//! Presence as devices publish and watch it (RFC 3903, RFC 3856), one person or a list in one dialog (RFC 4662); and calls as others
//! watch them (RFC 4235).

use std::collections::BTreeMap;

use sip_message::{HeaderId, Message};

use crate::{Device, Dialog, Draft};

const PIDF: &str = "application/pidf+xml";
/// Long enough for every test.
const SECONDS: &str = "600";

/// A document of one tuple, with more elements behind it.
pub fn pidf(uri: &str, basic: &str, more: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         entity=\"{uri}\"><tuple id=\"t\"><status><basic>{basic}</basic></status></tuple>{more}</presence>"
    )
}

/// An activity of RPID, to stand in a document.
pub fn activity(name: &str) -> String {
    format!("<dm:person id=\"p\"><rpid:activities><rpid:{name}/></rpid:activities></dm:person>")
}

/// A note, to stand in a document.
pub fn note(text: &str) -> String {
    format!("<note>{text}</note>")
}

/// What a document says, in a line: basic status, activities, note.
pub fn seen(document: &str) -> String {
    let between = |from: &str, to: &str| Some(document.split_once(from)?.1.split_once(to)?.0);
    let mut seen = between("<basic>", "<").unwrap_or_default().to_owned();
    if let Some(activities) = between("<rpid:activities>", "</rpid:activities>") {
        for activity in activities.split('<').filter(|text| !text.is_empty() && !text.starts_with('/')) {
            let name =
                activity.trim_start_matches("rpid:").trim_start_matches("other>").trim_end_matches("/>");
            seen += &format!(" {name}");
        }
    }
    if let Some(note) = between("<note>", "<") {
        seen += &format!(" \"{note}\"");
    }
    seen
}

impl Device {
    /// A PUBLISH of its user's presence; `tag` names an earlier one that it changes.
    pub fn publish_draft(&self, tag: Option<&str>, body: &str) -> Draft {
        let draft = self.draft("PUBLISH", &self.uri()).header("Event", "presence").header("Expires", SECONDS);
        let draft = match tag {
            Some(tag) => draft.header("SIP-If-Match", tag),
            None => draft,
        };
        if body.is_empty() { draft } else { draft.body(PIDF, body) }
    }

    /// Publishes an open tuple with more elements, and gives the entity tag.
    pub fn publish(&self, tag: Option<&str>, more: &str) -> String {
        let answer = self.ask(self.publish_draft(tag, &pidf(&self.uri(), "open", more)));
        assert_eq!(answer.status(), Some(200), "PUBLISH of {}:\n{}", self.user(), self.ladder());
        text(answer.header(HeaderId::SipEtag).expect("an entity tag"))
    }

    /// A SUBSCRIBE to somebody's presence.
    pub fn watch_draft(&self, uri: &str) -> Draft {
        self.subscribe_draft("presence", uri)
    }

    /// A SUBSCRIBE to an event package.
    pub fn subscribe_draft(&self, package: &str, uri: &str) -> Draft {
        self.draft("SUBSCRIBE", uri)
            .header("Event", package)
            .header("Expires", SECONDS)
            .header("Contact", format!("<{}>", self.contact()))
    }

    /// Watches somebody.
    pub fn watch(&self, uri: &str) -> Watch<'_> {
        Watch::begin(self, "presence", self.watch_draft(uri).header("Accept", PIDF))
    }

    /// Watches what another event package says of its own user.
    pub fn watch_own(&self, package: &'static str) -> Watch<'_> {
        Watch::begin(self, package, self.subscribe_draft(package, &self.uri()))
    }

    /// Watches somebody's calls.
    pub fn watch_calls(&self, uri: &str) -> Watch<'_> {
        let draft = self.subscribe_draft("dialog", uri).header("Accept", "application/dialog-info+xml");
        Watch::begin(self, "dialog", draft)
    }

    /// A SUBSCRIBE to the list service of its domain: with these people, or with the user's own contacts (`None`).
    pub fn watch_list_draft(&self, uris: Option<&[String]>) -> Draft {
        let draft = self
            .watch_draft(&format!("sip:rls@{}", self.account().domain))
            .header("Supported", "eventlist")
            .header("Accept", format!("multipart/related, application/rlmi+xml, {PIDF}"));
        let Some(uris) = uris else { return draft };
        let entries: String = uris.iter().map(|uri| format!("<entry uri=\"{uri}\"/>")).collect();
        let list = format!(
            "<?xml version=\"1.0\"?><resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}\
             </list></resource-lists>"
        );
        draft
            .header("Require", "recipient-list-subscribe")
            .header("Content-Disposition", "recipient-list")
            .body("application/resource-lists+xml", list)
    }

    /// Watches a list.
    pub fn watch_list(&self, uris: Option<&[String]>) -> Watch<'_> {
        Watch::begin(self, "presence", self.watch_list_draft(uris))
    }
}

/// A subscription of a device.
pub struct Watch<'a> {
    device: &'a Device,
    package: &'static str,
    dialog: Dialog,
    /// Of a list: its members as told so far, and the version of the last NOTIFY.
    members: BTreeMap<String, String>,
    version: Option<u32>,
}

impl<'a> Watch<'a> {
    fn begin(device: &'a Device, package: &'static str, draft: Draft) -> Watch<'a> {
        let answer = device.ask(draft);
        assert_eq!(answer.status(), Some(200), "SUBSCRIBE of {}:\n{}", device.user(), device.ladder());
        Watch { device, package, dialog: Dialog::of_caller(&answer), members: BTreeMap::new(), version: None }
    }

    /// The next NOTIFY, unanswered.
    pub fn unanswered(&self) -> Message {
        self.device.expect_within(&self.dialog.call_id, "NOTIFY")
    }

    /// The next NOTIFY.
    pub fn notify(&self) -> Message {
        let notify = self.unanswered();
        self.device.respond(&notify, 200);
        notify
    }

    /// Waits until the person is seen so, and gives what was seen before that.
    pub fn until(&self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let notify = self.notify();
            let now = seen(&text(notify.body()));
            if now == wanted {
                return before;
            }
            // What a test that fails shows.
            eprintln!("{} sees {now:?}, not yet {wanted:?}", self.device.user());
            before.push(now);
        }
    }

    /// Waits until the members of the list are seen so: those who are named, and nobody else.
    pub fn until_members(&mut self, wanted: &[(&str, &str)]) {
        let wanted: BTreeMap<_, _> =
            wanted.iter().map(|(uri, seen)| ((*uri).to_owned(), (*seen).to_owned())).collect();
        while self.members != wanted {
            let notify = self.notify();
            self.take(&notify);
            eprintln!("{} sees {:?}", self.device.user(), self.members);
        }
    }

    /// Waits until a NOTIFY's body holds this text, and gives the body.
    pub fn until_told(&self, wanted: &str) -> String {
        loop {
            let body = text(self.notify().body());
            if body.contains(wanted) {
                return body;
            }
            eprintln!("{} is told {body:?}, not yet {wanted:?}", self.device.user());
        }
    }

    /// Ends it; gives the last NOTIFY.
    pub fn end(mut self) -> Message {
        let draft = self
            .dialog
            .request("SUBSCRIBE")
            .header("Event", self.package)
            .header("Expires", "0")
            .header("Contact", format!("<{}>", self.device.contact()));
        assert_eq!(self.device.ask(draft).status(), Some(200), "{}", self.device.ladder());
        loop {
            let notify = self.notify();
            if text(notify.header(HeaderId::SubscriptionState).expect("it is required")).starts_with("term") {
                return notify;
            }
        }
    }

    /// Takes what a NOTIFY of a list says (RFC 4662 §5).
    fn take(&mut self, notify: &Message) {
        let content_type = text(notify.header(HeaderId::ContentType).expect("a body"));
        assert!(content_type.starts_with("multipart/related"), "{content_type}");
        let boundary = content_type.split_once("boundary=").expect("a boundary").1;
        let boundary = boundary.trim_matches('"');
        let body = text(notify.body());
        let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
        let list = parts[1].split_once("<list").expect("a list").1;
        let version = attribute(list, "version").and_then(|number| number.parse().ok()).expect("a version");
        assert_eq!(version, self.version.map_or(0, |version| version + 1), "no NOTIFY is left out");
        self.version = Some(version);
        if attribute(list, "fullState") == Some("true") {
            self.members.clear();
        } else {
            assert!(version > 0, "the first tells everybody");
        }
        for resource in list.split("<resource").skip(1) {
            let uri = attribute(resource, "uri").expect("a URI").to_owned();
            let instance = resource.split_once("<instance").map(|(_, instance)| instance);
            let mut state =
                instance.and_then(|instance| attribute(instance, "state")).unwrap_or("-").to_owned();
            if let Some(cid) = instance.and_then(|instance| attribute(instance, "cid")) {
                let named = format!("Content-Id: <{cid}>");
                let part = parts.iter().find(|part| part.contains(&named)).expect("the part that is named");
                assert!(part.contains(&format!("entity=\"{uri}\"")), "{part}");
                state += &format!(" {}", seen(part));
            }
            self.members.insert(uri, state);
        }
    }
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    Some(element.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
