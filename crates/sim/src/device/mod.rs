//! A client device: a small but honest SIP user agent, as pure as the nodes it talks to.
//!
//! It registers (RFC 3261 §10, RFC 5626) over one or more flows, signs with Digest (RFC 7616, RFC 8760), sends
//! MESSAGE until it has a final answer, always with the same Message-ID (RFC 5438), takes messages, calls and is
//! called. It publishes its owner's presence (RFC 3903) and watches that of others, one by one or as a list (RFC 6665,
//! RFC 4662). What it answers is its [`Script`]. It retransmits over datagrams as RFC 3261 §17 asks. What it is not: it
//! negotiates no media.
//!
//! A crash ends everything but the outbox and the settings (what it publishes, whom it watches): like a mobile client,
//! it keeps them on its own disk.

mod calls;
mod dialog;
mod messaging;
mod publishing;
mod registration;
mod transaction;
mod transfer;
mod watching;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use node::{Instant, Transport};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sip_message::digest::{self, Algorithm, ResponseInput};
use sip_message::{AuthParams, HeaderId, Message, Method, RequestBuilder, ResponseBuilder};

use crate::event::{Fact, Mark};
pub use calls::CallPlan;
use calls::{InCall, OutCall};
use messaging::OutMessage;
use publishing::Publication;
pub use publishing::{Pose, Posture};
use registration::Flow;
use transaction::{ClientTransaction, Purpose, Served};
pub use transfer::TransferTo;
use watching::Watch;
pub use watching::{NotifyPlan, Seen, Watched};

/// RFC 3261 Table 4: the estimated round trip.
pub(crate) const T1: Duration = Duration::from_millis(500);
/// RFC 3261 Table 4: the longest interval between retransmissions.
pub(crate) const T2: Duration = Duration::from_secs(4);
/// 64 * T1: how long a transaction waits for its end.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(32);
/// Challenges that are answered in a row before the device believes that its password is wrong.
const CHALLENGES_MAX: u8 = 3;

/// Who a device is and how it reaches its server.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Its name in ladders.
    pub name: String,
    /// User part of its address.
    pub user: String,
    /// Domain of its address, and the Digest realm that its password is for.
    pub domain: String,
    /// With what it signs in.
    pub sign_in: SignIn,
    /// Whether that is good, as far as whoever decides it knows: where it is not, nobody expects the device to be registered.
    pub may_sign_in: bool,
    /// What it speaks.
    pub transport: Transport,
    /// Where its flows go, in order of preference; over datagrams only the first is used.
    pub servers: Vec<SocketAddr>,
    /// Its `+sip.instance`, if it has one.
    pub instance: Option<String>,
    /// The Digest algorithm that it prefers.
    pub algorithm: Algorithm,
    /// Expiry that it asks for, in seconds.
    pub expires_seconds: u32,
    /// How often it pings its streams.
    pub keep_alive: Duration,
    /// Whether its messages are CPIM with a Message-ID, and sent until there is an answer; else they are plain text,
    /// and sent once.
    pub cpim: bool,
    /// How long its publications and subscriptions shall last, in seconds.
    pub presence_expires_seconds: u32,
    /// What it answers.
    pub script: Script,
}

/// With what a device signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// Its user's password.
    Password(String),
    /// An app password, which has a name of its own.
    AppPassword {
        /// Its name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token (RFC 8898).
    Token(String),
}

/// What a device answers.
#[derive(Clone, Debug)]
pub struct Script {
    /// To MESSAGE.
    pub on_message: Reaction,
    /// To INVITE.
    pub on_invite: CallPlan,
    /// To NOTIFY.
    pub on_notify: NotifyPlan,
}

/// What a device does with a MESSAGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// 200 at once.
    Take,
    /// 200 after a while.
    TakeLate(Duration),
    /// Another final answer.
    Refuse(u16),
    /// Nothing at all.
    Silent,
}

/// What a device wants of the world.
#[derive(Debug)]
pub(crate) enum Effect {
    Datagram { to: SocketAddr, bytes: Bytes },
    Dial { flow: usize, address: SocketAddr },
    Write { flow: usize, bytes: Bytes },
    Hang { flow: usize },
    Fact(Fact),
}

/// What the world tells a device.
#[derive(Debug)]
pub(crate) enum Happening {
    Datagram { from: SocketAddr, message: Rc<Message> },
    Up { flow: usize },
    DialFailed { flow: usize },
    Down { flow: usize },
    Message { flow: usize, message: Rc<Message> },
    Pong { flow: usize },
    Wake,
}

/// The way back to whoever sent a request.
#[derive(Clone, Copy, Debug)]
enum Path {
    Flow(usize),
    Address(SocketAddr),
}

/// Something that a device will do later. Nothing is ever struck off the list; what is due looks whether it still
/// has a meaning.
#[derive(Clone, Debug)]
enum Alarm {
    Retransmit(String),
    TransactionTimeout(String),
    Register(usize),
    Refresh { flow: usize, serial: u32 },
    KeepAlive { flow: usize, dialled: u32 },
    PongDue { flow: usize, dialled: u32, pings: u32 },
    SendAgain(u64),
    ReplyLate { key: (String, String), mark: Mark },
    PickUp(String),
    StopRinging(String),
    ResendFinal(String),
    FinalTimeout(String),
    TalkedEnough(String),
    Cancel(String),
    CancelTimeout(String),
    HangUp(String),
    PublishAgain,
    RefreshPublication(u32),
    SubscribeAgain(Watched),
    RefreshWatch { watched: Watched, serial: u32 },
    WatchOver(Watched),
}

/// A challenge that the device can answer for as long as the server likes its nonce.
#[derive(Clone, Debug)]
struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    nonce_count: u32,
}

/// A client device. Feed it with `handle`, command it with the other methods, then take its effects.
pub struct Device {
    /// Who it is. Its script may be changed at any time.
    pub config: DeviceConfig,
    address: SocketAddr,
    now: Instant,
    rng: ChaCha8Rng,
    effects: Vec<Effect>,
    alarms: BTreeMap<(Instant, u64), Alarm>,
    serial: u64,
    wants_registration: bool,
    flows: Vec<Flow>,
    challenges: BTreeMap<HeaderId, Challenge>,
    transactions: BTreeMap<String, ClientTransaction>,
    served: BTreeMap<(String, String), Served>,
    outbox: BTreeMap<u64, OutMessage>,
    out_calls: BTreeMap<String, OutCall>,
    in_calls: BTreeMap<String, InCall>,
    publication: Publication,
    watches: BTreeMap<Watched, Watch>,
}

impl Device {
    pub(crate) fn new(config: DeviceConfig, address: SocketAddr, rng: ChaCha8Rng) -> Device {
        let flows = config.servers.iter().map(|server| Flow::new(*server)).collect();
        Device {
            config,
            address,
            now: Instant(0),
            rng,
            effects: Vec::new(),
            alarms: BTreeMap::new(),
            serial: 0,
            wants_registration: false,
            flows,
            challenges: BTreeMap::new(),
            transactions: BTreeMap::new(),
            served: BTreeMap::new(),
            outbox: BTreeMap::new(),
            out_calls: BTreeMap::new(),
            in_calls: BTreeMap::new(),
            publication: Publication::default(),
            watches: BTreeMap::new(),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, happening: Happening) {
        self.now = now;
        match happening {
            Happening::Datagram { from, message } => self.message(Path::Address(from), message),
            Happening::Message { flow, message } => self.message(Path::Flow(flow), message),
            Happening::Up { flow } => self.flow_up(flow),
            Happening::DialFailed { flow } | Happening::Down { flow } => self.flow_down(flow),
            Happening::Pong { flow } => self.pong(flow),
            Happening::Wake => {
                while let Some(entry) = self.alarms.first_entry().filter(|e| e.key().0 <= now) {
                    let alarm = entry.remove();
                    self.ring_alarm(alarm);
                }
            }
        }
    }

    /// The process ends: all that it knew is gone but for the outbox and the settings.
    pub(crate) fn crash(&mut self, now: Instant) {
        self.now = now;
        self.effects.clear();
        self.alarms.clear();
        self.flows = self.config.servers.iter().map(|server| Flow::new(*server)).collect();
        self.challenges.clear();
        self.transactions.clear();
        self.served.clear();
        self.out_calls.clear();
        self.in_calls.clear();
        self.publication = self.publication.after_crash();
        let watches = std::mem::take(&mut self.watches);
        self.watches =
            watches.into_iter().filter_map(|(of, watch)| Some((of, watch.after_crash()?))).collect();
        let cpim = self.config.cpim;
        self.outbox.retain(|_, message| cpim || !message.in_flight);
        for message in self.outbox.values_mut() {
            message.in_flight = false;
        }
    }

    /// The process starts again, and does what it did before.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.now = now;
        if self.wants_registration {
            self.register(now);
        }
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.alarms.keys().next().map(|(at, _)| *at)
    }

    /// Its SIP address.
    pub fn address_of_record(&self) -> String {
        format!("{}@{}", self.config.user, self.config.domain)
    }

    /// Messages that have no final answer yet.
    pub fn unconcluded(&self) -> usize {
        self.outbox.len()
    }

    /// Calls that are under way, as caller and as callee.
    pub fn calls_under_way(&self) -> usize {
        self.out_calls.values().filter(|c| !c.is_over()).count()
            + self.in_calls.values().filter(|c| !c.is_over()).count()
    }

    /// Whether it should be registered by its own will.
    pub fn wants_registration(&self) -> bool {
        self.wants_registration
    }

    /// Whether a flow is registered, as far as the device knows.
    pub fn is_registered(&self) -> bool {
        self.flows.iter().any(|f| f.registered_until.is_some_and(|until| until > self.now))
    }

    fn message(&mut self, path: Path, message: Rc<Message>) {
        if message.is_request() {
            self.request(path, &message);
        } else {
            self.response(&message);
        }
    }

    fn request(&mut self, path: Path, request: &Message) {
        let Some(branch) = request.top_via().ok().and_then(|v| v.branch().map(str::to_owned)) else { return };
        let key = (branch, request.method().as_str().to_owned());
        if let Some(served) = self.served.get(&key) {
            if let Some(response) = served.response.clone() {
                self.send_path(path, response);
            }
            return;
        }
        if request.method() != Method::Ack {
            self.served.insert(key.clone(), Served { path, response: None, late: None });
        }
        match request.method() {
            Method::Message => self.message_received(key, request),
            Method::Invite => self.invite_received(key, request),
            Method::Ack => self.ack_received(request),
            Method::Cancel => self.cancel_received(key, request),
            Method::Bye => self.bye_received(key, request),
            Method::Refer => self.refer_received(&key, request),
            Method::Notify if request.header(HeaderId::Event).is_some_and(|e| e.starts_with(b"refer")) => {
                self.transfer_notified(&key, request);
            }
            Method::Notify => self.notify_received(&key, request),
            Method::Options => self.reply(&key, ResponseBuilder::new(request, 200).build()),
            _ => self.reply(&key, ResponseBuilder::new(request, 405).build()),
        }
    }

    fn response(&mut self, response: &Message) {
        let (Some(status), Ok(via)) = (response.status(), response.top_via()) else { return };
        let Some(branch) = via.branch().map(str::to_owned) else { return };
        if response.method() == Method::Invite && (200..300).contains(&status) {
            self.transactions.remove(&branch);
            return self.call_answered(response);
        }
        let branch = match response.method() {
            Method::Cancel => format!("{branch} CANCEL"),
            _ => branch,
        };
        let Some(transaction) = self.transactions.get_mut(&branch) else { return };
        if let Some(ack) = &transaction.ack {
            // A retransmitted refusal of an INVITE: RFC 3261 §17.1.1.2, state Completed.
            let (flow, ack) = (transaction.flow, ack.clone());
            return self.send_flow(flow, ack);
        }
        if response.method().as_str() != transaction.method {
            return;
        }
        if status < 200 {
            transaction.proceeding = true;
            let purpose = transaction.purpose.clone();
            if let Purpose::Invite { call } = purpose {
                self.call_progress(&call);
            }
            return;
        }
        let purpose = transaction.purpose.clone();
        if let (Purpose::Message { number }, true) = (&purpose, transaction.was_retransmitted()) {
            self.message_doubtful(*number);
        }
        if let Purpose::Invite { .. } = purpose {
            self.acknowledge_refusal(&branch, response);
        } else {
            self.transactions.remove(&branch);
        }
        if status == 401 || status == 407 {
            self.learn_challenges(response);
        }
        self.concluded(purpose, Some(response), status);
    }

    /// A transaction ended: with a response, or without one (then `status` is 408 or 503, made here).
    fn concluded(&mut self, purpose: Purpose, response: Option<&Message>, status: u16) {
        match purpose {
            Purpose::Register { flow, dialled, removes } => {
                self.register_concluded(flow, dialled, removes, response, status);
            }
            Purpose::Message { number } => self.message_concluded(number, response.is_some(), status),
            Purpose::Invite { call } => self.invite_refused(&call, response.is_some(), status),
            Purpose::Bye { call, leg } => self.bye_concluded(&call, &leg, response.is_some(), status),
            Purpose::Cancel | Purpose::TransferNotice => {}
            Purpose::Refer { call, refer_to, challenged } => {
                self.refer_concluded(&call, &refer_to, challenged, response.is_some(), status);
            }
            Purpose::Publish => self.publish_concluded(response, status),
            Purpose::Subscribe { watched, removes } => {
                self.subscribe_concluded(&watched, removes, response, status);
            }
        }
    }

    fn ring_alarm(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Retransmit(branch) => self.retransmit(&branch),
            Alarm::TransactionTimeout(branch) => self.transaction_timeout(&branch),
            Alarm::Register(flow) => self.register_flow(flow),
            Alarm::Refresh { flow, serial } => self.refresh(flow, serial),
            Alarm::KeepAlive { flow, dialled } => self.keep_alive(flow, dialled),
            Alarm::PongDue { flow, dialled, pings } => self.pong_due(flow, dialled, pings),
            Alarm::SendAgain(number) => self.attempt_message(number),
            Alarm::ReplyLate { key, mark } => self.reply_late(&key, mark),
            Alarm::PickUp(call) => self.pick_up(&call),
            Alarm::StopRinging(call) => self.stop_ringing(&call),
            Alarm::ResendFinal(call) => self.resend_final(&call),
            Alarm::FinalTimeout(call) => self.final_timeout(&call),
            Alarm::TalkedEnough(call) => self.talked_enough(&call),
            Alarm::Cancel(call) => self.cancel(&call),
            Alarm::CancelTimeout(call) => self.cancel_timeout(&call),
            Alarm::HangUp(call) => self.hang_up(&call),
            Alarm::PublishAgain => self.attempt_publish(),
            Alarm::RefreshPublication(serial) => self.refresh_publication(serial),
            Alarm::SubscribeAgain(watched) => self.subscribe_again(&watched),
            Alarm::RefreshWatch { watched, serial } => self.refresh_watch(&watched, serial),
            Alarm::WatchOver(watched) => self.watch_over(&watched),
        }
    }

    fn alarm(&mut self, after: Duration, alarm: Alarm) {
        self.serial += 1;
        self.alarms.insert((self.now + after, self.serial), alarm);
    }

    fn fact(&mut self, fact: Fact) {
        self.effects.push(Effect::Fact(fact));
    }

    /// A text that nobody else makes: of the seed, so that it differs after a crash as well.
    fn token(&mut self, prefix: &str) -> String {
        format!("{prefix}{:012x}", self.rng.random::<u64>() >> 16)
    }

    fn branch(&mut self) -> String {
        self.token("z9hG4bK")
    }

    fn is_stream(&self) -> bool {
        self.config.transport.is_reliable()
    }

    fn via(&self, branch: &str) -> String {
        format!("SIP/2.0/{} {};branch={branch};rport", self.config.transport.via_token(), self.address)
    }

    fn contact_uri(&self) -> String {
        let transport = match self.config.transport {
            Transport::Udp => String::new(),
            other => format!(";transport={}", other.uri_parameter()),
        };
        format!("sip:{}@{}{transport}", self.config.user, self.address)
    }

    /// The flow for a request outside of a registration: the first registered one, else the first that is up.
    fn best_flow(&self) -> Option<usize> {
        let up = |f: &&(usize, &Flow)| f.1.is_up(self.is_stream());
        let flows: Vec<(usize, &Flow)> = self.flows.iter().enumerate().collect();
        let registered = flows.iter().filter(up).find(|(_, f)| f.registered_until.is_some());
        registered.or_else(|| flows.iter().find(up)).map(|(i, _)| *i)
    }

    fn send_flow(&mut self, flow: usize, bytes: Bytes) {
        if !self.is_stream() {
            let to = self.flows[flow].server;
            self.effects.push(Effect::Datagram { to, bytes });
        } else if self.flows[flow].is_up(true) {
            self.effects.push(Effect::Write { flow, bytes });
        }
    }

    fn send_path(&mut self, path: Path, bytes: Bytes) {
        match path {
            Path::Flow(flow) => self.send_flow(flow, bytes),
            Path::Address(to) => self.effects.push(Effect::Datagram { to, bytes }),
        }
    }

    /// Answers a request, and remembers the answer for its retransmissions.
    fn reply(&mut self, key: &(String, String), response: Bytes) {
        let Some(served) = self.served.get_mut(key) else { return };
        served.response = Some(response.clone());
        let path = served.path;
        self.send_path(path, response);
    }

    /// Answers the last challenge of a registrar in a REGISTER, of a proxy in everything else (RFC 3261 §22.1).
    fn sign(&mut self, request: &mut RequestBuilder, method: &str, uri: &str, body: &[u8]) {
        let cnonce = self.token("");
        let id = if method == "REGISTER" { HeaderId::Authorization } else { HeaderId::ProxyAuthorization };
        let (user, password) = match &self.config.sign_in {
            SignIn::Password(password) => (self.config.user.clone(), password.clone()),
            SignIn::AppPassword { username, password } => (username.clone(), password.clone()),
            SignIn::Token(token) => {
                request.header(id, format!("Bearer {token}"));
                return;
            }
        };
        if let Some(challenge) = self.challenges.get_mut(&id) {
            challenge.nonce_count += 1;
            let nc = format!("{:08x}", challenge.nonce_count);
            let nonce = &challenge.nonce;
            let ha1 = digest::ha1(challenge.algorithm, &user, &challenge.realm, &password);
            let qop = Some("auth");
            let input = ResponseInput { method, uri, nonce, qop, nc: &nc, cnonce: &cnonce, body };
            let response = digest::response(&ha1, &input);
            let algorithm = algorithm_name(challenge.algorithm);
            let mut value = format!(
                "Digest username=\"{user}\", realm=\"{}\", nonce=\"{nonce}\", uri=\"{uri}\", \
                 response=\"{response}\", algorithm={algorithm}, cnonce=\"{cnonce}\", qop=auth, nc={nc}",
                challenge.realm
            );
            if let Some(opaque) = &challenge.opaque {
                value += &format!(", opaque=\"{opaque}\"");
            }
            request.header(id, value);
        }
    }

    fn learn_challenges(&mut self, response: &Message) {
        for (challenge, answer) in [
            (HeaderId::WwwAuthenticate, HeaderId::Authorization),
            (HeaderId::ProxyAuthenticate, HeaderId::ProxyAuthorization),
        ] {
            let values = response.headers().filter(|h| h.id == challenge);
            let offered: Vec<Challenge> = values.filter_map(|h| read_challenge(h.value)).collect();
            let preferred = offered.iter().find(|c| c.algorithm == self.config.algorithm);
            if let Some(chosen) = preferred.or(offered.first()) {
                self.challenges.insert(answer, chosen.clone());
            }
        }
    }
}

fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "MD5",
        Algorithm::Sha256 => "SHA-256",
        Algorithm::Sha512_256 => "SHA-512-256",
    }
}

fn read_challenge(value: &[u8]) -> Option<Challenge> {
    let params = AuthParams::parse(value).ok()?;
    if !params.scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let algorithm = match params.get("algorithm").as_deref() {
        None | Some("MD5") => Algorithm::Md5,
        Some("SHA-256") => Algorithm::Sha256,
        Some("SHA-512-256") => Algorithm::Sha512_256,
        Some(_) => return None,
    };
    Some(Challenge {
        realm: params.get("realm")?.into_owned(),
        nonce: params.get("nonce")?.into_owned(),
        opaque: params.get("opaque").map(|o| o.into_owned()),
        algorithm,
        nonce_count: 0,
    })
}
