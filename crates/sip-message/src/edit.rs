//! Forwarding: a message written anew from slices of the received one, with a few changes.
//!
//! Everything that is not named in an edit leaves as it came: order, spelling, folding, unknown headers, body.
//! Inserted headers stand before all others of the same message (a proxy's Via and Record-Route go on top) or behind the last header.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::lex::{self, Elements};
use crate::message::{Slot, StartLine};
use crate::{HeaderId, Message, ParseError};

/// A value as an edit is given it.
#[derive(Clone, Debug)]
pub struct Value<'m>(Cow<'m, [u8]>);

impl Value<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'m> From<&'m str> for Value<'m> {
    fn from(text: &'m str) -> Value<'m> {
        Value(Cow::Borrowed(text.as_bytes()))
    }
}

impl<'m> From<&'m [u8]> for Value<'m> {
    fn from(octets: &'m [u8]) -> Value<'m> {
        Value(Cow::Borrowed(octets))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value(Cow::Owned(text.into_bytes()))
    }
}

impl<'m> From<&'m String> for Value<'m> {
    fn from(text: &'m String) -> Value<'m> {
        Value::from(text.as_str())
    }
}

impl<'m> From<Cow<'m, str>> for Value<'m> {
    fn from(text: Cow<'m, str>) -> Value<'m> {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

/// Changes to a message, applied in one pass by [`Edit::write`]. Each command may be given once per header; commands on
/// different headers are independent. [`Edit::remove_elements`] and [`Edit::replace_first_element`] of the same header
/// add up: what is replaced is the first element that remains. Of other commands on one header the last one counts;
/// inserted and appended lines are never touched by them. Content-Length belongs to [`Edit::write`]: commands on it do
/// nothing.
///
/// Values come without CRLF; a CR or LF in one leaves as a blank, so that no value can bring a header of its own.
pub struct Edit<'m> {
    message: &'m Message,
    request_uri: Option<&'m str>,
    first: SmallVec<[(HeaderId, Value<'m>); 4]>,
    last: SmallVec<[(&'static str, Value<'m>); 4]>,
    changes: SmallVec<[(Target, Change<'m>); CHANGES_INLINE]>,
    /// Which ids have a change.
    changed: Ids,
    body: Option<Bytes>,
}

/// Changes that are kept without an allocation: a proxy makes six, and up to twelve at the server that keeps a message.
const CHANGES_INLINE: usize = 12;

/// A set of headers.
#[derive(Clone, Copy, Default)]
struct Ids([u64; 2]);

impl Ids {
    fn insert(&mut self, id: HeaderId) {
        self.0[id as usize / 64] |= 1 << (id as usize % 64);
    }

    #[inline]
    fn contains(&self, id: HeaderId) -> bool {
        self.0[id as usize / 64] & 1 << (id as usize % 64) != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Id(HeaderId),
    /// A name without an id.
    Name(&'static str),
}

#[derive(Clone, Debug)]
enum Change<'m> {
    Remove,
    Set(Value<'m>),
    Elements { removed: usize, replacement: Option<Value<'m>> },
}

impl<'m> Edit<'m> {
    /// No change yet.
    pub fn new(message: &'m Message) -> Edit<'m> {
        Edit {
            message,
            request_uri: None,
            first: SmallVec::new(),
            last: SmallVec::new(),
            changes: SmallVec::new(),
            changed: Ids::default(),
            body: None,
        }
    }

    /// Another Request-URI.
    pub fn request_uri(&mut self, uri: &'m str) -> &mut Self {
        self.request_uri = Some(uri);
        self
    }

    /// A header line at the top, without CRLF in `value`. Lines given first stand first.
    pub fn insert_first(&mut self, id: HeaderId, value: impl Into<Value<'m>>) -> &mut Self {
        if id != HeaderId::ContentLength {
            self.first.push((id, value.into()));
        }
        self
    }

    /// A header line behind the last one.
    pub fn append(&mut self, id: HeaderId, value: impl Into<Value<'m>>) -> &mut Self {
        self.append_named(id.name(), value)
    }

    /// The same for a header without an id.
    pub fn append_named(&mut self, name: &'static str, value: impl Into<Value<'m>>) -> &mut Self {
        if HeaderId::from_name(name.as_bytes()) != HeaderId::ContentLength {
            self.last.push((name, value.into()));
        }
        self
    }

    /// All lines of a header are left out.
    pub fn remove(&mut self, id: HeaderId) -> &mut Self {
        self.change(Target::Id(id), Change::Remove)
    }

    /// All lines of a header whose name (any case) is this are left out.
    pub fn remove_named(&mut self, name: &'static str) -> &mut Self {
        match HeaderId::from_name(name.as_bytes()) {
            HeaderId::Other => self.change(Target::Name(name), Change::Remove),
            id => self.remove(id),
        }
    }

    /// The first `count` elements of a comma-separated header (Via, Route) are left out; the rest stays as written.
    pub fn remove_elements(&mut self, id: HeaderId, count: usize) -> &mut Self {
        let replacement = self.replacement(id);
        self.change(Target::Id(id), Change::Elements { removed: count, replacement })
    }

    /// The first element of a comma-separated header (the topmost Via) is replaced.
    pub fn replace_first_element(&mut self, id: HeaderId, element: impl Into<Value<'m>>) -> &mut Self {
        let removed = match self.change_of(Target::Id(id)) {
            Some(Change::Elements { removed, .. }) => *removed,
            _ => 0,
        };
        let replacement = Some(element.into());
        self.change(Target::Id(id), Change::Elements { removed, replacement })
    }

    /// The header gets this one value: the first line is rewritten, further ones go; appended if there was none.
    pub fn set(&mut self, id: HeaderId, value: impl Into<Value<'m>>) -> &mut Self {
        self.change(Target::Id(id), Change::Set(value.into()))
    }

    /// Another body; sets Content-Length, and Content-Type if given.
    pub fn body(&mut self, content_type: Option<&'m str>, body: Bytes) -> &mut Self {
        self.body = Some(body);
        match content_type {
            Some(content_type) => self.set(HeaderId::ContentType, content_type),
            None => self,
        }
    }

    /// The edited message. Content-Length is there and right afterwards, also where the received message had none.
    pub fn write(&self) -> Bytes {
        self.write_noting(&mut ()).into()
    }

    /// The edited message, indexed while it is written: what [`Message::parse`] gives for [`Edit::write`], for less. An error where the edit
    /// made it larger than messages may be.
    ///
    /// The message under edit must be one that `parse` let pass.
    pub fn write_message(&self) -> Result<Message, ParseError> {
        let mut noted = Noted::default();
        let bytes = Bytes::from(self.write_noting(&mut noted));
        let body_length = self.body.as_deref().unwrap_or(self.message.body()).len();
        match Message::of_lines(&bytes, self.message, body_length, &noted.lines) {
            Some(message) => Ok(message),
            None => Message::parse(bytes),
        }
    }

    fn write_noting(&self, note: &mut impl Note) -> Vec<u8> {
        let message = self.message;
        let body = self.body.as_deref().unwrap_or(message.body());
        let mut out = Vec::with_capacity(self.size(body.len()));
        self.write_start_line(&mut out);
        for (id, value) in &self.first {
            note.line(out.len());
            write_line(&mut out, id.name(), &value.0);
        }
        let kept = self.write_kept_lines(&mut out, body.len(), note);
        for (name, value) in &self.last {
            note.line(out.len());
            write_line(&mut out, name, &value.0);
        }
        for ((target, change), state) in self.changes.iter().zip(&kept.states) {
            if let (Target::Id(id), Change::Set(value), false) = (target, change, state.is_done) {
                note.line(out.len());
                write_line(&mut out, id.name(), &value.0);
            }
        }
        if !kept.has_length {
            note.line(out.len());
            write_content_length(&mut out, body.len());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        out
    }

    fn change(&mut self, target: Target, change: Change<'m>) -> &mut Self {
        let id = match target {
            Target::Id(HeaderId::ContentLength) => return self,
            Target::Id(id) => id,
            Target::Name(_) => HeaderId::Other,
        };
        let earlier = match self.changed.contains(id) {
            false => None,
            true => self.changes.iter_mut().find(|(found, _)| *found == target),
        };
        match earlier {
            Some((_, found)) => *found = change,
            None => self.changes.push((target, change)),
        }
        self.changed.insert(id);
        self
    }

    fn replacement(&self, id: HeaderId) -> Option<Value<'m>> {
        match self.change_of(Target::Id(id)) {
            Some(Change::Elements { replacement, .. }) => replacement.clone(),
            _ => None,
        }
    }

    fn change_of(&self, target: Target) -> Option<&Change<'m>> {
        self.changes.iter().find(|(found, _)| *found == target).map(|(_, change)| change)
    }

    /// At least what the output needs, so that it is allocated once.
    fn size(&self, body_length: usize) -> usize {
        // Name (the longest is 22), colon, blank, CRLF.
        const LINE_OVERHEAD: usize = 32;
        let first: usize = self.first.iter().map(|(_, value)| value.len() + LINE_OVERHEAD).sum();
        let last: usize =
            self.last.iter().map(|(name, value)| name.len() + value.len() + LINE_OVERHEAD).sum();
        let changes: usize = self.changes.iter().map(|(_, change)| change.size() + LINE_OVERHEAD).sum();
        let uri = self.request_uri.map_or(0, str::len);
        usize::from(self.message.parsed.body_start)
            + body_length
            + first
            + last
            + changes
            + uri
            + LINE_OVERHEAD
    }

    fn write_start_line(&self, out: &mut Vec<u8>) {
        let line = &self.message.parsed.bytes[..usize::from(self.message.parsed.headers_start)];
        match (self.message.parsed.start, self.request_uri) {
            (StartLine::Request { uri_start, uri_end, .. }, Some(uri)) => {
                out.extend_from_slice(&line[..usize::from(uri_start)]);
                write_uri(out, uri);
                out.extend_from_slice(&line[usize::from(uri_end)..]);
            }
            _ => out.extend_from_slice(line),
        }
    }

    /// The received lines with the changes; untouched neighbours are copied together.
    fn write_kept_lines(&self, out: &mut Vec<u8>, body_length: usize, note: &mut impl Note) -> Kept {
        let message = self.message;
        let bytes = &message.parsed.bytes[..];
        let slots = &message.parsed.slots[..];
        let mut states: SmallVec<[State; CHANGES_INLINE]> =
            SmallVec::from_elem(State::default(), self.changes.len());
        let mut has_length = false;
        let mut kept_from = message.parsed.headers_start;
        let mut kept_from_slot = 0;
        let mut changed = self.changed;
        changed.insert(HeaderId::ContentLength);
        for (i, slot) in slots.iter().enumerate() {
            if !changed.contains(slot.id) {
                continue;
            }
            let change = match slot.id {
                HeaderId::ContentLength => {
                    has_length = true;
                    // A received Content-Length is right as long as the body is the received one.
                    if self.body.is_none() {
                        continue;
                    }
                    None
                }
                _ => match self.changes.iter().position(|(target, _)| self.is_meant(*target, slot)) {
                    None => continue,
                    change => change,
                },
            };
            // What is behind the elements that go stays with its neighbours.
            if let Some(change) = change
                && states[change].is_done
                && let Change::Elements { .. } = self.changes[change].1
            {
                continue;
            }
            note.kept(kept_from_slot..i, kept_from, out.len());
            out.extend_from_slice(&bytes[usize::from(kept_from)..usize::from(slot.start)]);
            let line_end = slots.get(i + 1).map_or(message.parsed.headers_end, |next| next.start);
            (kept_from, kept_from_slot) = (line_end, i + 1);
            let line = Line { bytes: &bytes[usize::from(slot.start)..usize::from(line_end)], slot };
            let start = out.len();
            match change {
                None => line.write_length(out, body_length),
                Some(change) => match &self.changes[change].1 {
                    Change::Remove => {}
                    Change::Set(value) => {
                        if !states[change].is_done {
                            out.extend_from_slice(line.name());
                            out.extend_from_slice(b": ");
                            write_value(out, &value.0);
                            out.extend_from_slice(b"\r\n");
                        }
                        states[change].is_done = true;
                    }
                    Change::Elements { removed, replacement } => {
                        let replacement = replacement.as_ref().map(|value| &*value.0);
                        line.write_elements(out, *removed, replacement, &mut states[change]);
                    }
                },
            }
            if out.len() > start {
                note.line(start);
            }
        }
        note.kept(kept_from_slot..slots.len(), kept_from, out.len());
        out.extend_from_slice(&bytes[usize::from(kept_from)..usize::from(message.parsed.headers_end)]);
        Kept { states, has_length }
    }

    fn is_meant(&self, target: Target, slot: &Slot) -> bool {
        match target {
            Target::Id(id) => id == slot.id,
            Target::Name(name) => {
                let found = &self.message.parsed.bytes[usize::from(slot.start)..usize::from(slot.name_end)];
                slot.id == HeaderId::Other && found.eq_ignore_ascii_case(name.as_bytes())
            }
        }
    }
}

impl Change<'_> {
    fn size(&self) -> usize {
        match self {
            Change::Remove | Change::Elements { replacement: None, .. } => 0,
            Change::Set(value) | Change::Elements { replacement: Some(value), .. } => value.len(),
        }
    }
}

/// What was seen of the received lines.
struct Kept {
    /// Of each change.
    states: SmallVec<[State; CHANGES_INLINE]>,
    /// Whether there is a Content-Length.
    has_length: bool,
}

/// How far a change of a header that has several lines has come.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Elements left out so far.
    removed: usize,
    /// Whether nothing of the change is left to do.
    is_done: bool,
}

/// What is told while a message is written.
trait Note {
    /// A line that is new or changed is written at `at`.
    fn line(&mut self, at: usize);

    /// The received lines of these slots are written as they came: what stood at `from` of the received message stands at `at`.
    fn kept(&mut self, slots: Range<usize>, from: u16, at: usize);
}

impl Note for () {
    fn line(&mut self, _at: usize) {}

    fn kept(&mut self, _slots: Range<usize>, _from: u16, _at: usize) {}
}

/// Lines of a written message, in order.
pub(crate) enum Written {
    /// One that is new or changed, and where it begins.
    Line { at: usize },
    /// Those of some slots of the received message; what stood at `from` there stands at `at`.
    Kept { slots: Range<usize>, from: u16, at: usize },
}

/// As many as an edit usually makes are noted without an allocation.
#[derive(Default)]
struct Noted {
    lines: SmallVec<[Written; 8]>,
}

impl Note for Noted {
    fn line(&mut self, at: usize) {
        self.lines.push(Written::Line { at });
    }

    fn kept(&mut self, slots: Range<usize>, from: u16, at: usize) {
        if !slots.is_empty() {
            self.lines.push(Written::Kept { slots, from, at });
        }
    }
}

/// A received line, CRLF included.
struct Line<'a> {
    bytes: &'a [u8],
    slot: &'a Slot,
}

impl<'a> Line<'a> {
    fn name(&self) -> &'a [u8] {
        &self.bytes[..usize::from(self.slot.name_end - self.slot.start)]
    }

    /// Name, colon and blanks.
    fn head(&self) -> &'a [u8] {
        &self.bytes[..usize::from(self.slot.value_start - self.slot.start)]
    }

    fn value(&self) -> &'a [u8] {
        let start = usize::from(self.slot.value_start - self.slot.start);
        &self.bytes[start..usize::from(self.slot.value_end - self.slot.start)]
    }

    /// Another length in place of the received one.
    fn write_length(&self, out: &mut Vec<u8>, length: usize) {
        out.extend_from_slice(self.head());
        write_decimal(out, length);
        out.extend_from_slice(&self.bytes[usize::from(self.slot.value_end - self.slot.start)..]);
    }

    fn write_elements(
        &self,
        out: &mut Vec<u8>,
        removed: usize,
        replacement: Option<&[u8]>,
        state: &mut State,
    ) {
        for element in Elements::of(self.value()) {
            if state.removed < removed {
                state.removed += 1;
                continue;
            }
            state.is_done = true;
            let start = element.as_ptr().addr() - self.bytes.as_ptr().addr();
            out.extend_from_slice(self.head());
            match replacement {
                Some(replacement) => {
                    write_value(out, replacement);
                    out.extend_from_slice(&self.bytes[start + element.len()..]);
                }
                None => out.extend_from_slice(&self.bytes[start..]),
            }
            return;
        }
    }
}

pub(crate) fn write_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    write_value(out, value);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn write_content_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(b"Content-Length: ");
    write_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

fn write_decimal(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A URI of a start line; blanks and line ends, which no URI holds, are left out.
pub(crate) fn write_uri(out: &mut Vec<u8>, uri: &str) {
    if lex::are_graphic(uri.as_bytes()) {
        return out.extend_from_slice(uri.as_bytes());
    }
    out.extend(uri.bytes().filter(|byte| !matches!(byte, b' ' | b'\r' | b'\n')));
}

/// A value in one line, whatever it holds.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &[u8]) {
    let start = out.len();
    out.extend_from_slice(value);
    if holds_control(value) {
        blank_line_ends(&mut out[start..]);
    }
}

#[cold]
pub(crate) fn blank_line_ends(value: &mut [u8]) {
    for byte in value {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}

/// Whether an octet is below 0x20, as CR and LF are. Values are too short for the start-up of a vector search.
#[inline]
fn holds_control(value: &[u8]) -> bool {
    let controls = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        word.wrapping_sub(u64::from_le_bytes([0x20; 8])) & !word & u64::from_le_bytes([0x80; 8])
    };
    match value.last_chunk() {
        Some(last) => {
            let (words, _) = value.as_chunks();
            words.iter().fold(controls(last), |found, word| found | controls(word)) != 0
        }
        None => value.iter().any(|byte| *byte < 0x20),
    }
}
