//! MESSAGE (RFC 3428, design section 6): committed at the recipient's home before it is accepted, delivered to each device oldest first, at least once.
//!
//! The life of a message here: [`FrontEnd::message`] allots its place and asks storage to keep it; when it is durable it is delivered to the devices that are
//! there; the sender gets 200 when the first took it, else 202 in time, or the refusal if all of them refused it.
//!
//! While the recipient is not to be disturbed (design section 5) a message is kept quietly: the sender gets 202 as soon as it is durable, and it is delivered
//! when that ends. One from somebody who may interrupt goes out at once, behind all that waits: order is one, also for copies of what the user sent, which wait
//! with the rest. Typing is dropped meanwhile, and its sender told nothing of it.

pub(crate) mod identity;
pub(crate) mod mailbox;
pub(crate) mod refusals;

use directory::{SipAddress, UserId};
use node::{Level, Outcome, RequestId, StoreError};
use records::{Change, Direction, Query, Sequence, StoredMessage};
use sip_message::{Edit, HeaderId, Message};
use sip_stack::dialog::SubscriptionId;
use sip_stack::stack::{Forwarding, HeaderChange, OwnOutcome, Target};
use sip_stack::timer::TimerId;
use sip_stack::transaction::{Arrival, ServerId};
use smallvec::{SmallVec, smallvec};

use self::identity::{Kind, Wrapping};
use self::mailbox::{DeviceId, Next, PAGE, Superseded};
use crate::elsewhere::VOUCHED_BY;
use crate::frontend::{Due, FrontEnd, Persisting, Querying, describe};
use crate::people::Someone;
use crate::pipeline::{Refusal, Request, Sender};
use crate::presence::abroad::AbroadId;
use crate::registration::device_of;
use crate::router::{Recipient, asserted, trust_headers};

/// How long a device that did not answer is left alone, unless it registers before.
const RETRY_DEVICE_AFTER: std::time::Duration = std::time::Duration::from_secs(30);
/// Resends of one message that are answered together while it is being accepted.
const WAITERS_MAX: usize = 8;

/// Names a message whose sender waits.
pub(crate) type AcceptId = usize;

/// A message whose sender waits for an answer.
pub(crate) struct Accepting {
    id: RequestId,
    owner: UserId,
    from: Someone,
    identity: [u8; 16],
    sequence: Sequence,
    /// As it is kept and delivered.
    message: Message,
    /// The transactions to answer: the first, and resends that came meanwhile.
    waiters: SmallVec<[Waiter; 1]>,
    timer: Option<TimerId>,
    /// The best refusal of a device so far.
    refusal: Option<u16>,
}

struct Waiter {
    server: ServerId,
    message: Message,
    arrival: Arrival,
}

/// A request of our own, under way.
pub(crate) enum Own {
    Delivery(Delivery),
    Notify(SubscriptionId),
    /// A SUBSCRIBE for a list's owner.
    Abroad(AbroadId),
    Replica(SubscriptionId),
}

/// A sent message, for the sender's other devices.
pub(crate) struct SentCopy {
    owner: UserId,
    sequence: Sequence,
    message: Message,
    /// The device that sent it.
    origin: Option<DeviceId>,
}

/// A message of a user of ours on its way to another organisation, for the sender's other devices.
pub(crate) struct MessageOut {
    from: UserId,
    /// The device that sent it.
    origin: Option<DeviceId>,
    to: SipAddress,
    identity: [u8; 16],
    /// As the devices will see it.
    message: Message,
}

/// A message on its way to a device.
pub(crate) struct Delivery {
    owner: UserId,
    device: DeviceId,
    sequence: Sequence,
}

// Accepting.
impl FrontEnd {
    pub(crate) fn message(&mut self, request: &Request<'_>, sender: Sender) -> Result<(), Refusal> {
        let from = self.someone(request, sender)?;
        let Kind::Kept(wrapping) = identity::kind(request.message) else {
            return self.typing(request, sender, &from);
        };
        let recipient = self.recipient(request);
        if sender == Sender::Partner {
            self.check_partner(request, &recipient)?;
        }
        let to = match recipient {
            Recipient::User(to, _) => to,
            Recipient::Nobody => return Err(Refusal::new(404, "no such user")),
            Recipient::Server => {
                return Err(Refusal::new(405, "a method that the server itself does not take"));
            }
            Recipient::Foreign => return self.message_elsewhere(request, &from, wrapping),
        };
        let server = request.server.expect("a MESSAGE has a transaction");
        let waiter = Waiter { server, message: request.message.clone(), arrival: request.arrival };
        let sender_address = self.address_of(&from).expect("who signed in exists").clone();
        let identity = identity::identity(request.message, wrapping, sender_address.as_str());
        if let Some(accept) = self.accepting_by_identity.get(&(to, identity)) {
            let accepting = &mut self.accepting[*accept];
            if accepting.waiters.len() < WAITERS_MAX {
                accepting.waiters.push(waiter);
            }
            return Ok(());
        }
        let account = self.users.get(to).expect("the recipient was just found");
        if account.mailbox.waiting() >= self.config.messaging.waiting_per_user_max {
            return Err(Refusal::new(480, "the mailbox of the user is full"));
        }
        let recipient_address = account.user.address.clone();
        let kept = self.as_kept(request, &recipient_address, &sender_address)?;
        let sequence = self.users.get_mut(to).expect("the recipient was just found").mailbox.allot();
        let stored = StoredMessage {
            owner: to,
            sequence,
            direction: Direction::Received,
            peer: sender_address,
            identity,
            received_unix_ms: self.now.wall.0,
            request: kept.bytes().to_vec(),
        };
        let accept = self.accepting.insert(Accepting {
            id: request.id,
            owner: to,
            from: from.clone(),
            identity,
            sequence,
            message: kept.clone(),
            waiters: smallvec![waiter],
            timer: None,
            refusal: None,
        });
        self.accepting_by_identity.insert((to, identity), accept);
        self.accepting_by_place.insert((to, sequence), accept);
        self.persist(Change::AppendMessage(stored), Persisting::Message(accept));
        if let Someone::Home(from) = from {
            self.copy_to_sender(request, from, recipient_address, identity, kept);
        }
        Ok(())
    }

    /// To somebody of another organisation: what is answered there is the answer, and nothing waits here.
    fn message_elsewhere(
        &mut self,
        request: &Request<'_>,
        from: &Someone,
        wrapping: Wrapping,
    ) -> Result<(), Refusal> {
        let Someone::Home(user) = *from else {
            return Err(Refusal::new(403, "another organisation asks for transit"));
        };
        let (to, target) = self.target_elsewhere(request, user)?;
        let account = self.users.get(user).expect("who signed in exists");
        let origin = device_of(account, request);
        if account.mailbox.has_other_devices(origin) {
            let address = &account.user.address;
            let identity = identity::identity(request.message, wrapping, address.as_str());
            let message = self.as_kept(request, &to, address)?;
            let out = MessageOut { from: user, origin, to, identity, message };
            let server = request.server.expect("a MESSAGE has a transaction");
            self.messages_out.insert(server, Box::new(out));
        }
        self.forward(request, Sender::User(user), vec![target]);
        Ok(())
    }

    /// A forwarded request has its final answer: what was accepted elsewhere is shown on the sender's other devices.
    pub(crate) fn message_passed(&mut self, server: ServerId, status: u16) {
        let Some(out) = self.messages_out.remove(&server) else { return };
        // The sender may be gone by now.
        if (200..300).contains(&status) && self.users.get(out.from).is_some() {
            let MessageOut { from, origin, to, identity, message } = *out;
            self.copy_to_devices(from, origin, to, identity, message);
        }
    }

    /// Typing goes the way of calls, but it is not told from a device that showed it where it is dropped.
    fn typing(&mut self, request: &Request<'_>, sender: Sender, from: &Someone) -> Result<(), Refusal> {
        // What runs within a dialog belongs to a call that is up.
        if request.own_routes.destination.is_none()
            && let Recipient::User(to, instance) = self.recipient(request)
            && self.users.get(to).is_some_and(|account| self.is_not_to_be_disturbed(account, from))
            && !self.devices_of(to, instance.as_deref()).is_empty()
        {
            let response = self.response_to(request.message, 200);
            self.answer(request, 200, response);
            return Ok(());
        }
        self.route(request, sender)
    }

    /// The MESSAGE as every device will see it: without the way it came, with a date and its proven sender.
    fn as_kept(&self, request: &Request<'_>, to: &SipAddress, from: &SipAddress) -> Result<Message, Refusal> {
        let message = request.message;
        let uri = ["sip:", to.as_str()].concat();
        let mut edit = Edit::new(message);
        edit.request_uri(&uri)
            .remove(HeaderId::Via)
            .remove(HeaderId::ProxyAuthorization)
            .remove(HeaderId::Authorization);
        edit.remove(HeaderId::RecordRoute).remove(HeaderId::PPreferredIdentity);
        for name in trust_headers(message) {
            edit.remove_named(name);
        }
        if let Some(hub) = request.provenance.hub() {
            edit.append_named(VOUCHED_BY, hub);
        }
        if request.own_routes.count > 0 {
            edit.remove(HeaderId::Route);
        }
        edit.set(HeaderId::PAssertedIdentity, asserted(from));
        if message.header(HeaderId::Date).is_none() {
            edit.append(HeaderId::Date, self.date());
        }
        // Only what just fits into the limits outgrows them here.
        edit.write_message()
            .map_err(|error| Refusal::new(error.status, "the message is too large to be kept"))
    }

    /// The sender's other devices see what was sent (design section 6).
    fn copy_to_sender(
        &mut self,
        request: &Request<'_>,
        from: UserId,
        to: SipAddress,
        identity: [u8; 16],
        message: Message,
    ) {
        let account = self.users.get(from).expect("who signed in exists");
        let origin = device_of(account, request);
        self.copy_to_devices(from, origin, to, identity, message);
    }

    /// Every device of a user but the one that sent it gets a message.
    fn copy_to_devices(
        &mut self,
        from: UserId,
        origin: Option<DeviceId>,
        to: SipAddress,
        identity: [u8; 16],
        message: Message,
    ) {
        let account = self.users.get_mut(from).expect("the caller looked the user up");
        if !account.mailbox.has_other_devices(origin) {
            return;
        }
        let sequence = account.mailbox.allot();
        let stored = StoredMessage {
            owner: from,
            sequence,
            direction: Direction::Sent,
            peer: to,
            identity,
            received_unix_ms: self.now.wall.0,
            request: message.bytes().to_vec(),
        };
        self.persist(
            Change::AppendMessage(stored),
            Persisting::Copy(Box::new(SentCopy { owner: from, sequence, message, origin })),
        );
    }

    pub(crate) fn message_persisted(&mut self, accept: AcceptId, outcome: Outcome) {
        let Accepting { owner, ref from, sequence, id, .. } = self.accepting[accept];
        let from = from.clone();
        let before = match outcome {
            Outcome::Applied => None,
            Outcome::AlreadyThere => Some((202, "the message was accepted before")),
            Outcome::AlreadyWithdrawn => {
                let status = self.refusals.status(owner, &self.accepting[accept].identity);
                Some((status, "the message was refused before"))
            }
        };
        if let Some((status, reason)) = before {
            self.counters.messages_repeated += 1;
            self.report(Level::Debug, "repeated", Some(id), reason, Vec::new());
            return self.answer_sender(accept, status);
        }
        self.counters.messages_accepted += 1;
        let message = self.accepting[accept].message.clone();
        // The user may be gone by now, and the mailbox with it.
        let Some(account) = self.users.get(owner) else { return self.answer_sender(accept, 404) };
        let is_quiet = account.person.state.is_do_not_disturb();
        // Also where it is not quiet now: whoever is away may come back to it.
        let is_released = self.may_interrupt(account, &from);
        let account = self.users.get_mut(owner).expect("it was just found");
        account.mailbox.stored(sequence, message);
        if is_released {
            account.mailbox.release(sequence);
        }
        if !account.mailbox.has_devices() || (is_quiet && !is_released) {
            return self.answer_sender(accept, 202);
        }
        let within = self.config.messaging.answer_within;
        self.accepting[accept].timer =
            Some(self.timers.insert(self.now.monotonic + within, Due::AnswerSender(accept)));
        self.deliver_to_devices(owner);
    }

    pub(crate) fn message_not_persisted(&mut self, accept: AcceptId, error: &StoreError) {
        let id = self.accepting[accept].id;
        self.report(Level::Warn, "message-not-kept", Some(id), describe(error), Vec::new());
        self.answer_sender(accept, 500);
    }

    pub(crate) fn copy_persisted(&mut self, copy: SentCopy) {
        let SentCopy { owner, sequence, message, origin } = copy;
        let Some(account) = self.users.get_mut(owner) else { return };
        account.mailbox.stored(sequence, message);
        if let Some(origin) = origin {
            account.mailbox.skip(origin, sequence);
        }
        self.deliver_to_devices(owner);
    }

    pub(crate) fn answer_sender_in_time(&mut self, accept: AcceptId) {
        if let Some(accepting) = self.accepting.get_mut(accept) {
            accepting.timer = None;
            self.answer_sender(accept, 202);
        }
    }

    /// Answers the sender, and all its resends, for good.
    fn answer_sender(&mut self, accept: AcceptId, status: u16) {
        let accepting = self.accepting.remove(accept);
        self.accepting_by_identity.remove(&(accepting.owner, accepting.identity));
        self.accepting_by_place.remove(&(accepting.owner, accepting.sequence));
        if let Some(timer) = accepting.timer {
            self.timers.cancel(timer);
        }
        for Waiter { server, message, arrival } in accepting.waiters {
            let mut response = self.response_to(&message, status);
            self.stack.respond(self.now.monotonic, server, status, &mut response, arrival, &message);
        }
    }
}

// Delivering.
impl FrontEnd {
    pub(crate) fn deliver_to_devices(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let devices: SmallVec<[DeviceId; 4]> = account.mailbox.devices().collect();
        for device in devices {
            self.deliver(user, device);
        }
    }

    fn deliver(&mut self, owner: UserId, device: DeviceId) {
        let Some(account) = self.users.get_mut(owner) else { return };
        match account.mailbox.next(device, account.person.state.is_do_not_disturb()) {
            Next::Nothing => {}
            Next::Fetch(after) => {
                self.query(Query::Messages { owner, after, limit: PAGE }, Querying::Page { owner, device });
            }
            Next::Deliver(sequence, message) => match account.bindings.target_of(device) {
                Some(target) => self.send_to_device(Delivery { owner, device, sequence }, &message, target),
                None => account.mailbox.unreachable(device, sequence),
            },
        }
    }

    fn send_to_device(&mut self, delivery: Delivery, message: &Message, target: Target) {
        let Delivery { owner, device, .. } = delivery;
        let own = self.own_requests.insert(Own::Delivery(delivery));
        let changes = vec![HeaderChange::Remove(HeaderId::MaxBreadth)];
        let forwarding = Forwarding { changes, ..Forwarding::default() };
        let own = u64::try_from(own).expect("an index fits");
        let request = self.stack.send_own(self.now.monotonic, own, message, target, forwarding);
        if let Some(account) = self.users.get_mut(owner) {
            account.mailbox.sent(device, request);
        }
    }

    /// Copies that nobody needs any more are not sent again, on whatever flow.
    fn abandon_copies(&mut self, superseded: Superseded) {
        for request in superseded {
            if let Some(own) = self.stack.abandon_own(request) {
                self.own_requests.remove(usize::try_from(own).expect("an index fits"));
            }
        }
    }

    pub(crate) fn page_read(&mut self, owner: UserId, device: DeviceId, rows: Option<Vec<StoredMessage>>) {
        let is_last = rows.as_ref().is_none_or(|rows| rows.len() < PAGE as usize);
        let failed = rows.is_none();
        let page = rows.map(|rows| {
            let readable =
                rows.into_iter().filter_map(|m| Some((m.sequence, Message::parse(m.request.into()).ok()?)));
            readable.collect()
        });
        let Some(account) = self.users.get_mut(owner) else { return };
        account.mailbox.fetched(device, page, is_last);
        if failed {
            self.timers.insert(self.now.monotonic + RETRY_DEVICE_AFTER, Due::RetryDevice(owner, device));
        }
        self.deliver(owner, device);
    }

    /// A request of our own was answered, or was not.
    pub(crate) fn own_completed(&mut self, own: u64, outcome: OwnOutcome) {
        let index = usize::try_from(own).expect("an index fits");
        match self.own_requests.try_remove(index) {
            Some(Own::Delivery(delivery)) => self.delivery_completed(delivery, outcome),
            Some(Own::Notify(id)) => self.notify_completed(id, outcome),
            Some(Own::Abroad(id)) => self.abroad_completed(id, outcome),
            Some(Own::Replica(id)) => self.replica_notified(id, outcome),
            None => {}
        }
    }

    fn delivery_completed(&mut self, delivery: Delivery, outcome: OwnOutcome) {
        let Delivery { owner, device, sequence } = delivery;
        let status = outcome.status;
        match Taken::from_status(status) {
            Taken::Yes => {
                self.counters.messages_delivered += 1;
                let Some(account) = self.users.get_mut(owner) else { return };
                let superseded = account.mailbox.took(device, sequence);
                self.abandon_copies(superseded);
                self.write_marks_soon(owner);
                if let Some(accept) = self.accepting_by_place.get(&(owner, sequence)).copied() {
                    self.answer_sender(accept, 200);
                }
            }
            Taken::Never => self.device_refused(owner, device, sequence, status),
            Taken::NotNow => {
                let Some(account) = self.users.get_mut(owner) else { return };
                account.mailbox.unreachable(device, sequence);
                self.timers.insert(self.now.monotonic + RETRY_DEVICE_AFTER, Due::RetryDevice(owner, device));
            }
        }
        self.deliver(owner, device);
    }

    fn device_refused(&mut self, owner: UserId, device: DeviceId, sequence: Sequence, status: u16) {
        let Some(account) = self.users.get_mut(owner) else { return };
        let (others_may_take_it, superseded) = account.mailbox.refused(device, sequence);
        self.abandon_copies(superseded);
        self.write_marks_soon(owner);
        let Some(accept) = self.accepting_by_place.get(&(owner, sequence)).copied() else { return };
        let accepting = &mut self.accepting[accept];
        let best = accepting.refusal.map_or(status, |s| s.min(status));
        accepting.refusal = Some(best);
        if !others_may_take_it {
            // Nobody will see it, and the sender is told so: it must not appear later on another device.
            self.counters.messages_refused += 1;
            self.refusals.remember(owner, accepting.identity, best);
            self.withdraw(owner, sequence);
            self.answer_sender(accept, best);
        }
    }

    /// Until it is written that the message is withdrawn it is asked for again: else a device that comes later would
    /// get it.
    pub(crate) fn withdraw(&mut self, owner: UserId, sequence: Sequence) {
        let change = Change::WithdrawMessage { owner, sequence };
        self.persist_soon_as(change, Persisting::Withdrawal(owner, sequence));
    }

    pub(crate) fn retry_device(&mut self, owner: UserId, device: DeviceId) {
        if let Some(account) = self.users.get_mut(owner) {
            account.mailbox.wake(device);
            self.deliver(owner, device);
        }
    }
}

/// What a device's final status says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    /// It understood, and does not want it: another try would bring the same.
    Never,
    /// It is not there, or too busy.
    NotNow,
}

impl Taken {
    fn from_status(status: u16) -> Taken {
        match status {
            200..300 => Taken::Yes,
            408 | 410 | 430 | 480 | 481 | 500 | 502..=504 => Taken::NotNow,
            _ => Taken::Never,
        }
    }
}
