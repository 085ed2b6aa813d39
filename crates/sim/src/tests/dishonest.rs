//! A role that does not do what its inner, honest role wants: for tests that show that the checkers can fail.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use node::{Flow, Input, Instant, Now, Output};
use sip_message::{Edit, HeaderId, Message, Method, ResponseBuilder};

use crate::{Factory, Home, Role};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    /// Tells the honest role that devices took what they never saw.
    LosesDeliveries,
    /// Delivers everything twice.
    DeliversTwice,
    /// Holds the first delivery back behind the second.
    Reorders,
    /// Shows every delivery to all who are signed in.
    Leaks,
    /// Writes somebody else into From.
    Impersonates,
    /// Shows the sender's credentials to the recipient.
    ShowsCredentials,
    /// Lets nobody stop ringing.
    SwallowsCancel,
    /// Ends calls on one side only.
    SwallowsBye,
    /// Does not answer registrations.
    IgnoresRegistrations,
    /// Does not answer messages.
    IgnoresSenders,
    /// Oversleeps all timers.
    Oversleeps,
}

pub(super) struct Dishonest {
    honest: Box<dyn Role>,
    plant: Plant,
    ready: VecDeque<Output<Home>>,
    /// Who signed in over which flow.
    flows: BTreeMap<String, Flow>,
    /// Deliveries under way, by branch.
    deliveries: BTreeMap<String, (Flow, Bytes)>,
    held: Option<(Flow, Bytes)>,
    now: Option<Now>,
}

/// Honest roles of `factory` behind dishonest ones.
pub(super) fn planted(factory: Factory, plant: Plant) -> Factory {
    Box::new(move |boot| {
        Box::new(Dishonest {
            honest: factory(boot),
            plant,
            ready: VecDeque::new(),
            flows: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            held: None,
            now: None,
        })
    })
}

impl Dishonest {
    fn sends(&mut self, flow: Flow, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes.clone()) else {
            return self.ready.push_back(Output::Send { flow, bytes });
        };
        let delivery = message.is_request() && message.method() == Method::Message;
        match self.plant {
            Plant::LosesDeliveries if delivery => self.pretend(flow, &message, 200),
            Plant::DeliversTwice if delivery => {
                self.deliveries.insert(branch(&message), (flow, bytes.clone()));
                self.ready.push_back(Output::Send { flow, bytes });
            }
            Plant::Reorders if delivery && self.held.is_none() && self.deliveries.is_empty() => {
                self.deliveries.insert(String::new(), (flow, Bytes::new()));
                self.held = Some((flow, bytes));
                self.pretend(flow, &message, 200);
            }
            Plant::Reorders if delivery => {
                self.ready.push_back(Output::Send { flow, bytes });
                if let Some((flow, bytes)) = self.held.take() {
                    self.ready.push_back(Output::Send { flow, bytes });
                }
            }
            Plant::Leaks if delivery => {
                for flow in self.flows.values() {
                    self.ready.push_back(Output::Send { flow: *flow, bytes: bytes.clone() });
                }
            }
            Plant::Impersonates if delivery => {
                let mut edit = Edit::new(&message);
                edit.set(HeaderId::From, "<sip:mallory@contoso.example>;tag=x");
                self.ready.push_back(Output::Send { flow, bytes: edit.write() });
            }
            Plant::ShowsCredentials if delivery => {
                let mut edit = Edit::new(&message);
                edit.append(HeaderId::ProxyAuthorization, "Digest username=\"alice\", response=\"0\"");
                self.ready.push_back(Output::Send { flow, bytes: edit.write() });
            }
            Plant::SwallowsCancel if message.is_request() && message.method() == Method::Cancel => {
                self.pretend(flow, &message, 200);
            }
            Plant::SwallowsBye if message.is_request() && message.method() == Method::Bye => {
                self.pretend(flow, &message, 200);
            }
            Plant::IgnoresRegistrations if message.method() == Method::Register => {}
            Plant::IgnoresSenders if !message.is_request() && message.method() == Method::Message => {}
            _ => self.ready.push_back(Output::Send { flow, bytes }),
        }
    }

    /// Answers a request of the honest role in the name of the device.
    fn pretend(&mut self, flow: Flow, request: &Message, status: u16) {
        let bytes = ResponseBuilder::new(request, status).to_tag("pretended").build();
        let now = self.now.expect("nothing is sent before anything was received");
        self.honest.handle(now, Input::Received { flow, bytes });
    }

    fn received(&mut self, flow: Flow, bytes: &Bytes) {
        let Ok(message) = Message::parse(bytes.clone()) else { return };
        if message.is_request() && message.method() == Method::Register {
            let who = message.to().map(|t| t.uri.as_str().to_owned()).unwrap_or_default();
            self.flows.insert(who, flow);
        }
        let taken = message.status() == Some(200) && message.method() == Method::Message;
        if let Some((flow, bytes)) = self.deliveries.remove(&branch(&message)).filter(|_| taken) {
            let again = Message::parse(bytes).expect("it was parsed before");
            let via = String::from_utf8_lossy(again.top_via().expect("it has one").text).into_owned();
            let mut edit = Edit::new(&again);
            edit.replace_first_element(HeaderId::Via, via.replace("branch=", "branch=z9hG4bKagain"));
            self.ready.push_back(Output::Send { flow, bytes: edit.write() });
        }
    }
}

impl Role for Dishonest {
    fn handle(&mut self, now: Now, input: Input<Home>) {
        self.now = Some(now);
        if let Input::Received { flow, bytes } = &input {
            self.received(*flow, bytes);
        }
        if !(self.plant == Plant::Oversleeps && matches!(input, Input::Timer)) {
            self.honest.handle(now, input);
        }
    }

    fn poll_output(&mut self) -> Option<Output<Home>> {
        while let Some(output) = self.honest.poll_output() {
            match output {
                Output::Send { flow, bytes } => self.sends(flow, bytes),
                other => self.ready.push_back(other),
            }
        }
        self.ready.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.honest.next_deadline().filter(|_| self.plant != Plant::Oversleeps)
    }
}

fn branch(message: &Message) -> String {
    message.top_via().ok().and_then(|v| v.branch().map(str::to_owned)).unwrap_or_default()
}
