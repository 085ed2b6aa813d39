//! Ladders: what crossed a world, as text. Columns are machines and devices, arrows bear method or status and CSeq,
//! times are virtual milliseconds of sending. Bodies, credentials and keep-alives are left out.

use federation::origin::{MEMBER_HEADER, ORIGIN_HEADER};
use records::Change;
use sip_message::{HeaderId, Message};

use crate::event::{Event, Fate, Mark, Party, Payload, What};

/// Characters from one column to the next: room for `CANCEL`'s longest label and an arrow.
const COLUMN: usize = 26;
/// Characters of an arrow around its label.
const ARROW: usize = 6;

/// What is printed besides messages, crashes and faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    Hidden,
    /// What became durable, was refused or lost, and what nodes reported.
    Shown,
}

/// Prints `events`; `columns` says who stands where, and under which name.
pub fn print(events: &[Event], columns: &[(Party, String)], detail: Detail) -> String {
    let place = |party: Party| columns.iter().position(|(p, _)| *p == party);
    let mut text = format!("{:<7} ", "ms");
    for (_, name) in columns {
        text += &format!(" {name:<width$}", width = COLUMN - 1);
    }
    text = text.trim_end().to_owned() + "\n";
    for event in events {
        let row = match &event.what {
            What::Sent { from, to: Some(to), payload: Payload::Sip(message), fate, .. } => {
                match (place(*from), place(*to)) {
                    (Some(from), Some(to)) => {
                        Some(arrow((columns.len(), COLUMN), from, to, &label(message), *fate))
                    }
                    _ => None,
                }
            }
            What::Connected { from, .. } => place(*from).map(|p| format!("  * {} connects", columns[p].1)),
            What::Stopped { party, .. } => place(*party).map(|p| format!("  * {} crashes", columns[p].1)),
            What::Started { party } => place(*party).map(|p| format!("  * {} starts", columns[p].1)),
            What::Closed { party, reason, .. } => {
                place(*party).map(|p| format!("  * {} loses a connection: {reason:?}", columns[p].1))
            }
            What::Durable { change, outcome, .. } if detail == Detail::Shown => {
                Some(format!("  + {outcome:?} {}", describe(change)))
            }
            What::Refused { change, .. } if detail == Detail::Shown => {
                Some(format!("  + refused {}", describe(change)))
            }
            What::LostInCrash { change, .. } if detail == Detail::Shown => {
                Some(format!("  + lost {}", describe(change)))
            }
            What::Reported { report, .. } if detail == Detail::Shown => {
                Some(format!("  ! {}: {}", report.event, report.reason))
            }
            What::Fault(what) => Some(format!("  * {what}")),
            _ => None,
        };
        if let Some(row) = row {
            text += format!("{:>7} {row}", event.at.0 / 1000).trim_end();
            text.push('\n');
        }
    }
    text
}

/// Prints messages alone, as a picture for people: neither times nor numbers, but what a message bears of identity, and as
/// narrow as its words let it be.
pub fn picture(events: &[Event], columns: &[(Party, String)]) -> String {
    let place = |party: Party| columns.iter().position(|(p, _)| *p == party);
    let crossed: Vec<(usize, usize, String, Fate)> = events
        .iter()
        .filter_map(|event| match &event.what {
            What::Sent { from, to: Some(to), payload: Payload::Sip(message), fate, .. } => {
                Some((place(*from)?, place(*to)?, short_label(message), *fate))
            }
            _ => None,
        })
        .collect();
    let labels = crossed.iter().map(|(_, _, label, _)| label.len() + ARROW);
    let titles = columns.iter().map(|(_, title)| title.len() + 2);
    let column = labels.chain(titles).max().unwrap_or(COLUMN);
    let titles: String = columns.iter().map(|(_, title)| format!("{title:<column$}")).collect();
    let mut text = titles.trim_end().to_owned() + "\n";
    for (from, to, label, fate) in &crossed {
        text += arrow((columns.len(), column), *from, *to, label, *fate).trim();
        text.push('\n');
    }
    text
}

/// A change without bodies and secrets.
fn describe(change: &Change) -> String {
    match change {
        Change::AppendMessage(m) => {
            let mark = Mark::find(&m.request).map_or_else(String::new, |mark| mark.to_string());
            format!("message {} of user {} ({:?}, {mark})", m.sequence.0, m.owner.0, m.direction)
        }
        Change::AdvanceCursor { owner, device, through, .. } => {
            format!("cursor of user {} {} through {}", owner.0, device.0, through.0)
        }
        Change::AdvanceTaken { owner, through } => format!("taken of user {} through {}", owner.0, through.0),
        Change::PutBinding(b) => format!("binding of user {} {}", b.user.0, b.key),
        Change::RemoveBinding { user, key } => format!("no binding of user {} {key}", user.0),
        Change::WithdrawMessage { owner, sequence } => {
            format!("message {} of user {} withdrawn", sequence.0, owner.0)
        }
        Change::AddUser { user, .. } => format!("user {} {}", user.id.0, user.address),
        Change::SetUserState { user, state, .. } => format!("user {} {state:?}", user.0),
        Change::SetUserPermissions { user, permissions } => {
            format!("user {} may {permissions:?}", user.0)
        }
        Change::SetUserSecrets { user, .. } => format!("password of user {}", user.0),
        Change::AddCertificate { user, certificate } => {
            format!("certificate {} of user {}", certificate.digest, user.0)
        }
        Change::RemoveCertificate { user, digest } => format!("no certificate {digest} of user {}", user.0),
        Change::AddAppPassword { user, password } => {
            format!("app password {} of user {}", password.username, user.0)
        }
        Change::RemoveAppPassword { user, username } => {
            format!("no app password {username} of user {}", user.0)
        }
        Change::RevokeTokens { user, since_unix_ms } => {
            format!("tokens of user {} since {since_unix_ms}", user.0)
        }
        Change::Replicate(r) => format!("replicated {} users, {} objects", r.users.len(), r.objects.len()),
        Change::PruneObjects { before_unix_ms } => format!("objects since {before_unix_ms}"),
        Change::RemoveUser { user, .. } => format!("no user {}", user.0),
        Change::SetManual { user, manual } => {
            let state = manual.state.map_or("automatic", presence::ManualState::name);
            format!("user {} chose {state}", user.0)
        }
        Change::SetCallSettings { user, .. } => format!("call settings of user {}", user.0),
        Change::PutDocument(d) => {
            format!("document of user {} {}/{} {}", d.owner.0, d.application, d.name, d.etag)
        }
        Change::RemoveDocument { owner, application, name } => {
            format!("no document of user {} {application}/{name}", owner.0)
        }
        Change::AppendCall(call) => {
            format!("call of user {} with {} {:?} {:?}", call.owner.0, call.peer, call.direction, call.end)
        }
        Change::PruneCalls { .. } => "calls pruned".to_owned(),
        Change::Prune { .. } => "pruned".to_owned(),
    }
}

fn label(message: &Message) -> String {
    let cseq = message.cseq().map(|c| (c.number, c.method.as_str().to_owned()));
    let (number, method) = cseq.unwrap_or((0, "?".into()));
    match message.status() {
        Some(status) => format!("{status} ({number} {method})"),
        None => {
            let signed =
                message.header(HeaderId::Authorization).or(message.header(HeaderId::ProxyAuthorization));
            let signed = if signed.is_some() { " signed" } else { "" };
            format!("{} ({number}){signed}", message.method().as_str())
        }
    }
}

/// Method or status, and what says who it is from.
fn short_label(message: &Message) -> String {
    if let Some(status) = message.status() {
        return status.to_string();
    }
    let mut label = message.method().as_str().to_owned();
    let is_signed =
        message.header(HeaderId::Authorization).or(message.header(HeaderId::ProxyAuthorization)).is_some();
    for (is_there, word) in [
        (is_signed, " signed"),
        (message.header(HeaderId::PAssertedIdentity).is_some(), " asserted"),
        (message.header_named(ORIGIN_HEADER).is_some(), " Origin"),
        (message.header_named(MEMBER_HEADER).is_some(), " Member"),
    ] {
        if is_there {
            label += word;
        }
    }
    label
}

/// An arrow among columns: how many there are, and how many characters it is from one to the next.
fn arrow((columns, width): (usize, usize), from: usize, to: usize, label: &str, fate: Fate) -> String {
    let mut row = vec![' '; columns * width];
    for column in 0..columns {
        row[1 + column * width] = '|';
    }
    let (low, high) = (1 + from.min(to) * width, 1 + from.max(to) * width);
    if low < high {
        row[low + 1..high].fill('-');
        let head = match fate {
            Fate::Underway if from < to => '>',
            Fate::Underway => '<',
            Fate::Lost => 'x',
        };
        row[if from < to { high - 1 } else { low + 1 }] = head;
        let label: Vec<char> = label.chars().take(high - low - 5).collect();
        let at = low + 1 + (high - low - 1 - label.len()) / 2;
        row[at..at + label.len()].copy_from_slice(&label);
    }
    row.into_iter().collect()
}
