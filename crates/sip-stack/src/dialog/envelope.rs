//! What all NOTIFYs of a subscription have in common, written once.
//!
//! One text holds the start line and the header lines from Max-Forwards to Event, as they leave, and behind them what the
//! watcher accepts. The parts that are looked at (Call-ID, tags, the package) are places in it, so that a subscription keeps nothing
//! twice and a NOTIFY is a copy.

use std::ops::Range;

use super::{Dialog, DialogError};

/// The text and its places, in octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    text: Box<str>,
    /// The Request-URI ends here.
    uri_end: u16,
    /// The peer's Contact: the Request-URI, or with a strict router the last Route.
    target: Place,
    call_id: Place,
    remote_tag: Place,
    event: Place,
    package_length: u16,
    /// Here the header lines end, and what the watcher accepts begins.
    head_end: u16,
    has_accept: bool,
}

/// A part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    start: u16,
    end: u16,
}

/// What goes into an envelope beside the dialog.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// Our Contact, a whole value.
    pub(super) contact: &'a str,
    /// Require, a whole value.
    pub(super) require: Option<&'a str>,
    pub(super) package: &'a str,
    pub(super) event_id: Option<&'a str>,
    pub(super) accept: Option<&'a str>,
}

const START: &str = "NOTIFY ";
/// Behind the Request-URI.
const VERSION: &str = " SIP/2.0\r\n";

impl Envelope {
    /// Writes it. The texts of `dialog` and `facts` are in one line each.
    pub(super) fn new(dialog: &Dialog, facts: &Facts<'_>) -> Result<Envelope, DialogError> {
        let (request_uri, route_set) = dialog.request_uri_and_route();
        let mut writer = Writer(String::with_capacity(512));
        writer.push(START);
        let uri = writer.push(request_uri);
        writer.push(VERSION);
        writer.push("Max-Forwards: 70\r\n");
        let mut target = uri.clone();
        for route in &route_set {
            let route = writer.line("Route: ", route);
            target =
                if *request_uri == *dialog.remote_target { target } else { route.start + 1..route.end - 1 };
        }
        writer.line("From: ", &dialog.local);
        let to = writer.line("To: ", &dialog.remote);
        let tag_in_to = dialog.remote.rfind(&*dialog.remote_tag).unwrap_or(0);
        let remote_tag = to.start + tag_in_to..to.start + tag_in_to + dialog.remote_tag.len();
        let call_id = writer.line("Call-ID: ", &dialog.call_id);
        writer.line("Contact: ", facts.contact);
        if let Some(require) = facts.require {
            writer.line("Require: ", require);
        }
        let event = match facts.event_id {
            Some(event_id) => writer.line("Event: ", &[facts.package, ";id=", event_id].concat()),
            None => writer.line("Event: ", facts.package),
        };
        let head_end = writer.0.len();
        writer.push(facts.accept.unwrap_or(""));
        let length =
            |octets| u16::try_from(octets).map_err(|_| DialogError("the dialog's headers are too long"));
        length(writer.0.len())?;
        let place = |range: Range<usize>| Ok(Place { start: length(range.start)?, end: length(range.end)? });
        Ok(Envelope {
            uri_end: length(uri.end)?,
            target: place(target)?,
            call_id: place(call_id)?,
            remote_tag: place(remote_tag)?,
            event: place(event)?,
            package_length: length(facts.package.len())?,
            head_end: length(head_end)?,
            has_accept: facts.accept.is_some(),
            text: writer.0.into(),
        })
    }

    /// The same with another target (RFC 3261 §12.2.1.2).
    pub(super) fn retargeted(&self, target: &str) -> Result<Envelope, DialogError> {
        let old = usize::from(self.target.start)..usize::from(self.target.end);
        let mut text = String::with_capacity(self.text.len() - old.len() + target.len());
        text.push_str(&self.text[..old.start]);
        text.push_str(target);
        text.push_str(&self.text[old.end..]);
        let too_long = DialogError("the dialog's headers are too long");
        u16::try_from(text.len()).map_err(|_| too_long)?;
        // What stands behind the target moves with its end; all of it stays within the text, whose length was just looked at.
        let moved = |at: u16| {
            let at = usize::from(at);
            let new = if at < old.end { at } else { at - old.len() + target.len() };
            u16::try_from(new).expect("a place is in the text")
        };
        let place = |place: Place| Place { start: moved(place.start), end: moved(place.end) };
        Ok(Envelope {
            uri_end: moved(self.uri_end),
            target: place(self.target),
            call_id: place(self.call_id),
            remote_tag: place(self.remote_tag),
            event: place(self.event),
            head_end: moved(self.head_end),
            text: text.into(),
            ..*self
        })
    }

    /// The start line, and the header lines behind it.
    pub(super) fn parts(&self) -> (&str, &str) {
        let head = &self.text[..usize::from(self.head_end)];
        head.split_at(usize::from(self.uri_end) + VERSION.len())
    }

    pub(super) fn target(&self) -> &str {
        self.at(self.target)
    }

    pub(super) fn request_uri(&self) -> &str {
        &self.text[START.len()..usize::from(self.uri_end)]
    }

    pub(super) fn call_id(&self) -> &str {
        self.at(self.call_id)
    }

    pub(super) fn remote_tag(&self) -> &str {
        self.at(self.remote_tag)
    }

    pub(super) fn package(&self) -> &str {
        &self.at(self.event)[..usize::from(self.package_length)]
    }

    pub(super) fn event_id(&self) -> Option<&str> {
        self.at(self.event)[usize::from(self.package_length)..].strip_prefix(";id=")
    }

    pub(super) fn accept(&self) -> Option<&str> {
        self.has_accept.then(|| &self.text[usize::from(self.head_end)..])
    }

    /// The first element of Route.
    pub(super) fn first_route(&self) -> Option<&str> {
        let (_, lines) = self.parts();
        lines.split("\r\n").find_map(|line| line.strip_prefix("Route: "))
    }

    fn at(&self, place: Place) -> &str {
        &self.text[usize::from(place.start)..usize::from(place.end)]
    }
}

struct Writer(String);

impl Writer {
    /// Where the text went.
    fn push(&mut self, text: &str) -> Range<usize> {
        let start = self.0.len();
        self.0.push_str(text);
        start..self.0.len()
    }

    /// Where the value of the header line went.
    fn line(&mut self, name: &str, value: &str) -> Range<usize> {
        self.push(name);
        let place = self.push(value);
        self.push("\r\n");
        place
    }
}
