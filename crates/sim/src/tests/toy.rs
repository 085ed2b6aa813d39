//! The smallest home that the world can be tested with: it believes everybody, commits messages and delivers them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use directory::SipAddress;
use node::{Flow, Input, Instant, Now, Output, PersistToken, QueryToken, Urgency};
use records::{Change, DeviceKey, Direction, Query, Rows, Sequence, StoredMessage};
use sip_message::{HeaderId, Message, Method, RequestBuilder, ResponseBuilder};

use crate::{Home, Role};

#[derive(Default)]
pub(super) struct Toy {
    outputs: VecDeque<Output<Home>>,
    started: bool,
    token: u64,
    users: BTreeMap<String, Owner>,
    waiting: BTreeMap<u64, (Flow, Bytes, StoredMessage)>,
    reading: BTreeMap<u64, (String, DeviceKey)>,
    delivering: BTreeMap<String, (String, DeviceKey, Sequence)>,
}

#[derive(Default)]
struct Owner {
    id: Option<directory::UserId>,
    last: Sequence,
    devices: BTreeMap<DeviceKey, (Option<Flow>, Sequence)>,
}

impl Toy {
    fn next(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    fn request(&mut self, now: Now, flow: Flow, request: &Message) {
        let user = |address: &str| address.split_once(':').map_or("", |(_, r)| r).to_owned();
        match request.method() {
            Method::Register => {
                let who = user(request.to().unwrap().uri.as_str());
                let contact = String::from_utf8(request.header(HeaderId::Contact).unwrap().to_vec()).unwrap();
                let key = contact.split_once("instance=").unwrap().1.split('>').next().unwrap();
                let key = DeviceKey(key.trim_start_matches("\"<").to_owned());
                let mut response = ResponseBuilder::new(request, 200);
                response.to_tag("t").header(HeaderId::Contact, format!("{contact};expires=600"));
                self.outputs.push_back(Output::Send { flow, bytes: response.build() });
                let token = self.next();
                let owner = self.users.get_mut(&who).unwrap();
                let device = owner.devices.entry(key.clone()).or_default();
                device.0 = Some(flow);
                let query = Query::Messages { owner: owner.id.unwrap(), after: device.1, limit: u32::MAX };
                self.reading.insert(token, (who, key));
                self.outputs.push_back(Output::Query { token: QueryToken(token), query });
            }
            Method::Message => {
                let who = user(request.request_uri_text());
                let token = self.next();
                let owner = self.users.get_mut(&who).unwrap();
                owner.last.0 += 1;
                let mut identity = [0; 16];
                let id = crate::event::Mark::find(request.body()).unwrap().number;
                identity[..8].copy_from_slice(&id.to_be_bytes());
                let message = StoredMessage {
                    owner: owner.id.unwrap(),
                    sequence: owner.last,
                    direction: Direction::Received,
                    peer: SipAddress::parse(request.from().unwrap().uri.as_str()).unwrap(),
                    identity,
                    received_unix_ms: now.wall.0,
                    request: request.bytes().to_vec(),
                };
                let response = ResponseBuilder::new(request, 202).to_tag("t").build();
                self.waiting.insert(token, (flow, response, message.clone()));
                let change = Change::AppendMessage(message);
                self.outputs.push_back(Output::Persist {
                    token: PersistToken(token),
                    change,
                    urgency: Urgency::Now,
                });
            }
            _ => {}
        }
    }

    fn deliver(&mut self, who: &str, key: &DeviceKey, message: &StoredMessage) {
        let Some(flow) = self.users[who].devices[key].0 else { return };
        let stored = Message::parse(Bytes::from(message.request.clone())).unwrap();
        let branch = format!("z9hG4bK{}-{}", self.next(), stored.call_id().unwrap());
        let mut request = RequestBuilder::new(Method::Message, &format!("sip:{who}"));
        request.header(HeaderId::Via, format!("SIP/2.0/TCP home;branch={branch}"));
        for id in [HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::CSeq] {
            request.header(id, stored.header(id).unwrap());
        }
        request.body("message/cpim", stored.body());
        self.delivering.insert(branch, (who.into(), key.clone(), message.sequence));
        self.outputs.push_back(Output::Send { flow, bytes: request.build() });
    }

    fn delivered(&mut self, response: &Message) {
        let branch = response.top_via().unwrap().branch().unwrap().to_owned();
        let Some((who, device, through)) = self.delivering.remove(&branch) else { return };
        let token = PersistToken(self.next());
        let owner = self.users.get_mut(&who).unwrap();
        owner.devices.get_mut(&device).unwrap().1 = through;
        let change = Change::AdvanceCursor { owner: owner.id.unwrap(), device, through, seen_unix_ms: 0 };
        self.outputs.push_back(Output::Persist { token, change, urgency: Urgency::Now });
    }
}

impl Role for Toy {
    fn handle(&mut self, now: Now, input: Input<Home>) {
        if !std::mem::replace(&mut self.started, true) {
            self.outputs.push_back(Output::Query { token: QueryToken(0), query: Query::Load });
        }
        match input {
            Input::Received { flow, bytes } => {
                let message = Message::parse(bytes).unwrap();
                if message.is_request() {
                    self.request(now, flow, &message);
                } else {
                    self.delivered(&message);
                }
            }
            Input::Ping { connection } => {
                let flow = Flow::Connection(connection);
                self.outputs.push_back(Output::Send { flow, bytes: Bytes::from_static(b"\r\n") });
            }
            Input::Closed { connection, .. } => {
                for device in self.users.values_mut().flat_map(|o| o.devices.values_mut()) {
                    device.0 = device.0.filter(|f| *f != Flow::Connection(connection));
                }
            }
            Input::Persisted { token, .. } => {
                let Some((flow, bytes, message)) = self.waiting.remove(&token.0) else { return };
                self.outputs.push_back(Output::Send { flow, bytes });
                let who = self.users.iter().find(|(_, o)| o.id == Some(message.owner)).unwrap().0.clone();
                for key in self.users[&who].devices.keys().cloned().collect::<Vec<_>>() {
                    self.deliver(&who, &key, &message);
                }
            }
            Input::Rows { rows: Ok(Rows::Loaded(users)), .. } => {
                for record in users {
                    let devices = record.mailbox.cursors.into_iter().map(|(k, s)| (k, (None, s))).collect();
                    let owner = Owner { id: Some(record.user.id), last: record.mailbox.last, devices };
                    self.users.insert(record.user.address.as_str().into(), owner);
                }
            }
            Input::Rows { token, rows: Ok(Rows::Messages(messages)) } => {
                let (who, key) = self.reading.remove(&token.0).unwrap();
                for message in messages {
                    self.deliver(&who, &key, &message);
                }
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Home>> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }
}
