//! Registration over one or more flows, keep-alives, and coming back (RFC 3261 §10.2, RFC 5626 §4).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use node::Instant;
use rand::Rng;
use sip_message::{Contacts, HeaderId, Message, Method, RequestBuilder};

use super::transaction::Purpose;
use super::{Alarm, CHALLENGES_MAX, Device, Effect};
use crate::event::Fact;

/// How long a ping may stay without its pong (RFC 5626 §4.4.1).
const PONG_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause before a flow is tried again. RFC 5626 §4.5 has 30 s and 30 min; a simulated quarter of
/// an hour would only be a longer wait for the same thing.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(16);

/// One way to the server.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) server: SocketAddr,
    pub(super) registered_until: Option<Instant>,
    pub(super) service_route: Vec<String>,
    state: State,
    /// Counts connections, so that what is said of an older one is known to be old.
    dialled: u32,
    call_id: String,
    cseq: u32,
    serial: u32,
    challenged: u8,
    retry_after: Duration,
    pings: u32,
    pongs: u32,
    expires_seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down,
    Dialling,
    Up,
}

impl Flow {
    pub(super) fn new(server: SocketAddr) -> Flow {
        Flow {
            server,
            registered_until: None,
            service_route: Vec::new(),
            state: State::Down,
            dialled: 0,
            call_id: String::new(),
            cseq: 0,
            serial: 0,
            challenged: 0,
            retry_after: RETRY_FIRST,
            pings: 0,
            pongs: 0,
            expires_seconds: 0,
        }
    }

    pub(super) fn is_up(&self, stream: bool) -> bool {
        !stream || self.state == State::Up
    }
}

impl Device {
    /// Registers all flows, and keeps them registered from now on.
    pub(crate) fn register(&mut self, now: Instant) {
        self.now = now;
        self.wants_registration = true;
        let flows = if self.is_stream() { self.flows.len() } else { 1 };
        for flow in 0..flows {
            self.flows[flow].expires_seconds = self.config.expires_seconds;
            self.register_flow(flow);
        }
    }

    /// Removes its bindings and stays away.
    pub(crate) fn unregister(&mut self, now: Instant) {
        self.now = now;
        self.wants_registration = false;
        for flow in 0..self.flows.len() {
            if self.flows[flow].registered_until.is_some() {
                self.flows[flow].challenged = 0;
                self.send_register(flow, 0);
            }
        }
    }

    pub(super) fn register_flow(&mut self, flow: usize) {
        if !self.wants_registration {
            return;
        }
        let state = &mut self.flows[flow];
        if self.config.transport.is_reliable() && state.state != State::Up {
            if state.state == State::Down {
                state.state = State::Dialling;
                state.dialled += 1;
                self.effects.push(Effect::Dial { flow, address: state.server });
            }
            return;
        }
        state.challenged = 0;
        let expires = state.expires_seconds;
        self.send_register(flow, expires);
    }

    fn send_register(&mut self, flow: usize, expires: u32) {
        let (branch, tag) = (self.branch(), self.token("r"));
        if self.flows[flow].call_id.is_empty() {
            self.flows[flow].call_id = self.token("reg-");
        }
        self.flows[flow].cseq += 1;
        let uri = format!("sip:{}", self.config.domain);
        let me = format!("<sip:{}>", self.address_of_record());
        let mut contact = format!("<{}{}>", self.contact_uri(), if self.outbound() { ";ob" } else { "" });
        if let Some(instance) = &self.config.instance {
            contact += &format!(";+sip.instance=\"<{instance}>\"");
            if self.outbound() {
                contact += &format!(";reg-id={}", flow + 1);
            }
        }
        let mut request = RequestBuilder::new(Method::Register, &uri);
        request
            .header(HeaderId::Via, self.via(&branch))
            .header(HeaderId::MaxForwards, "70")
            .header(HeaderId::From, format!("{me};tag={tag}"))
            .header(HeaderId::To, &me)
            .header(HeaderId::CallId, &self.flows[flow].call_id)
            .header(HeaderId::CSeq, format!("{} REGISTER", self.flows[flow].cseq))
            .header(HeaderId::Contact, contact)
            .header(HeaderId::Expires, expires.to_string());
        if self.outbound() {
            request.header(HeaderId::Supported, "path, outbound");
        }
        self.sign(&mut request, "REGISTER", &uri, b"");
        let purpose = Purpose::Register { flow, dialled: self.flows[flow].dialled, removes: expires == 0 };
        self.begin(flow, &branch, "REGISTER", request.build(), purpose);
    }

    /// RFC 5626 §4.2: streams of a device that can be recognised.
    fn outbound(&self) -> bool {
        self.is_stream() && self.config.instance.is_some()
    }

    pub(super) fn register_concluded(
        &mut self,
        flow: usize,
        dialled: u32,
        removes: bool,
        response: Option<&Message>,
        status: u16,
    ) {
        if self.flows[flow].dialled != dialled {
            return;
        }
        let state = &mut self.flows[flow];
        match (status, response) {
            (200, Some(_)) if removes => {
                state.registered_until = None;
                self.fact(Fact::Unregistered { flow });
                // It may want to be there again by now.
                self.register_flow(flow);
            }
            (200, Some(response)) => self.registered(flow, response),
            (401 | 407, Some(_)) if state.challenged < CHALLENGES_MAX => {
                state.challenged += 1;
                let expires = if removes { 0 } else { state.expires_seconds };
                self.send_register(flow, expires);
            }
            (423, Some(response)) => {
                let least = response.number(HeaderId::MinExpires).ok().flatten();
                state.expires_seconds = least.unwrap_or(state.expires_seconds.saturating_mul(2));
                let expires = state.expires_seconds;
                self.send_register(flow, expires);
            }
            _ => {
                if state.registered_until.take().is_some() {
                    self.fact(Fact::Unregistered { flow });
                }
                if response.is_none() && self.is_stream() {
                    // RFC 5626 §4.2: a flow without answers is no flow.
                    self.effects.push(Effect::Hang { flow });
                }
                self.try_again(flow);
            }
        }
    }

    fn registered(&mut self, flow: usize, response: &Message) {
        let asked = self.flows[flow].expires_seconds;
        let own = self.contact_uri();
        let granted = match response.contacts() {
            Ok(Contacts::List(list)) => {
                let mine = list.iter().filter(|c| c.addr.uri.as_str().starts_with(&own));
                mine.filter_map(|c| c.expires).min()
            }
            _ => None,
        };
        let header = response.number(HeaderId::Expires).ok().flatten();
        let granted = granted.or(header).unwrap_or(asked).max(2);
        let routes = response.name_addrs(HeaderId::ServiceRoute).flatten();
        let routes = routes.map(|r| String::from_utf8_lossy(r.text).into_owned()).collect();
        let until = self.now + Duration::from_secs(granted.into());
        let fresh = self.flows[flow].registered_until.is_none();
        let state = &mut self.flows[flow];
        state.service_route = routes;
        state.registered_until = Some(until);
        state.retry_after = RETRY_FIRST;
        state.serial += 1;
        let serial = state.serial;
        // Somewhere between half and nine tenths, so that clients that came together do not come back together.
        let share = self.rng.random_range(0.5..0.9);
        let refresh = Duration::from_secs_f64(f64::from(granted) * share);
        self.alarm(refresh, Alarm::Refresh { flow, serial });
        if fresh {
            self.fact(Fact::Registered { flow });
            self.publish_anew();
            self.watch_anew();
        }
        self.flush_outbox();
    }

    pub(super) fn refresh(&mut self, flow: usize, serial: u32) {
        let state = &mut self.flows[flow];
        if self.wants_registration && state.serial == serial && state.registered_until.is_some() {
            state.challenged = 0;
            let expires = state.expires_seconds;
            self.send_register(flow, expires);
        }
    }

    pub(super) fn flow_up(&mut self, flow: usize) {
        let state = &mut self.flows[flow];
        state.state = State::Up;
        state.pings = 0;
        state.pongs = 0;
        let dialled = state.dialled;
        let first = self.config.keep_alive.mul_f64(self.rng.random_range(0.8..1.0));
        self.alarm(first, Alarm::KeepAlive { flow, dialled });
        self.register_flow(flow);
    }

    pub(super) fn flow_down(&mut self, flow: usize) {
        self.flows[flow].state = State::Down;
        if self.flows[flow].registered_until.take().is_some() {
            self.fact(Fact::Unregistered { flow });
        }
        self.fail_transactions(flow);
        // Whoever asked over the connection is not reached over its successor.
        self.served.retain(|_, served| !served.came_over(flow));
        self.publication_flow_down(flow);
        self.try_again(flow);
    }

    fn try_again(&mut self, flow: usize) {
        let state = &mut self.flows[flow];
        let pause = state.retry_after.mul_f64(self.rng.random_range(0.7..1.3));
        state.retry_after = (state.retry_after * 2).min(RETRY_LONGEST);
        self.alarm(pause, Alarm::Register(flow));
    }

    pub(super) fn keep_alive(&mut self, flow: usize, dialled: u32) {
        let state = &mut self.flows[flow];
        if state.dialled != dialled || state.state != State::Up {
            return;
        }
        state.pings += 1;
        let pings = state.pings;
        self.effects.push(Effect::Write { flow, bytes: Bytes::from_static(b"\r\n\r\n") });
        self.alarm(PONG_TIMEOUT, Alarm::PongDue { flow, dialled, pings });
        let next = self.config.keep_alive.mul_f64(self.rng.random_range(0.8..1.0));
        self.alarm(next, Alarm::KeepAlive { flow, dialled });
    }

    pub(super) fn pong(&mut self, flow: usize) {
        self.flows[flow].pongs += 1;
    }

    pub(super) fn pong_due(&mut self, flow: usize, dialled: u32, pings: u32) {
        let state = &self.flows[flow];
        if state.dialled == dialled && state.state == State::Up && state.pongs < pings {
            self.effects.push(Effect::Hang { flow });
        }
    }
}
