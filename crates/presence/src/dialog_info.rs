//! Dialog information (RFC 4235): which calls somebody is in.
//!
//! What is left out for privacy is left out by the caller: every field that may be missing by the schema is an option here.

use std::fmt::Write as _;

use crate::xml::{DECLARATION, Escaped};

/// The type of the documents.
pub const CONTENT_TYPE: &str = "application/dialog-info+xml";

const DIALOG_INFO: &str = "urn:ietf:params:xml:ns:dialog-info";

/// A document.
#[derive(Clone, Copy, Debug)]
pub struct DialogInfo<'a> {
    /// Whose calls.
    pub entity: &'a str,
    /// One more with every document of the subscription, from 0.
    pub version: u32,
    /// Whether it says everything.
    pub is_full: bool,
    /// The calls, or those that changed.
    pub dialogs: &'a [Dialog<'a>],
}

/// A dialog.
#[derive(Clone, Copy, Debug)]
pub struct Dialog<'a> {
    /// Of this dialog, as long as it lasts and in every subscription.
    pub id: &'a str,
    /// Its Call-ID; only who may join or replace the call needs it.
    pub call_id: Option<&'a str>,
    /// The tag of the entity's side.
    pub local_tag: Option<&'a str>,
    /// The tag of the other side.
    pub remote_tag: Option<&'a str>,
    /// Who called.
    pub direction: Option<Direction>,
    /// How it stands.
    pub state: State,
    /// Why it stands so.
    pub event: Option<Event>,
    /// The response that ended it, or the last provisional one.
    pub code: Option<u16>,
    /// Since it began.
    pub duration_seconds: Option<u64>,
    /// The entity's side.
    pub local: Option<Participant<'a>>,
    /// The other side.
    pub remote: Option<Participant<'a>>,
}

/// A side of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Participant<'a> {
    /// Who, as a URI.
    pub identity: Option<&'a str>,
    /// What people read; only with an identity.
    pub display_name: Option<&'a str>,
    /// The device.
    pub target: Option<&'a str>,
}

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The entity did.
    Initiator,
    /// The other side did.
    Recipient,
}

/// How a dialog stands (RFC 4235 §3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No response yet.
    Trying,
    /// A provisional response without a tag.
    Proceeding,
    /// A provisional response with one: it rings.
    Early,
    /// Answered.
    Confirmed,
    /// Over.
    Terminated,
}

/// What brought a dialog into its state (RFC 4235 §3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The caller gave up.
    Cancelled,
    /// The callee refused.
    Rejected,
    /// Another dialog took its place.
    Replaced,
    /// The entity hung up.
    LocalBye,
    /// The other side hung up.
    RemoteBye,
    /// A fault.
    Error,
    /// Nobody answered.
    Timeout,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Trying => "trying",
            State::Proceeding => "proceeding",
            State::Early => "early",
            State::Confirmed => "confirmed",
            State::Terminated => "terminated",
        }
    }
}

impl Event {
    fn text(self) -> &'static str {
        match self {
            Event::Cancelled => "cancelled",
            Event::Rejected => "rejected",
            Event::Replaced => "replaced",
            Event::LocalBye => "local-bye",
            Event::RemoteBye => "remote-bye",
            Event::Error => "error",
            Event::Timeout => "timeout",
        }
    }
}

/// Writes a document.
pub fn render(info: &DialogInfo<'_>) -> Vec<u8> {
    let mut xml = String::with_capacity(256 + 768 * info.dialogs.len());
    xml.push_str(DECLARATION);
    let state = if info.is_full { "full" } else { "partial" };
    let _ = write!(
        xml,
        "<dialog-info xmlns=\"{DIALOG_INFO}\" version=\"{}\" state=\"{state}\" entity=\"{}\">\r\n",
        info.version,
        Escaped(info.entity)
    );
    info.dialogs.iter().for_each(|dialog| write_dialog(&mut xml, dialog));
    xml.push_str("</dialog-info>\r\n");
    xml.into_bytes()
}

fn write_dialog(xml: &mut String, dialog: &Dialog<'_>) {
    let direction = dialog.direction.map(|direction| match direction {
        Direction::Initiator => "initiator",
        Direction::Recipient => "recipient",
    });
    let _ = write!(xml, "<dialog id=\"{}\"", Escaped(dialog.id));
    for (name, value) in [
        ("call-id", dialog.call_id),
        ("local-tag", dialog.local_tag),
        ("remote-tag", dialog.remote_tag),
        ("direction", direction),
    ] {
        if let Some(value) = value {
            let _ = write!(xml, " {name}=\"{}\"", Escaped(value));
        }
    }
    xml.push_str(">\r\n<state");
    if let Some(event) = dialog.event {
        let _ = write!(xml, " event=\"{}\"", event.text());
    }
    if let Some(code) = dialog.code {
        let _ = write!(xml, " code=\"{code}\"");
    }
    let _ = write!(xml, ">{}</state>\r\n", dialog.state.text());
    if let Some(seconds) = dialog.duration_seconds {
        let _ = write!(xml, "<duration>{seconds}</duration>\r\n");
    }
    for (side, participant) in [("local", dialog.local), ("remote", dialog.remote)] {
        if let Some(participant) = participant {
            write_participant(xml, side, &participant);
        }
    }
    xml.push_str("</dialog>\r\n");
}

fn write_participant(xml: &mut String, side: &str, participant: &Participant<'_>) {
    let _ = write!(xml, "<{side}>");
    if let Some(identity) = participant.identity {
        xml.push_str("<identity");
        if let Some(name) = participant.display_name {
            let _ = write!(xml, " display=\"{}\"", Escaped(name));
        }
        let _ = write!(xml, ">{}</identity>", Escaped(identity));
    }
    if let Some(target) = participant.target {
        let _ = write!(xml, "<target uri=\"{}\"/>", Escaped(target));
    }
    let _ = write!(xml, "</{side}>\r\n");
}

#[cfg(test)]
mod tests {
    use super::{Dialog, DialogInfo, Direction, Event, Participant, State, render};
    use crate::testing::{schema, validate_by};

    #[test]
    fn dialogs_are_written() {
        let private = Dialog {
            id: "d1",
            call_id: None,
            local_tag: None,
            remote_tag: None,
            direction: None,
            state: State::Early,
            event: None,
            code: None,
            duration_seconds: None,
            local: None,
            remote: None,
        };
        let whole = Dialog {
            id: "d2",
            call_id: Some("a\"b@c"),
            local_tag: Some("1"),
            remote_tag: Some("2"),
            direction: Some(Direction::Recipient),
            state: State::Terminated,
            event: Some(Event::RemoteBye),
            code: Some(486),
            duration_seconds: Some(12),
            local: Some(Participant {
                identity: Some("sip:alice@contoso.example"),
                display_name: None,
                target: Some("sip:alice@192.0.2.1;a=\"b\""),
            }),
            remote: Some(Participant {
                identity: Some("sip:bob@contoso.example"),
                display_name: Some("Bob <B>"),
                target: None,
            }),
        };
        let both = [private, whole];
        let info =
            DialogInfo { entity: "sip:alice@contoso.example", version: 3, is_full: true, dialogs: &both };
        let partial = DialogInfo { is_full: false, dialogs: &both[..1], ..info };
        let documents = [render(&info), render(&partial), render(&DialogInfo { dialogs: &[], ..info })];
        expect_test::expect![[r#"
            <?xml version="1.0" encoding="UTF-8"?>
            <dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="3" state="full" entity="sip:alice@contoso.example">
            <dialog id="d1">
            <state>early</state>
            </dialog>
            <dialog id="d2" call-id="a&quot;b@c" local-tag="1" remote-tag="2" direction="recipient">
            <state event="remote-bye" code="486">terminated</state>
            <duration>12</duration>
            <local><identity>sip:alice@contoso.example</identity><target uri="sip:alice@192.0.2.1;a=&quot;b&quot;"/></local>
            <remote><identity display="Bob &lt;B&gt;">sip:bob@contoso.example</identity></remote>
            </dialog>
            </dialog-info>
        "#]]
        .assert_eq(&String::from_utf8_lossy(&documents[0]).replace("\r\n", "\n"));
        validate_by(&schema("dialog-info.xsd"), &documents);
    }
}
