//! What a world writes down of itself.

use std::hash::Hash;
use std::rc::Rc;

use bytes::Bytes;
use node::Transport;
use sip_message::Message;

use super::World;
use crate::event::{Event, Fate, Party, Payload, What};

impl World {
    pub(super) fn record_sent(
        &mut self,
        from: Party,
        to: Option<Party>,
        transport: Transport,
        bytes: &Bytes,
        fate: Fate,
    ) {
        let payload = payload(bytes);
        (0u8, from, to, fate).hash(&mut self.trace);
        bytes.hash(&mut self.trace);
        self.record(What::Sent { from, to, transport, payload, fate });
    }

    pub(super) fn record_arrived(&mut self, from: Party, to: Party, bytes: &Bytes) {
        (1u8, from, to).hash(&mut self.trace);
        bytes.hash(&mut self.trace);
        self.record(What::Arrived { from, to, payload: payload(bytes) });
    }

    pub(super) fn record(&mut self, what: What) {
        self.now.hash(&mut self.trace);
        match &what {
            What::Fact { device, fact } => (2u8, device, fact).hash(&mut self.trace),
            What::Stopped { party, crash } => (3u8, party, crash).hash(&mut self.trace),
            What::Started { party } => (4u8, party).hash(&mut self.trace),
            What::Closed { party, peer, reason } => (5u8, party, peer, reason).hash(&mut self.trace),
            What::Fault(text) => (6u8, text).hash(&mut self.trace),
            What::Submitted { machine, change } => {
                (7u8, machine, format!("{change:?}")).hash(&mut self.trace)
            }
            What::Durable { machine, outcome, .. } => (8u8, machine, outcome).hash(&mut self.trace),
            _ => {}
        }
        self.events.push(Event { at: self.now, what });
    }
}

fn payload(bytes: &Bytes) -> Payload {
    match Message::parse(bytes.clone()) {
        Ok(message) => Payload::Sip(Rc::new(message)),
        Err(_) => Payload::Other(bytes.len()),
    }
}
