//! One user's mailbox as its home holds it: how far each device has got, and the newest messages.
//!
//! Delivery is oldest first and one at a time for each device. What is older than the memory of the newest is fetched from storage in
//! pages. A message stands here only once it is durable. While the user is not to be disturbed only what is released goes out.
//! Pure bookkeeping: sending and storing, and who may release, is the caller's.

use std::collections::{BTreeMap, VecDeque};

use records::{DeviceKey, MailboxRecord, Sequence};
use sip_message::Message;
use sip_stack::stack::OwnRequest;
use smallvec::SmallVec;

/// Newest messages of a user that are held in memory while devices are signed in; a device that is further behind reads from storage.
const RECENT_MAX: usize = 32;
/// Messages that are fetched from storage at once: enough to keep a device busy, few enough to hold for every device that comes back in a storm.
pub(crate) const PAGE: u32 = 16;

/// Names a signed-in device within this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeviceId(pub(crate) u64);

/// A mailbox.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    /// The highest sequence given.
    last: Sequence,
    /// The highest sequence that is durable.
    durable: Sequence,
    /// Everything up to it was taken by at least one device.
    taken: Sequence,
    taken_is_unwritten: bool,
    /// Everything up to it may go out though the user is not to be disturbed. Forgotten at a restart: then it waits.
    released: Sequence,
    /// Cursors of devices that can be recognised, signed in or not.
    cursors: BTreeMap<DeviceKey, Cursor>,
    /// Signed-in devices, in order of sign-in.
    devices: Vec<Device>,
    /// Devices that are gone while a message is on its way to them: their answer may yet come.
    departed: BTreeMap<DeviceId, Option<DeviceKey>>,
    /// Durable messages behind `recent_after`, all of them.
    recent: VecDeque<(Sequence, Message)>,
    recent_after: Sequence,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    through: Sequence,
    is_unwritten: bool,
}

#[derive(Debug)]
struct Device {
    id: DeviceId,
    key: Option<DeviceKey>,
    cursor: Sequence,
    state: DeviceState,
    /// Older messages, read from storage.
    fetched: VecDeque<(Sequence, Message)>,
    /// Nothing between the cursor and this is in storage beyond `fetched`.
    fetched_through: Sequence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeviceState {
    Idle,
    /// As what it was sent, as soon as it was.
    Delivering(Sequence, Option<OwnRequest>),
    Fetching(Sequence),
    /// It did not answer; it is tried again when it registers, or after a while.
    Unreachable,
}

/// What is to be done for a device.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it is taken apart where it is returned")]
pub(crate) enum Next {
    /// Send it this message; tell with `sent` as what, and with `took`, `refused` or `unreachable` what became of it.
    Deliver(Sequence, Message),
    /// Read a page behind this; tell with `fetched`.
    Fetch(Sequence),
    /// Nothing now.
    Nothing,
}

/// Copies that nobody needs any more.
pub(crate) type Superseded = SmallVec<[OwnRequest; 1]>;

/// What must be written about a mailbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) taken: Option<Sequence>,
    pub(crate) cursors: Vec<(DeviceKey, Sequence)>,
}

impl Mailbox {
    /// As storage knows it.
    pub(crate) fn load(record: MailboxRecord) -> Mailbox {
        let cursors =
            record.cursors.into_iter().map(|(key, through)| (key, Cursor { through, is_unwritten: false }));
        Mailbox {
            last: record.last,
            durable: record.last,
            taken: record.taken,
            cursors: cursors.collect(),
            recent_after: record.last,
            ..Mailbox::default()
        }
    }

    /// The place of a new message.
    pub(crate) fn allot(&mut self) -> Sequence {
        self.last.0 += 1;
        self.last
    }

    /// A message became durable.
    pub(crate) fn stored(&mut self, sequence: Sequence, message: Message) {
        self.durable = self.durable.max(sequence);
        if self.devices.is_empty() {
            self.recent.clear();
            self.recent_after = self.durable;
            return;
        }
        self.recent.push_back((sequence, message));
        if self.recent.len() > RECENT_MAX {
            self.forget_oldest();
        }
    }

    /// A message, and all before it, does not wait for the end of do-not-disturb.
    pub(crate) fn release(&mut self, sequence: Sequence) {
        self.released = self.released.max(sequence);
    }

    /// A device signs in, or registers again: then it is only tried again if it did not answer.
    pub(crate) fn attach(&mut self, id: DeviceId, key: Option<DeviceKey>) {
        if self.wake(id) {
            return;
        }
        let taken = self.taken;
        let cursor = match &key {
            Some(key) => {
                let new = Cursor { through: taken, is_unwritten: true };
                self.cursors.entry(key.clone()).or_insert(new).through
            }
            None => taken,
        };
        let (fetched, fetched_through) = (VecDeque::new(), cursor);
        self.devices.push(Device { id, key, cursor, state: DeviceState::Idle, fetched, fetched_through });
    }

    /// A device is gone. Gives what is on its way to it: it may have it already, but must not be tried elsewhere,
    /// where it may come back under another name and get it as such.
    pub(crate) fn detach(&mut self, id: DeviceId) -> Option<OwnRequest> {
        let at = self.devices.iter().position(|d| d.id == id)?;
        let gone = self.devices.remove(at);
        if self.devices.is_empty() {
            self.recent.clear();
            self.recent_after = self.durable;
        }
        let DeviceState::Delivering(_, request) = gone.state else { return None };
        self.departed.insert(id, gone.key);
        request
    }

    /// What [`Mailbox::next`] gave for a device was sent.
    pub(crate) fn sent(&mut self, id: DeviceId, as_what: OwnRequest) {
        let device = self.devices.iter_mut().find(|d| d.id == id);
        if let Some(DeviceState::Delivering(_, request)) = device.map(|d| &mut d.state) {
            *request = Some(as_what);
        }
    }

    /// What to do for a device now; while it is quiet, what is not released waits.
    pub(crate) fn next(&mut self, id: DeviceId, is_quiet: bool) -> Next {
        let (durable, recent_after) = (self.durable, self.recent_after);
        let until = if is_quiet { self.released.min(durable) } else { durable };
        let Some(device) = self.devices.iter_mut().find(|d| d.id == id) else { return Next::Nothing };
        if device.state != DeviceState::Idle {
            return Next::Nothing;
        }
        // It may have got further than where a page begins under the name that it had before.
        while device.fetched.front().is_some_and(|(sequence, _)| *sequence <= device.cursor) {
            device.fetched.pop_front();
        }
        if device.fetched.front().is_some_and(|(sequence, _)| *sequence > until) {
            return Next::Nothing;
        }
        if let Some((sequence, message)) = device.fetched.pop_front() {
            device.state = DeviceState::Delivering(sequence, None);
            return Next::Deliver(sequence, message);
        }
        device.cursor = device.cursor.max(device.fetched_through);
        if device.cursor >= until {
            return Next::Nothing;
        }
        if device.cursor < recent_after {
            device.state = DeviceState::Fetching(durable);
            return Next::Fetch(device.cursor);
        }
        let cursor = device.cursor;
        match self.recent.iter().find(|(sequence, _)| *sequence > cursor) {
            Some((sequence, message)) if *sequence <= until => {
                device.state = DeviceState::Delivering(*sequence, None);
                Next::Deliver(*sequence, message.clone())
            }
            _ => Next::Nothing,
        }
    }

    /// A page came from storage; `is_last` where it was not full. An error gives `None`: the device waits.
    pub(crate) fn fetched(&mut self, id: DeviceId, page: Option<Vec<(Sequence, Message)>>, is_last: bool) {
        let Some(device) = self.devices.iter_mut().find(|d| d.id == id) else { return };
        let DeviceState::Fetching(durable_then) = device.state else { return };
        let Some(page) = page else {
            device.state = DeviceState::Unreachable;
            return;
        };
        device.state = DeviceState::Idle;
        let through = if is_last { durable_then } else { page.last().map_or(durable_then, |(s, _)| *s) };
        device.fetched_through = device.fetched_through.max(through);
        device.fetched = page.into();
    }

    /// A device took what was delivered to it. Gives the copies of it that are on their way to the same device under
    /// another name: nobody needs them any more.
    pub(crate) fn took(&mut self, id: DeviceId, sequence: Sequence) -> Superseded {
        if self.taken < sequence {
            self.taken = sequence;
            self.taken_is_unwritten = true;
        }
        self.pass(id, sequence)
    }

    /// A device will never take what was delivered to it. Gives whether some other device may yet take it, and the
    /// copies that nobody needs any more as [`Mailbox::took`] does.
    pub(crate) fn refused(&mut self, id: DeviceId, sequence: Sequence) -> (bool, Superseded) {
        let superseded = self.pass(id, sequence);
        (self.devices.iter().any(|d| d.cursor < sequence), superseded)
    }

    /// A device did not answer.
    pub(crate) fn unreachable(&mut self, id: DeviceId, sequence: Sequence) {
        self.departed.remove(&id);
        let is_delivering =
            |d: &&mut Device| d.id == id && matches!(d.state, DeviceState::Delivering(s, _) if s == sequence);
        if let Some(device) = self.devices.iter_mut().find(is_delivering) {
            device.state = DeviceState::Unreachable;
            // What it is behind comes from storage when it is back.
            device.fetched.clear();
            device.fetched_through = device.cursor;
            debug_assert!(device.cursor < sequence, "only what is not taken yet is delivered");
        }
    }

    /// A device that did not answer is to be tried again. Gives whether it is signed in.
    pub(crate) fn wake(&mut self, id: DeviceId) -> bool {
        let Some(device) = self.devices.iter_mut().find(|d| d.id == id) else { return false };
        if device.state == DeviceState::Unreachable {
            device.state = DeviceState::Idle;
        }
        true
    }

    /// What must be written, once.
    pub(crate) fn take_marks(&mut self) -> Marks {
        let mut marks = Marks::default();
        if std::mem::take(&mut self.taken_is_unwritten) {
            marks.taken = Some(self.taken);
        }
        for (key, cursor) in &mut self.cursors {
            if std::mem::take(&mut cursor.is_unwritten) {
                marks.cursors.push((key.clone(), cursor.through));
            }
        }
        marks
    }

    /// What was to be written is not: it is to be written again.
    pub(crate) fn marks_not_written(&mut self) {
        self.taken_is_unwritten = true;
        for cursor in self.cursors.values_mut() {
            cursor.is_unwritten = true;
        }
    }

    /// Messages that no device has taken.
    pub(crate) fn waiting(&self) -> u64 {
        self.last.0 - self.taken.0
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.devices.iter().map(|d| d.id)
    }

    pub(crate) fn has_devices(&self) -> bool {
        !self.devices.is_empty()
    }

    /// Whether the user has a device besides `origin` that wants copies of what is sent, now or when it is back.
    pub(crate) fn has_other_devices(&self, origin: Option<DeviceId>) -> bool {
        let origin_key =
            origin.and_then(|o| self.devices.iter().find(|d| d.id == o)).and_then(|d| d.key.as_ref());
        self.devices.iter().any(|d| Some(d.id) != origin)
            || self.cursors.keys().any(|k| Some(k) != origin_key)
    }

    /// The device that sent a message needs no copy of it; gives whether it was just about to get one.
    pub(crate) fn skip(&mut self, id: DeviceId, sequence: Sequence) {
        let Some(device) = self.devices.iter_mut().find(|d| d.id == id) else { return };
        // Only if nothing older waits for it: else it sees its own message again, and can tell by its identity.
        if device.state == DeviceState::Idle && device.cursor.0 + 1 == sequence.0 {
            self.pass(id, sequence);
        }
    }

    /// Moves a device past a message that was in delivery.
    fn pass(&mut self, id: DeviceId, sequence: Sequence) -> Superseded {
        let mut superseded = Superseded::new();
        let at = self.devices.iter().position(|d| d.id == id);
        // A device that is there gets its key back below.
        let key = match at {
            Some(at) => {
                let device = &mut self.devices[at];
                // Its answer may come when the answer to another copy has moved it on.
                if matches!(device.state, DeviceState::Delivering(s, _) if s <= sequence) {
                    device.state = DeviceState::Idle;
                }
                device.cursor = device.cursor.max(sequence);
                device.key.take()
            }
            None => self.departed.remove(&id).flatten(),
        };
        if let Some(key) = key {
            // The same device may have signed in again meanwhile, under another name.
            for device in self.devices.iter_mut().filter(|d| d.key.as_ref() == Some(&key)) {
                device.cursor = device.cursor.max(sequence);
                if let DeviceState::Delivering(outstanding, request) = device.state
                    && outstanding <= sequence
                {
                    device.state = DeviceState::Idle;
                    superseded.extend(request);
                }
            }
            let cursor = self.cursors.get_mut(&key).expect("a device with a key has a cursor");
            cursor.through = cursor.through.max(sequence);
            cursor.is_unwritten = true;
            if let Some(at) = at {
                self.devices[at].key = Some(key);
            }
        }
        let slowest = self.devices.iter().map(|d| d.cursor).min().unwrap_or(self.durable);
        while self.recent.front().is_some_and(|(s, _)| *s <= slowest) {
            self.forget_oldest();
        }
        superseded
    }

    fn forget_oldest(&mut self) {
        if let Some((sequence, _)) = self.recent.pop_front() {
            self.recent_after = sequence;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const PHONE: DeviceId = DeviceId(1);
    const DESK: DeviceId = DeviceId(2);

    fn message() -> Message {
        Message::parse(Bytes::from_static(b"MESSAGE sip:a@b.example SIP/2.0\r\nContent-Length: 0\r\n\r\n"))
            .unwrap()
    }

    fn arrive(mailbox: &mut Mailbox) -> Sequence {
        let sequence = mailbox.allot();
        mailbox.stored(sequence, message());
        sequence
    }

    fn next(mailbox: &mut Mailbox, device: DeviceId) -> String {
        show(mailbox.next(device, false))
    }

    fn next_while_quiet(mailbox: &mut Mailbox, device: DeviceId) -> String {
        show(mailbox.next(device, true))
    }

    fn show(next: Next) -> String {
        match next {
            Next::Deliver(s, _) => format!("deliver {}", s.0),
            Next::Fetch(s) => format!("fetch after {}", s.0),
            Next::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn messages_go_out_oldest_first_and_one_at_a_time() {
        let mut mailbox = Mailbox::default();
        mailbox.attach(PHONE, None);
        let first = arrive(&mut mailbox);
        arrive(&mut mailbox);
        assert_eq!(next(&mut mailbox, PHONE), "deliver 1");
        assert_eq!(next(&mut mailbox, PHONE), "nothing", "one is outstanding");
        mailbox.took(PHONE, first);
        assert_eq!(next(&mut mailbox, PHONE), "deliver 2");
        assert_eq!(mailbox.take_marks(), Marks { taken: Some(first), cursors: vec![] });
        assert_eq!(mailbox.take_marks(), Marks::default());
    }

    #[test]
    fn while_it_is_quiet_only_what_is_released_goes_out() {
        let mut mailbox = Mailbox::default();
        mailbox.attach(PHONE, None);
        let (first, second) = (arrive(&mut mailbox), arrive(&mut mailbox));
        let third = arrive(&mut mailbox);
        assert_eq!(next_while_quiet(&mut mailbox, PHONE), "nothing");
        mailbox.release(second);
        mailbox.release(first);
        assert_eq!(next_while_quiet(&mut mailbox, PHONE), "deliver 1");
        mailbox.took(PHONE, first);
        assert_eq!(next_while_quiet(&mut mailbox, PHONE), "deliver 2");
        mailbox.took(PHONE, second);
        assert_eq!(next_while_quiet(&mut mailbox, PHONE), "nothing");
        assert_eq!(mailbox.waiting(), 1);
        assert_eq!(next(&mut mailbox, PHONE), "deliver 3");
        mailbox.took(PHONE, third);
        assert_eq!(mailbox.waiting(), 0);
    }

    #[test]
    fn what_was_fetched_waits_as_well() {
        let mut mailbox = Mailbox::default();
        let (first, second) = (arrive(&mut mailbox), arrive(&mut mailbox));
        mailbox.attach(PHONE, None);
        assert_eq!(next_while_quiet(&mut mailbox, PHONE), "nothing", "there is nothing to fetch for");
        mailbox.release(first);
        assert_eq!(next_while_quiet(&mut mailbox, PHONE), "fetch after 0");
        mailbox.fetched(PHONE, Some(vec![(first, message()), (second, message())]), true);
        assert_eq!(next_while_quiet(&mut mailbox, PHONE), "deliver 1");
        mailbox.took(PHONE, first);
        assert_eq!(next_while_quiet(&mut mailbox, PHONE), "nothing");
        assert_eq!(next(&mut mailbox, PHONE), "deliver 2");
    }

    #[test]
    fn what_came_while_nobody_was_there_is_fetched() {
        let mut mailbox = Mailbox::default();
        for _ in 0..3 {
            arrive(&mut mailbox);
        }
        mailbox.attach(PHONE, None);
        assert_eq!(next(&mut mailbox, PHONE), "fetch after 0");
        assert_eq!(next(&mut mailbox, PHONE), "nothing");
        let fourth = arrive(&mut mailbox);
        let page = (1..=3).map(|n| (Sequence(n), message())).collect();
        mailbox.fetched(PHONE, Some(page), true);
        for n in 1..=3 {
            assert_eq!(next(&mut mailbox, PHONE), format!("deliver {n}"));
            mailbox.took(PHONE, Sequence(n));
        }
        assert_eq!(next(&mut mailbox, PHONE), "deliver 4");
        mailbox.took(PHONE, fourth);
        assert_eq!(next(&mut mailbox, PHONE), "nothing");
        assert_eq!(mailbox.waiting(), 0);
    }

    #[test]
    fn a_known_device_gets_what_others_took_while_it_was_away() {
        let mut mailbox = Mailbox::default();
        let key = DeviceKey("urn:uuid:1".to_owned());
        mailbox.attach(PHONE, Some(key.clone()));
        mailbox.detach(PHONE);
        mailbox.attach(DESK, None);
        let first = arrive(&mut mailbox);
        assert_eq!(next(&mut mailbox, DESK), "deliver 1");
        mailbox.took(DESK, first);
        mailbox.attach(DeviceId(3), Some(key));
        assert_eq!(next(&mut mailbox, DeviceId(3)), "fetch after 0");
        mailbox.attach(DeviceId(4), None);
        assert_eq!(next(&mut mailbox, DeviceId(4)), "nothing", "a new device gets only what nobody took");
    }

    #[test]
    fn a_refused_message_waits_for_other_devices_only() {
        let mut mailbox = Mailbox::default();
        mailbox.attach(PHONE, None);
        mailbox.attach(DESK, None);
        let first = arrive(&mut mailbox);
        let _ = (mailbox.next(PHONE, false), mailbox.next(DESK, false));
        assert!(mailbox.refused(PHONE, first).0, "the desk may take it");
        assert!(!mailbox.refused(DESK, first).0, "nobody is left");
    }

    #[test]
    fn a_device_that_did_not_answer_is_tried_again() {
        let mut mailbox = Mailbox::default();
        mailbox.attach(PHONE, None);
        let first = arrive(&mut mailbox);
        assert_eq!(next(&mut mailbox, PHONE), "deliver 1");
        mailbox.unreachable(PHONE, first);
        assert_eq!(next(&mut mailbox, PHONE), "nothing");
        mailbox.attach(PHONE, None);
        assert_eq!(next(&mut mailbox, PHONE), "deliver 1");
    }

    #[test]
    fn an_answer_counts_also_when_the_device_is_gone_by_then() {
        let mut mailbox = Mailbox::default();
        let key = DeviceKey("urn:uuid:1".to_owned());
        mailbox.attach(PHONE, Some(key.clone()));
        let first = arrive(&mut mailbox);
        assert_eq!(next(&mut mailbox, PHONE), "deliver 1");
        mailbox.detach(PHONE);
        mailbox.attach(DESK, Some(key));
        mailbox.took(PHONE, first);
        assert_eq!(next(&mut mailbox, DESK), "nothing", "it has it already");
        assert_eq!(mailbox.waiting(), 0);
    }

    #[test]
    fn an_answer_moves_the_device_on_whatever_it_does_under_its_new_name() {
        let key = DeviceKey("urn:uuid:1".to_owned());
        let away = |mailbox: &mut Mailbox| {
            mailbox.attach(PHONE, Some(key.clone()));
            let first = arrive(mailbox);
            assert_eq!(next(mailbox, PHONE), "deliver 1");
            mailbox.detach(PHONE);
            mailbox.attach(DESK, Some(key.clone()));
            first
        };
        let mut mailbox = Mailbox::default();
        let first = away(&mut mailbox);
        assert_eq!(next(&mut mailbox, DESK), "fetch after 0");
        mailbox.took(PHONE, first);
        mailbox.fetched(DESK, Some(vec![(first, message())]), true);
        assert_eq!(next(&mut mailbox, DESK), "nothing", "it has what was fetched");

        let mut mailbox = Mailbox::default();
        let first = away(&mut mailbox);
        assert_eq!(next(&mut mailbox, DESK), "fetch after 0");
        mailbox.fetched(DESK, Some(vec![(first, message())]), true);
        assert_eq!(next(&mut mailbox, DESK), "deliver 1");
        mailbox.took(PHONE, first);
        let second = arrive(&mut mailbox);
        assert_eq!(next(&mut mailbox, DESK), "deliver 2", "its own copy of the first is not waited for");
        mailbox.unreachable(DESK, first);
        mailbox.took(DESK, first);
        assert_eq!(next(&mut mailbox, DESK), "nothing", "the second is still under way");
        mailbox.took(DESK, second);
        assert_eq!(mailbox.waiting(), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_rest_is_fetched() {
        let mut mailbox = Mailbox::default();
        mailbox.attach(PHONE, None);
        for _ in 0..RECENT_MAX + 5 {
            arrive(&mut mailbox);
        }
        assert_eq!(mailbox.recent.len(), RECENT_MAX);
        assert_eq!(next(&mut mailbox, PHONE), "fetch after 0");
    }

    #[test]
    fn an_empty_page_ends_the_search() {
        let mut mailbox = Mailbox::default();
        arrive(&mut mailbox);
        mailbox.attach(PHONE, None);
        assert_eq!(next(&mut mailbox, PHONE), "fetch after 0");
        mailbox.fetched(PHONE, Some(vec![]), true);
        assert_eq!(next(&mut mailbox, PHONE), "nothing", "it was withdrawn or pruned");
    }
}
