//! A role that does not do what its inner, honest role wants: for tests that show that the checkers can fail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use federation::Policy;
use node::{Flow, Input, Instant, Now, Outcome, Output};
use records::{CallEnd, Change, StoredCall};
use sip_message::{Edit, HeaderId, Message, Method, ResponseBuilder};

use crate::{Factory, Home, Load, Role};

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
    /// Shows everybody the most that anybody was shown of a person.
    ShowsAll,
    /// Lets who is blocked tell it from "offline".
    MarksBlocked,
    /// Tells watchers the first state and no other.
    HidesNews,
    /// Writes no call into any log.
    ForgetsCalls,
    /// Logs every call as missed.
    LogsMissed,
    /// Shows who watches calls one that is none of theirs.
    ShowsCalls,
    /// Closes no connection.
    HoldsOn,
    /// Answers every REGISTER with 200.
    LetsEverybodyIn,
    /// Takes registrations for longer than it says.
    ForgetsExpiry,
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
    /// The longest document that anybody was shown.
    richest: Bytes,
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
            richest: Bytes::new(),
            now: None,
        })
    })
}

impl Dishonest {
    fn sends(&mut self, flow: Flow, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes.clone()) else {
            return self.ready.push_back(Output::Send { flow, bytes });
        };
        let notify = message.is_request() && message.method() == Method::Notify && !message.body().is_empty();
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
            Plant::ShowsAll if notify => {
                if message.body().len() > self.richest.len() {
                    self.richest = Bytes::copy_from_slice(message.body());
                }
                let mut edit = Edit::new(&message);
                edit.body(None, self.richest.clone());
                self.ready.push_back(Output::Send { flow, bytes: edit.write() });
            }
            Plant::ShowsCalls if notify && contains(message.body(), "dialog-info") => {
                let text = String::from_utf8_lossy(message.body()).into_owned();
                let call = "<dialog id=\"x\"><state>confirmed</state></dialog></dialog-info>";
                let mut edit = Edit::new(&message);
                edit.body(None, text.replace("</dialog-info>", call).into());
                self.ready.push_back(Output::Send { flow, bytes: edit.write() });
            }
            Plant::MarksBlocked if notify && !contains(message.body(), "nobody@") => {
                let mut edit = Edit::new(&message);
                edit.body(None, Bytes::from([message.body(), b"<!-- -->\r\n"].concat()));
                self.ready.push_back(Output::Send { flow, bytes: edit.write() });
            }
            Plant::HidesNews if notify && message.cseq().is_ok_and(|c| c.number > 1) => {
                self.pretend(flow, &message, 200);
            }
            Plant::IgnoresRegistrations if message.method() == Method::Register => {}
            Plant::LetsEverybodyIn if message.method() == Method::Register => {
                let text = String::from_utf8_lossy(message.bytes()).into_owned();
                let rest = text.split_once("\r\n").map_or("", |(_, rest)| rest);
                let contact = "Contact: <sip:x@192.0.2.1>;expires=60;+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-000000000bob>\"";
                let bytes = format!("SIP/2.0 200 OK\r\n{contact}\r\n{rest}").into();
                self.ready.push_back(Output::Send { flow, bytes });
            }
            Plant::ForgetsExpiry if message.method() == Method::Register => {
                let text = String::from_utf8_lossy(message.bytes()).into_owned();
                let bytes = text.replace("expires=3600", "expires=120").into();
                self.ready.push_back(Output::Send { flow, bytes });
            }
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
        let input = match input {
            Input::Received { flow, bytes } if self.plant == Plant::ForgetsExpiry => {
                Input::Received { flow, bytes: for_longer(bytes) }
            }
            input => input,
        };
        if !(self.plant == Plant::Oversleeps && matches!(input, Input::Timer)) {
            self.honest.handle(now, input);
        }
    }

    fn poll_output(&mut self) -> Option<Output<Home>> {
        while let Some(output) = self.honest.poll_output() {
            match output {
                Output::Send { flow, bytes } => self.sends(flow, bytes),
                Output::Persist { token, change: Change::AppendCall(_), .. }
                    if self.plant == Plant::ForgetsCalls =>
                {
                    let now = self.now.expect("nothing is logged before anything was received");
                    self.honest.handle(now, Input::Persisted { token, outcome: Outcome::Applied });
                }
                Output::Persist { token, change: Change::AppendCall(call), urgency }
                    if self.plant == Plant::LogsMissed =>
                {
                    let change = Change::AppendCall(StoredCall { end: CallEnd::Missed, ..call });
                    self.ready.push_back(Output::Persist { token, change, urgency });
                }
                Output::Close { .. } if self.plant == Plant::HoldsOn => {}
                other => self.ready.push_back(other),
            }
        }
        self.ready.pop_front()
    }

    fn set_policy(&mut self, now: Now, policy: Arc<Policy>) {
        self.honest.set_policy(now, policy);
    }

    fn load(&self) -> Option<Load> {
        self.honest.load()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.honest.next_deadline().filter(|_| self.plant != Plant::Oversleeps)
    }
}

/// A REGISTER that asks for an hour; anything else as it is.
fn for_longer(bytes: Bytes) -> Bytes {
    let Ok(message) = Message::parse(bytes.clone()) else { return bytes };
    if !message.is_request() || message.method() != Method::Register {
        return bytes;
    }
    let mut edit = Edit::new(&message);
    edit.set(HeaderId::Expires, "3600");
    edit.write()
}

fn contains(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|w| w == text.as_bytes())
}

fn branch(message: &Message) -> String {
    message.top_via().ok().and_then(|v| v.branch().map(str::to_owned)).unwrap_or_default()
}
