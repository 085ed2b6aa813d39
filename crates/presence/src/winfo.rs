//! Watcher information (RFC 3858): who watches somebody.
//!
//! A full document says all of it, a partial one what changed since the version before. What a blocked watcher looks like in
//! it is for the caller to say.

use std::fmt::Write as _;

use crate::xml::{DECLARATION, Escaped};

/// The type of the documents.
pub const CONTENT_TYPE: &str = "application/watcherinfo+xml";

const WATCHERINFO: &str = "urn:ietf:params:xml:ns:watcherinfo";

/// A watcher.
#[derive(Clone, Copy, Debug)]
pub struct Watcher<'a> {
    /// Of this subscription, as long as it lasts.
    pub id: &'a str,
    /// Who.
    pub uri: &'a str,
    /// What people read.
    pub display_name: Option<&'a str>,
    /// How the subscription stands.
    pub status: Status,
    /// What made it so.
    pub event: Event,
    /// In how many seconds it ends by itself.
    pub expiration_seconds: Option<u64>,
    /// For how many seconds there has been one.
    pub duration_seconds: Option<u64>,
}

/// How a subscription stands (RFC 3858 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Somebody has to allow it.
    Pending,
    /// It delivers.
    Active,
    /// It ended before somebody allowed it.
    Waiting,
    /// It is over.
    Terminated,
}

/// What changed a subscription (RFC 3857 §4.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A SUBSCRIBE.
    Subscribe,
    /// It was allowed.
    Approved,
    /// It was ended, to be made again.
    Deactivated,
    /// It was ended, to be made again later.
    Probation,
    /// It is not allowed.
    Rejected,
    /// Nobody refreshed it.
    Timeout,
    /// Nobody allowed it in time.
    GiveUp,
    /// There is nobody to watch.
    NoResource,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Active => "active",
            Status::Waiting => "waiting",
            Status::Terminated => "terminated",
        }
    }
}

impl Event {
    fn text(self) -> &'static str {
        match self {
            Event::Subscribe => "subscribe",
            Event::Approved => "approved",
            Event::Deactivated => "deactivated",
            Event::Probation => "probation",
            Event::Rejected => "rejected",
            Event::Timeout => "timeout",
            Event::GiveUp => "giveup",
            Event::NoResource => "noresource",
        }
    }
}

/// A document.
#[derive(Clone, Copy, Debug)]
pub struct WatcherInfo<'a> {
    /// Who is watched.
    pub resource: &'a str,
    /// For which event package.
    pub package: &'a str,
    /// One more with every document of the subscription, from 0.
    pub version: u32,
    /// Whether it says everything.
    pub is_full: bool,
    /// Who watches, or whose watching changed.
    pub watchers: &'a [Watcher<'a>],
}

/// Writes a document.
pub fn render(info: &WatcherInfo<'_>) -> Vec<u8> {
    let mut xml = String::with_capacity(512 + 256 * info.watchers.len());
    xml.push_str(DECLARATION);
    let state = if info.is_full { "full" } else { "partial" };
    let _ = write!(
        xml,
        "<watcherinfo xmlns=\"{WATCHERINFO}\" version=\"{}\" state=\"{state}\">\r\n\
         <watcher-list resource=\"{}\" package=\"{}\">\r\n",
        info.version,
        Escaped(info.resource),
        Escaped(info.package)
    );
    for watcher in info.watchers {
        let (id, status, event) = (Escaped(watcher.id), watcher.status.text(), watcher.event.text());
        let _ = write!(xml, "<watcher id=\"{id}\" status=\"{status}\" event=\"{event}\"");
        if let Some(name) = watcher.display_name {
            let _ = write!(xml, " display-name=\"{}\"", Escaped(name));
        }
        if let Some(seconds) = watcher.expiration_seconds {
            let _ = write!(xml, " expiration=\"{seconds}\"");
        }
        if let Some(seconds) = watcher.duration_seconds {
            let _ = write!(xml, " duration-subscribed=\"{seconds}\"");
        }
        let _ = write!(xml, ">{}</watcher>\r\n", Escaped(watcher.uri));
    }
    xml.push_str("</watcher-list>\r\n</watcherinfo>\r\n");
    xml.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{Event, Status, Watcher, WatcherInfo, render};
    use crate::testing::{schema, validate_by};

    #[test]
    fn watchers_are_written() {
        let bob = Watcher {
            id: "w1",
            uri: "sip:bob@contoso.example",
            display_name: Some("Bob \"B\""),
            status: Status::Active,
            event: Event::Approved,
            expiration_seconds: Some(3600),
            duration_seconds: Some(10),
        };
        let watchers = [
            bob,
            Watcher {
                id: "w2",
                uri: "sip:a&b@x.example",
                display_name: None,
                status: Status::Pending,
                event: Event::Subscribe,
                ..bob
            },
            Watcher {
                id: "w3",
                status: Status::Terminated,
                event: Event::NoResource,
                expiration_seconds: None,
                ..bob
            },
        ];
        let info = WatcherInfo {
            resource: "sip:alice@contoso.example",
            package: "presence",
            version: 0,
            is_full: true,
            watchers: &watchers,
        };
        let partial = WatcherInfo { version: 1, is_full: false, watchers: &watchers[2..], ..info };
        let documents = [render(&info), render(&partial), render(&WatcherInfo { watchers: &[], ..info })];
        expect_test::expect![[r#"
            <?xml version="1.0" encoding="UTF-8"?>
            <watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo" version="0" state="full">
            <watcher-list resource="sip:alice@contoso.example" package="presence">
            <watcher id="w1" status="active" event="approved" display-name="Bob &quot;B&quot;" expiration="3600" duration-subscribed="10">sip:bob@contoso.example</watcher>
            <watcher id="w2" status="pending" event="subscribe" expiration="3600" duration-subscribed="10">sip:a&amp;b@x.example</watcher>
            <watcher id="w3" status="terminated" event="noresource" display-name="Bob &quot;B&quot;" duration-subscribed="10">sip:bob@contoso.example</watcher>
            </watcher-list>
            </watcherinfo>
        "#]]
        .assert_eq(&String::from_utf8_lossy(&documents[0]).replace("\r\n", "\n"));
        validate_by(&schema("watcherinfo.xsd"), &documents);
    }
}
