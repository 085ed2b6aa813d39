//! Server transactions (RFC 3261 §17.2, RFC 6026 §7.1, RFC 4320).
//!
//! ```text
//!            INVITE                               others
//!           Pending                               Pending
//!       2xx /     \ 3xx-6xx                          | final
//!   Accepted     Completed                       Completed
//!       | L      H /    \ ACK                        | J
//!       |         /   Confirmed                      |
//!       |        /      | I                          |
//!       +---- gone -----+                          gone
//! ```
//!
//! Pending is Trying and Proceeding: they differ only in whether there is a response to repeat.

use std::time::Duration;

use bytes::Bytes;
use node::{Flow, Instant};
use sip_message::{HeaderId, Message, Method, NameAddr, ResponseBuilder, Via};

use super::chain::Link;
use super::matching::{Key, is_rfc2543};
use super::via::{build_response, response_flow};
use super::{
    Arrival, Event, Incoming, NOT_FOR_INVITES, ServerId, Side, TRYING_AFTER, Transactions, index_u32, name,
    split_name,
};
use crate::timer::TimerId;

/// One server transaction.
pub(super) struct Server {
    key: Key,
    birth: u32,
    /// Whether nothing is retransmitted.
    reliable: bool,
    timer: Option<TimerId>,
    /// Its place among the ended.
    pub(super) link: Option<Link>,
    /// Where responses go.
    flow: Flow,
    state: State,
}

/// What a pending server transaction keeps besides.
pub(super) struct Waiting {
    message: Message,
    arrival: Arrival,
}

enum State {
    Pending(Pending),
    /// INVITE, 3xx-6xx sent, no ACK yet.
    Rejected(Rejected),
    /// INVITE, 3xx-6xx acknowledged: takes further ACKs until timer I.
    Confirmed,
    /// INVITE, 2xx sent: takes INVITEs and passes further 2xx until timer L.
    Accepted,
    /// Not INVITE, answered; `None` where no answer may be sent (RFC 4320 §4.2).
    Completed(Option<Bytes>),
}

struct Pending {
    waiting: u32,
    kind: Kind,
    /// The last provisional response.
    provisional: Option<Bytes>,
}

enum Kind {
    Invite,
    /// `expires`: nobody waits for an answer any more (RFC 4320 §4.2).
    Other {
        quiet_until: Instant,
        expires: Instant,
    },
}

struct Rejected {
    response: Bytes,
    /// Timer G's next interval.
    interval: Duration,
    /// Timer H.
    gives_up: Instant,
    rfc2543: bool,
}

impl Transactions {
    /// Feeds a request that passed `validate`. The layer keeps a clone of `message` (shared octets) as long as it waits for an answer.
    pub fn handle_request(&mut self, now: Instant, message: &Message, arrival: Arrival) -> Incoming {
        self.latest = now;
        let Ok(via) = message.top_via() else {
            // Nothing to match by and nowhere to answer to; `validate` refuses it.
            return Incoming::Absorbed;
        };
        let method = message.method();
        if method == Method::Ack {
            return self.handle_ack(now, message, &via);
        }
        let key = self.keys.key(message, &via, method);
        if let Some(index) = self.find_key(key) {
            self.repeat_response(index);
            return Incoming::Absorbed;
        }
        if method == Method::Cancel {
            return self.handle_cancel(now, key, message, &via, arrival);
        }
        if self.is_full(method) {
            return Incoming::Overload;
        }
        Incoming::New(self.open_server(now, key, message, &via, arrival))
    }

    /// A CANCEL that means something is let in even when the table is full: it makes room, and each INVITE has at most one.
    fn handle_cancel(
        &mut self,
        now: Instant,
        key: Key,
        message: &Message,
        via: &Via<'_>,
        arrival: Arrival,
    ) -> Incoming {
        let invite_key = self.keys.key(message, via, Method::Invite);
        let invite = self.find_key(invite_key).map(|index| self.server_id(index));
        if invite.is_none() && self.is_full(Method::Cancel) {
            return Incoming::Overload;
        }
        Incoming::Cancel { cancel: self.open_server(now, key, message, via, arrival), invite }
    }

    fn handle_ack(&mut self, now: Instant, message: &Message, via: &Via<'_>) -> Incoming {
        let key = self.keys.key(message, via, Method::Invite);
        let Some(index) = self.find_key(key) else { return Incoming::Ack };
        let server = &mut self.servers[index as usize];
        match &server.state {
            State::Accepted => Incoming::Ack,
            State::Rejected(rejected) if !rejected.rfc2543 || same_to_tag(&rejected.response, message) => {
                if server.reliable {
                    self.remove_server(index);
                } else {
                    server.state = State::Confirmed;
                    let timer = server.timer.take();
                    self.stop(timer);
                    self.set_server_timer(index, now + self.values.t4);
                }
                Incoming::Absorbed
            }
            State::Rejected(_) => Incoming::Ack,
            State::Pending(_) | State::Confirmed | State::Completed(_) => Incoming::Absorbed,
        }
    }

    /// Sends a response in a server transaction, and keeps it for retransmissions. Responses after a final one are ignored, but for 2xx to INVITE (RFC 6026 §7.1).
    ///
    /// To other requests than INVITE, no provisional response leaves but a 100, over UDP not before the client has slowed down to T2, and no 408 ever
    /// (RFC 4320 §4): the transaction then ends in silence.
    pub fn respond(&mut self, now: Instant, server: ServerId, status: u16, response: Bytes) {
        let Some(index) = self.find_server(server) else { return };
        let server = &mut self.servers[index as usize];
        let flow = server.flow;
        match &mut server.state {
            State::Accepted if (200..300).contains(&status) => self.push_send(flow, response),
            State::Pending(pending) => match (&pending.kind, status) {
                (Kind::Invite, 100..200) => {
                    pending.provisional = Some(response.clone());
                    let timer = server.timer.take();
                    self.stop(timer);
                    self.push_send(flow, response);
                }
                (Kind::Invite, 200..300) => {
                    self.push_send(flow, response);
                    self.end_server(index, State::Accepted, now + self.values.patience());
                }
                (Kind::Invite, _) => self.reject_invite(now, index, response),
                (&Kind::Other { quiet_until, .. }, 100..200) => {
                    if status == 100 && (server.reliable || now >= quiet_until) {
                        pending.provisional = Some(response.clone());
                        self.push_send(flow, response);
                    }
                }
                (Kind::Other { .. }, _) => self.complete_other(now, index, status, response),
            },
            _ => {}
        }
    }

    fn reject_invite(&mut self, now: Instant, index: u32, response: Bytes) {
        let server = &self.servers[index as usize];
        let State::Pending(pending) = &server.state else { unreachable!("the caller saw a pending INVITE") };
        let via = self.waiting[pending.waiting as usize].message.top_via();
        let rejected = Rejected {
            response: response.clone(),
            interval: self.values.t1,
            gives_up: now + self.values.patience(),
            rfc2543: via.is_ok_and(|via| is_rfc2543(&via)),
        };
        let timer = if server.reliable { rejected.gives_up } else { now + rejected.interval };
        self.push_send(server.flow, response);
        self.end_server(index, State::Rejected(rejected), timer);
    }

    fn complete_other(&mut self, now: Instant, index: u32, status: u16, response: Bytes) {
        let server = &self.servers[index as usize];
        let (flow, reliable) = (server.flow, server.reliable);
        let answer = (status != 408).then_some(response);
        if reliable {
            // Timer J is zero: nobody retransmits.
            self.remove_server(index);
        } else {
            self.end_server(index, State::Completed(answer.clone()), now + self.values.patience());
        }
        if let Some(answer) = answer {
            self.push_send(flow, answer);
        }
    }

    /// Ends a server transaction that has no final response yet, in silence, and keeps nothing of it: for requests that are answered without a transaction. What
    /// comes again is new again. (A non-INVITE that is out of time is better given to `respond` with 408, which absorbs what comes again.)
    pub fn forget(&mut self, server: ServerId) {
        if let Some(index) = self.find_server(server)
            && let State::Pending(_) = self.servers[index as usize].state
        {
            self.remove_server(index);
        }
    }

    /// The request of a server transaction that has no final response yet.
    pub fn request(&self, server: ServerId) -> Option<&Message> {
        self.waiting(server).map(|waiting| &waiting.message)
    }

    /// How the request of a server transaction came in, as long as it has no final response.
    pub fn arrival(&self, server: ServerId) -> Option<Arrival> {
        self.waiting(server).map(|waiting| waiting.arrival)
    }

    pub(super) fn server_timer(&mut self, now: Instant, index: u32) {
        let server = &mut self.servers[index as usize];
        server.timer = None;
        let flow = server.flow;
        match &mut server.state {
            State::Pending(pending) => match pending.kind {
                Kind::Invite => self.send_trying(index),
                Kind::Other { expires, .. } if now >= expires => self.remove_server(index),
                Kind::Other { expires, .. } => {
                    if pending.provisional.is_none() {
                        self.send_trying(index);
                    }
                    self.set_server_timer(index, expires);
                }
            },
            State::Rejected(rejected) if now >= rejected.gives_up => {
                let server = self.server_id(index);
                self.remove_server(index);
                self.events.push_back(Event::Unacknowledged { server });
            }
            State::Rejected(rejected) => {
                rejected.interval = (rejected.interval * 2).min(self.values.t2);
                let at = (now + rejected.interval).min(rejected.gives_up);
                let response = rejected.response.clone();
                self.push_send(flow, response);
                self.set_server_timer(index, at);
            }
            State::Confirmed | State::Accepted | State::Completed(_) => self.remove_server(index),
        }
    }

    fn send_trying(&mut self, index: u32) {
        let server = &mut self.servers[index as usize];
        let State::Pending(pending) = &mut server.state else {
            unreachable!("only pending requests are tried")
        };
        let Waiting { message, arrival } = &self.waiting[pending.waiting as usize];
        let trying = build_response(
            &mut Vec::new(),
            &ResponseBuilder::new(message, 100),
            message.top_via().ok().as_ref(),
            arrival.remote,
        );
        pending.provisional = Some(trying.clone());
        let flow = server.flow;
        self.push_send(flow, trying);
    }

    /// Answers a retransmitted request with what was last sent.
    fn repeat_response(&mut self, index: u32) {
        let server = &self.servers[index as usize];
        let response = match &server.state {
            State::Pending(pending) => pending.provisional.clone(),
            State::Rejected(rejected) => Some(rejected.response.clone()),
            State::Completed(response) => response.clone(),
            State::Confirmed | State::Accepted => None,
        };
        if let Some(response) = response {
            self.push_send(server.flow, response);
        }
    }

    fn open_server(
        &mut self,
        now: Instant,
        key: Key,
        message: &Message,
        via: &Via<'_>,
        arrival: Arrival,
    ) -> ServerId {
        let (kind, timer) = match message.method() {
            Method::Invite => (Kind::Invite, now + TRYING_AFTER),
            _ => {
                let quiet_until = now + self.values.until_t2();
                (Kind::Other { quiet_until, expires: now + self.values.patience() }, quiet_until)
            }
        };
        let waiting = index_u32(self.waiting.insert(Waiting { message: message.clone(), arrival }));
        let birth = self.next_birth();
        let index = index_u32(self.servers.insert(Server {
            key,
            birth,
            reliable: arrival.transport.is_reliable(),
            timer: None,
            link: None,
            flow: response_flow(via, &arrival),
            state: State::Pending(Pending { waiting, kind, provisional: None }),
        }));
        let servers = &self.servers;
        self.server_index.insert_unique(key.hash(), index, |&other| servers[other as usize].key.hash());
        self.set_server_timer(index, timer);
        ServerId(name(birth, index))
    }

    /// A pending transaction got its final response; `timer` is due next.
    fn end_server(&mut self, index: u32, state: State, timer: Instant) {
        let server = &mut self.servers[index as usize];
        let State::Pending(pending) = std::mem::replace(&mut server.state, state) else {
            unreachable!("only a pending transaction gets its final response")
        };
        let old = server.timer.take();
        self.stop(old);
        self.waiting.remove(pending.waiting as usize);
        self.set_server_timer(index, timer);
        self.remember(Side::Server(index));
    }

    pub(super) fn remove_server(&mut self, index: u32) {
        let server = self.servers.remove(index as usize);
        self.stop(server.timer);
        if let Some(link) = server.link {
            self.links.remove(&mut self.ended, link);
        }
        if let State::Pending(pending) = server.state {
            self.waiting.remove(pending.waiting as usize);
        }
        match self.server_index.find_entry(server.key.hash(), |&other| other == index) {
            Ok(entry) => {
                entry.remove();
            }
            Err(_) => unreachable!("every server transaction is in the index"),
        }
    }

    fn set_server_timer(&mut self, index: u32, at: Instant) {
        self.servers[index as usize].timer = Some(self.timers.insert(at, Side::Server(index)));
    }

    /// Whether there is no room for another request of this method.
    fn is_full(&self, method: Method<'_>) -> bool {
        let share = |max: usize| if method == Method::Invite { max - max / NOT_FOR_INVITES } else { max };
        self.waiting.len() >= share(self.limits.server_pending_max)
            || self.clients_pending >= share(self.limits.client_pending_max)
    }

    fn find_key(&self, key: Key) -> Option<u32> {
        self.server_index.find(key.hash(), |&index| self.servers[index as usize].key == key).copied()
    }

    fn find_server(&self, server: ServerId) -> Option<u32> {
        let (birth, index) = split_name(server.0);
        self.servers.get(index as usize).filter(|server| server.birth == birth).map(|_| index)
    }

    fn server_id(&self, index: u32) -> ServerId {
        ServerId(name(self.servers[index as usize].birth, index))
    }

    fn waiting(&self, server: ServerId) -> Option<&Waiting> {
        match &self.servers[self.find_server(server)? as usize].state {
            State::Pending(pending) => Some(&self.waiting[pending.waiting as usize]),
            _ => None,
        }
    }
}

/// RFC 3261 §17.2.3: the ACK of an RFC 2543 client bears the To tag of the response.
fn same_to_tag(response: &Bytes, ack: &Message) -> bool {
    let Ok(response) = Message::parse(response.clone()) else { return false };
    let tag = |message: &Message| -> Option<String> {
        NameAddr::parse(message.header(HeaderId::To)?).ok()?.tag().map(str::to_owned)
    };
    tag(&response) == tag(ack)
}
