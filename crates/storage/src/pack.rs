//! What a group of changes holds of mailboxes, as the octets of one row.
//!
//! A row costs SQLite as much as a kilobyte does, so that the messages and marks of a commit are packed into few rows, as
//! records one behind the other:
//!
//! ```text
//! record  = kind (1 octet)  length of the rest (4 octets, little endian)  rest
//! message = owner  sequence  received_unix_ms  identity (16 octets)  length of peer  peer  request
//! taken   = owner  through
//! cursor  = owner  through  seen_unix_ms  device
//! removed = owner
//! gone    = zeros
//! ```
//!
//! Numbers have seven bits an octet, the lowest first; the highest bit says that more follow. A record is changed where it
//! stands and keeps its length: a message that is withdrawn gets another kind, one that is dropped becomes zeros. SQLite then
//! writes the page that has changed and no other.
//!
//! What this module is not: it knows neither tables nor what the records mean. Records of calls have the same frame; what is in
//! them is [`call_pack`](crate::call_pack)'s.

/// Octets of records after which a row is written: to read one message is to read its row, some five pages, and the row's own
/// cost is below a tenth of what its messages cost.
pub(crate) const GROUP_OCTETS: usize = 16 << 10;

const RECEIVED: u8 = 0;
const SENT: u8 = 1;
const RECEIVED_WITHDRAWN: u8 = 2;
const SENT_WITHDRAWN: u8 = 3;
const TAKEN: u8 = 4;
const CURSOR: u8 = 5;
const REMOVED: u8 = 6;
/// Of any record that was erased.
pub(crate) const GONE: u8 = 7;

/// Kind and length.
const HEAD_OCTETS: usize = 5;

/// A message of a mailbox. Numbers as SQL has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'r> {
    pub(crate) owner: i64,
    pub(crate) sequence: i64,
    /// 0 received, 1 sent by the owner.
    pub(crate) direction: i64,
    pub(crate) is_withdrawn: bool,
    pub(crate) received_unix_ms: i64,
    pub(crate) identity: [u8; 16],
    pub(crate) peer: &'r str,
    pub(crate) request: &'r [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'r> {
    Message(Message<'r>),
    /// How far a mailbox was taken.
    Taken {
        owner: i64,
        through: i64,
    },
    /// How far a device has got.
    Cursor {
        owner: i64,
        through: i64,
        seen_unix_ms: i64,
        device: &'r str,
    },
    /// The user was removed: earlier records about it mean nothing.
    Removed {
        owner: i64,
    },
    /// Was a message.
    Gone,
}

/// The octets can not have been written by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Appends a record.
pub(crate) fn push(content: &mut Vec<u8>, record: &Record<'_>) {
    push_frame(content, |content| match *record {
        Record::Message(message) => {
            number(content, message.owner);
            number(content, message.sequence);
            number(content, message.received_unix_ms);
            content.extend_from_slice(&message.identity);
            number(content, message.peer.len() as i64);
            content.extend_from_slice(message.peer.as_bytes());
            content.extend_from_slice(message.request);
            match (message.direction, message.is_withdrawn) {
                (0, false) => RECEIVED,
                (0, true) => RECEIVED_WITHDRAWN,
                (_, false) => SENT,
                (_, true) => SENT_WITHDRAWN,
            }
        }
        Record::Taken { owner, through } => {
            number(content, owner);
            number(content, through);
            TAKEN
        }
        Record::Cursor { owner, through, seen_unix_ms, device } => {
            number(content, owner);
            number(content, through);
            number(content, seen_unix_ms);
            content.extend_from_slice(device.as_bytes());
            CURSOR
        }
        Record::Removed { owner } => {
            number(content, owner);
            REMOVED
        }
        Record::Gone => GONE,
    });
}

/// Appends the frame of a record: `write` writes the rest of it and says its kind.
pub(crate) fn push_frame(content: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> u8) {
    let start = content.len();
    content.extend_from_slice(&[0; HEAD_OCTETS]);
    let kind = write(content);
    let length = u32::try_from(content.len() - start - HEAD_OCTETS).expect("no request has 4 GiB");
    content[start] = kind;
    content[start + 1..start + HEAD_OCTETS].copy_from_slice(&length.to_le_bytes());
}

/// All records, each with the place at which it stands.
pub(crate) fn records(content: &[u8]) -> impl Iterator<Item = Result<(usize, Record<'_>), Damaged>> {
    frames(content).map(|frame| {
        let (place, kind, rest) = frame?;
        record(kind, rest).map(|record| (place, record)).ok_or(Damaged)
    })
}

/// The frames of all records: the place of each, its kind, and the rest.
pub(crate) fn frames(content: &[u8]) -> Frames<'_> {
    Frames { content, next: 0 }
}

/// Marks the message at a place as withdrawn.
pub(crate) fn withdraw(content: &mut [u8], place: usize) {
    let kind = &mut content[place];
    *kind = match *kind {
        RECEIVED => RECEIVED_WITHDRAWN,
        SENT => SENT_WITHDRAWN,
        other => other,
    };
}

/// Makes zeros of the record at a place.
pub(crate) fn erase(content: &mut [u8], place: usize) {
    let end = rest_of(content, place).map_or(place + 1, |(start, end)| {
        content[start..end].fill(0);
        end
    });
    debug_assert!(end <= content.len());
    content[place] = GONE;
}

pub(crate) struct Frames<'r> {
    content: &'r [u8],
    next: usize,
}

impl<'r> Iterator for Frames<'r> {
    type Item = Result<(usize, u8, &'r [u8]), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.next;
        let kind = *self.content.get(place)?;
        let Some((start, end)) = rest_of(self.content, place) else {
            self.next = self.content.len();
            return Some(Err(Damaged));
        };
        self.next = end;
        Some(Ok((place, kind, &self.content[start..end])))
    }
}

/// Where the rest of the record at a place begins and ends.
fn rest_of(content: &[u8], place: usize) -> Option<(usize, usize)> {
    let start = place + HEAD_OCTETS;
    let length: [u8; 4] = content.get(place + 1..start)?.try_into().ok()?;
    let end = start.checked_add(u32::from_le_bytes(length) as usize)?;
    (end <= content.len()).then_some((start, end))
}

fn record(kind: u8, rest: &[u8]) -> Option<Record<'_>> {
    let mut rest = rest;
    let rest = &mut rest;
    Some(match kind {
        RECEIVED | SENT | RECEIVED_WITHDRAWN | SENT_WITHDRAWN => Record::Message(Message {
            owner: take_number(rest)?,
            sequence: take_number(rest)?,
            direction: i64::from(matches!(kind, SENT | SENT_WITHDRAWN)),
            is_withdrawn: matches!(kind, RECEIVED_WITHDRAWN | SENT_WITHDRAWN),
            received_unix_ms: take_number(rest)?,
            identity: take(rest, 16)?.try_into().ok()?,
            peer: {
                let octets = usize::try_from(take_number(rest)?).ok()?;
                std::str::from_utf8(take(rest, octets)?).ok()?
            },
            request: rest,
        }),
        TAKEN => Record::Taken { owner: take_number(rest)?, through: take_number(rest)? },
        CURSOR => Record::Cursor {
            owner: take_number(rest)?,
            through: take_number(rest)?,
            seen_unix_ms: take_number(rest)?,
            device: std::str::from_utf8(rest).ok()?,
        },
        REMOVED => Record::Removed { owner: take_number(rest)? },
        GONE => Record::Gone,
        _ => return None,
    })
}

/// Appends a number, which is not negative.
pub(crate) fn number(content: &mut Vec<u8>, value: i64) {
    let mut value = value.unsigned_abs();
    while value >= 0x80 {
        content.push(value as u8 | 0x80);
        value >>= 7;
    }
    content.push(value as u8);
}

/// Takes a number off the front.
pub(crate) fn take_number(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (octet, behind) = rest.split_first()?;
        *rest = behind;
        value |= i64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes so many octets off the front.
pub(crate) fn take<'r>(rest: &mut &'r [u8], octets: usize) -> Option<&'r [u8]> {
    let (taken, behind) = rest.split_at_checked(octets)?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: i64) -> Message<'static> {
        Message {
            owner: 300,
            sequence,
            direction: sequence % 2,
            is_withdrawn: false,
            received_unix_ms: 1_790_000_000_000,
            identity: [9; 16],
            peer: "bob@contoso.example",
            request: b"MESSAGE",
        }
    }

    fn all() -> Vec<Record<'static>> {
        vec![
            Record::Message(message(1)),
            Record::Taken { owner: 0, through: i64::MAX },
            Record::Cursor { owner: 127, through: 128, seen_unix_ms: 16_384, device: "urn:uuid:\u{0}é" },
            Record::Message(Message { is_withdrawn: true, peer: "", request: b"", ..message(2) }),
            Record::Removed { owner: 5 },
        ]
    }

    fn packed(records: &[Record<'_>]) -> Vec<u8> {
        let mut content = Vec::new();
        records.iter().for_each(|record| push(&mut content, record));
        content
    }

    fn read(content: &[u8]) -> Result<Vec<Record<'_>>, Damaged> {
        records(content).map(|record| record.map(|(_, record)| record)).collect()
    }

    #[test]
    fn what_is_packed_is_read() {
        assert_eq!(read(&packed(&all())), Ok(all()));
        assert_eq!(read(&[]), Ok(vec![]));
    }

    #[test]
    fn records_change_where_they_stand() {
        let mut content = packed(&all());
        let length = content.len();
        let places: Vec<usize> = records(&content).map(|record| record.unwrap().0).collect();
        withdraw(&mut content, places[0]);
        erase(&mut content, places[3]);
        let mut expected = all();
        expected[0] = Record::Message(Message { is_withdrawn: true, ..message(1) });
        expected[3] = Record::Gone;
        assert_eq!(read(&content), Ok(expected));
        erase(&mut content, places[0]);
        assert_eq!(content.len(), length);
        assert!(!content.windows(7).any(|octets| octets == b"MESSAGE"), "nothing is left of it");
    }

    #[test]
    fn damage_is_told_and_never_panics() {
        let content = packed(&all());
        for cut in 1..content.len() {
            // A cut between two records is no damage that could be seen here.
            if let Ok(rest) = read(&content[..cut]) {
                assert!(rest.len() < all().len());
            }
        }
        for at in 0..content.len() {
            for octet in [0, 0x7f, 0x80, 0xff] {
                let mut damaged = content.clone();
                damaged[at] = octet;
                let _ = read(&damaged);
            }
        }
        assert_eq!(read(&[8, 0, 0, 0, 0]), Err(Damaged), "no such kind");
        assert_eq!(read(&[TAKEN, 1, 0, 0, 0, 0x80]), Err(Damaged), "a number without end");
    }
}
