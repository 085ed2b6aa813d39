//! Entries of call logs as the octets of a row: those of a commit, one behind the other.
//!
//! The frame of a record is that of [`pack`](crate::pack). Behind it stands:
//!
//! ```text
//! call = owner  began_unix_ms  id (16 octets)  lasted_ms  length of peer  peer  answered_at
//! ```
//!
//! The kind says besides who called and what became of it, so that whether a call was missed is known from its first octet.
//!
//! What this module is not: it knows neither tables nor users.

use records::{CallEnd, Direction};

use crate::pack::{self, Damaged, GONE};

/// The kind is this, and a direction, and an end. Other kinds are below, and not of calls.
const CALL: u8 = 0x40;
const SENT: u8 = 0x10;
const END: u8 = 0x0f;

/// An entry of somebody's call log. Numbers as SQL has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call<'r> {
    pub(crate) owner: i64,
    pub(crate) began_unix_ms: i64,
    pub(crate) id: [u8; 16],
    pub(crate) direction: Direction,
    pub(crate) end: CallEnd,
    pub(crate) lasted_ms: i64,
    pub(crate) peer: &'r str,
    pub(crate) answered_at: &'r str,
}

impl Call<'_> {
    /// Owner, when it began, and its id.
    pub(crate) fn key(&self) -> (i64, i64, [u8; 16]) {
        (self.owner, self.began_unix_ms, self.id)
    }
}

/// Appends a call.
pub(crate) fn push(content: &mut Vec<u8>, call: &Call<'_>) {
    pack::push_frame(content, |content| {
        pack::number(content, call.owner);
        pack::number(content, call.began_unix_ms);
        content.extend_from_slice(&call.id);
        pack::number(content, call.lasted_ms);
        pack::number(content, call.peer.len() as i64);
        content.extend_from_slice(call.peer.as_bytes());
        content.extend_from_slice(call.answered_at.as_bytes());
        let direction = match call.direction {
            Direction::Received => 0,
            Direction::Sent => SENT,
        };
        CALL | direction | end_number(call.end)
    });
}

/// All calls, each with the place at which it stands; those that were erased are left out.
pub(crate) fn calls(content: &[u8]) -> impl Iterator<Item = Result<(usize, Call<'_>), Damaged>> {
    pack::frames(content).filter_map(|frame| match frame {
        Ok((_, GONE, _)) => None,
        Ok((place, kind, rest)) => Some(call(kind, rest).map(|call| (place, call)).ok_or(Damaged)),
        Err(Damaged) => Some(Err(Damaged)),
    })
}

fn call(kind: u8, rest: &[u8]) -> Option<Call<'_>> {
    let mut rest = rest;
    let rest = &mut rest;
    let direction = match kind & !END {
        CALL => Direction::Received,
        kind if kind == CALL | SENT => Direction::Sent,
        _ => return None,
    };
    Some(Call {
        direction,
        end: end(i64::from(kind & END))?,
        owner: pack::take_number(rest)?,
        began_unix_ms: pack::take_number(rest)?,
        id: pack::take(rest, 16)?.try_into().ok()?,
        lasted_ms: pack::take_number(rest)?,
        peer: {
            let octets = usize::try_from(pack::take_number(rest)?).ok()?;
            std::str::from_utf8(pack::take(rest, octets)?).ok()?
        },
        answered_at: std::str::from_utf8(rest).ok()?,
    })
}

fn end_number(end: CallEnd) -> u8 {
    match end {
        CallEnd::Answered => 0,
        CallEnd::Forwarded => 1,
        CallEnd::Missed => 2,
        CallEnd::Refused => 3,
        CallEnd::Cancelled => 4,
        CallEnd::Failed => 5,
    }
}

/// What became of a call, of its number.
pub(crate) fn end(number: i64) -> Option<CallEnd> {
    CallEnd::ALL.iter().copied().find(|end| i64::from(end_number(*end)) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Call<'static>> {
        let call = |(n, end): (usize, &CallEnd)| Call {
            owner: 1 << n,
            began_unix_ms: 1_790_000_000_000,
            id: [n as u8; 16],
            direction: if n.is_multiple_of(2) { Direction::Received } else { Direction::Sent },
            end: *end,
            lasted_ms: n as i64 * 100,
            peer: "bob@contoso.example",
            answered_at: if n == 2 { "" } else { "desk\u{0}é" },
        };
        CallEnd::ALL.iter().enumerate().map(call).collect()
    }

    fn packed(calls: &[Call<'_>]) -> Vec<u8> {
        let mut content = Vec::new();
        calls.iter().for_each(|call| push(&mut content, call));
        content
    }

    fn read(content: &[u8]) -> Result<Vec<Call<'_>>, Damaged> {
        calls(content).map(|call| call.map(|(_, call)| call)).collect()
    }

    #[test]
    fn what_is_packed_is_read() {
        assert_eq!(read(&packed(&all())), Ok(all()));
        assert_eq!(read(&[]), Ok(vec![]));
    }

    #[test]
    fn what_is_erased_leaves_nothing() {
        let mut content = packed(&all()[..3]);
        let length = content.len();
        let places: Vec<usize> = calls(&content).map(|call| call.unwrap().0).collect();
        pack::erase(&mut content, places[1]);
        assert_eq!(read(&content), Ok(vec![all()[0], all()[2]]));
        pack::erase(&mut content, places[0]);
        pack::erase(&mut content, places[2]);
        assert_eq!((read(&content), content.len()), (Ok(vec![]), length));
        assert!(!content.windows(3).any(|octets| octets == b"bob"), "nothing is left of it");
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
            for octet in [0, 0x46, 0x7f, 0x80, 0xff] {
                let mut damaged = content.clone();
                damaged[at] = octet;
                let _ = read(&damaged);
            }
        }
        for kind in [0, CALL | 6, CALL | 0x20, 0xff] {
            let mut damaged = content.clone();
            damaged[0] = kind;
            assert_eq!(read(&damaged), Err(Damaged), "no such kind");
        }
    }
}
