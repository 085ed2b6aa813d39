//! A SIP device that does what a test scripts.
//!
//! A thread reads what arrives, so that a test can speak for several devices in turn. It does by itself only what every
//! client does and no test is about: it answers challenges, acknowledges refused INVITEs, and repeats its answer to a
//! request that comes twice.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use sip_message::digest::Algorithm;
use sip_message::{Contacts, HeaderId, Message, ResponseBuilder};

use crate::{Answer, Dialog, Draft, Incoming, Link, LinkReader, PATIENCE, Transport, challenges, unique};

/// Who a device belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Account {
    pub user: String,
    pub password: String,
    pub domain: String,
}

impl Account {
    /// `sip:user@domain`.
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }
}

/// A device. Dropping it closes its connection without a word, as a crash would.
pub struct Device {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction(u64);

struct Shared {
    account: Account,
    link: Arc<Link>,
    tag: String,
    contact: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What answers a challenge, where it is not the account's name and password.
    credentials: Option<(String, String)>,
    /// Which of the offered algorithms answers a challenge.
    algorithm: Algorithm,
    instance: String,
    requests: Vec<Message>,
    responses: Vec<(Transaction, Message)>,
    sent: HashMap<Transaction, Sent>,
    branches: HashMap<String, Transaction>,
    /// Answers and requests by branch and method, to know what comes twice.
    answers: HashMap<(String, String), Bytes>,
    seen: HashSet<(String, String)>,
    /// Uses of each nonce.
    nonce_counts: HashMap<String, u32>,
    /// What is answered without asking the test, with which status.
    automatic: HashMap<String, u16>,
    others: Vec<Bytes>,
    pongs: usize,
    closed: Option<String>,
    /// Start lines in order, for the message of a failed test.
    ladder: Vec<String>,
    transactions: u64,
}

/// The last form of a request.
struct Sent {
    draft: Draft,
    via: String,
    has_answered_challenge: bool,
}

impl Device {
    /// Connects a device of `account`; `ca` is the PEM file of the CA that the server's certificate must have.
    pub fn connect(account: Account, transport: Transport, server: SocketAddr, ca: &Path) -> Device {
        Device::try_connect(account, transport, server, ca)
            .unwrap_or_else(|error| panic!("no connection to {} {server}: {error}", transport.name()))
    }

    /// Like [`Device::connect`], where the server may refuse.
    pub fn try_connect(
        account: Account,
        transport: Transport,
        server: SocketAddr,
        ca: &Path,
    ) -> std::io::Result<Device> {
        let (link, reader) = Link::open(transport, server, ca)?;
        Ok(Device::on(account, link, reader))
    }

    /// Waits until the server connects to where a device of `account` listens.
    pub fn accept(account: Account, listener: &TcpListener) -> Device {
        let listener = listener.try_clone().expect("a descriptor");
        let (sender, accepted) = mpsc::channel();
        // Nobody waits for it once the patience is over.
        std::thread::spawn(move || drop(sender.send(listener.accept())));
        let accepted = accepted.recv_timeout(PATIENCE).expect("the server connects");
        let (link, reader) =
            accepted.and_then(|(stream, _)| Link::accepted(stream)).expect("the connection stands");
        Device::on(account, link, reader)
    }

    /// A device of `account` on a connection that is open already.
    pub fn over(account: Account, (link, reader): (Arc<Link>, LinkReader)) -> Device {
        Device::on(account, link, reader)
    }

    fn on(account: Account, link: Arc<Link>, reader: LinkReader) -> Device {
        let transport = link.transport();
        let contact = if transport.is_websocket() {
            // RFC 7118 §5: nobody can connect to a browser, and its Contact says so.
            format!("sip:{}@{}.invalid;transport=ws", account.user, unique())
        } else {
            format!("sip:{}@{};transport={}", account.user, link.local(), transport.name())
        };
        let state = State {
            credentials: None,
            algorithm: Algorithm::Sha256,
            instance: instance(),
            requests: Vec::new(),
            responses: Vec::new(),
            sent: HashMap::new(),
            branches: HashMap::new(),
            answers: HashMap::new(),
            seen: HashSet::new(),
            nonce_counts: HashMap::new(),
            automatic: HashMap::new(),
            others: Vec::new(),
            pongs: 0,
            closed: None,
            ladder: Vec::new(),
            transactions: 0,
        };
        let shared = Arc::new(Shared {
            account,
            link,
            tag: unique(),
            contact,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || shared.read(reader)
        });
        Device { shared, reader: Some(thread) }
    }

    /// Answers challenges with another user name and password than the account's: an app password.
    pub fn sign_in_as(&self, user: &str, password: &str) {
        self.shared.lock().credentials = Some((user.to_owned(), password.to_owned()));
    }

    /// Answers challenges by this algorithm.
    pub fn answer_with(&self, algorithm: Algorithm) {
        self.shared.lock().algorithm = algorithm;
    }

    /// Takes the identity of another device: one that comes back, or its second flow.
    pub fn be(&self, instance: &str) {
        instance.clone_into(&mut self.shared.lock().instance);
    }

    /// Answers every request of this method by itself from now on; they can still be taken with [`Device::arrived`].
    pub fn answer_every(&self, method: &str, status: u16) {
        self.shared.lock().automatic.insert(method.to_owned(), status);
    }

    /// Sends a request with a new Via and leaves its answers to [`Device::answer`].
    pub fn send(&self, draft: Draft) -> Transaction {
        let mut state = self.shared.lock();
        state.transactions += 1;
        let transaction = Transaction(state.transactions);
        self.shared.transmit(&mut state, transaction, draft, false);
        transaction
    }

    /// Sends a request and waits for its final answer.
    pub fn ask(&self, draft: Draft) -> Message {
        let transaction = self.send(draft);
        self.answer(transaction)
    }

    /// Sends a request and waits for its final answer, or for the end of the connection: then there is none.
    pub fn try_ask(&self, draft: Draft) -> Option<Message> {
        let transaction = self.send(draft);
        self.wait("a final answer, or the end of the connection", |state| {
            let answer = state.take_response(transaction, |status| status >= 200);
            if answer.is_some() || state.closed.is_some() { Some(answer) } else { None }
        })
    }

    /// Sends a request again as it was, octet for octet: what a client does whose answer was lost.
    pub fn send_again(&self, transaction: Transaction) {
        let state = self.shared.lock();
        let Sent { draft, via, .. } = &state.sent[&transaction];
        self.shared.put(&draft.build(via));
    }

    /// Sends octets that may be anything, as one message.
    pub fn send_octets(&self, octets: &[u8]) {
        self.shared.put(octets);
    }

    /// Waits for the final answer to a request.
    pub fn answer(&self, transaction: Transaction) -> Message {
        self.wait("a final answer", |state| state.take_response(transaction, |status| status >= 200))
    }

    /// Waits for a provisional answer with this status.
    pub fn provisional(&self, transaction: Transaction, status: u16) -> Message {
        self.wait(&format!("a {status}"), |state| state.take_response(transaction, |given| given == status))
    }

    /// Waits for a request.
    pub fn expect(&self, method: &str) -> Message {
        self.wait(&format!("a {method}"), |state| state.take_request(method))
    }

    /// Waits for a request of the dialog with this Call-ID.
    pub fn expect_within(&self, call_id: &str, method: &str) -> Message {
        self.wait(&format!("a {method} of {call_id}"), |state| {
            let at = state.requests.iter().position(|request| {
                request.method().as_str() == method && request.call_id().ok() == Some(call_id)
            })?;
            Some(state.requests.remove(at))
        })
    }

    /// Waits for a request and answers it.
    pub fn expect_and_answer(&self, method: &str, status: u16) -> Message {
        let request = self.expect(method);
        self.respond(&request, status);
        request
    }

    /// Waits until one of these devices gets a request, and says which.
    pub fn first_of<'a>(devices: &[&'a Device], method: &str) -> (&'a Device, Message) {
        /// How long one device is watched before the next is.
        const TURN: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + PATIENCE;
        for device in devices.iter().cycle() {
            let mut state = device.shared.lock();
            if state.requests.iter().all(|request| request.method().as_str() != method) {
                (state, _) =
                    device.shared.changed.wait_timeout(state, TURN).expect("no reader panics with the lock");
            }
            if let Some(request) = state.take_request(method) {
                return (device, request);
            }
            assert!(
                Instant::now() < deadline,
                "none got a {method}; the last had:\n{}",
                state.ladder.join("\n")
            );
        }
        unreachable!("devices are asked in turn for as long as it takes")
    }

    /// Takes a request that has arrived.
    pub fn arrived(&self, method: &str) -> Option<Message> {
        self.shared.lock().take_request(method)
    }

    /// Whether a final answer has arrived.
    pub fn has_final(&self, transaction: Transaction) -> bool {
        let is_final = |message: &Message| message.status().is_some_and(|status| status >= 200);
        self.shared.lock().responses.iter().any(|(of, message)| *of == transaction && is_final(message))
    }

    /// Answers a request.
    pub fn respond(&self, request: &Message, status: u16) {
        self.respond_with(request, status, |_| {});
    }

    /// Answers a request with more than its status. Contact, Record-Route and a To tag are there where a dialog
    /// needs them.
    pub fn respond_with(&self, request: &Message, status: u16, more: impl FnOnce(&mut ResponseBuilder<'_>)) {
        let mut response = ResponseBuilder::new(request, status);
        if status > 100 {
            response.to_tag(&self.shared.tag);
        }
        if matches!(request.method().as_str(), "INVITE" | "SUBSCRIBE" | "UPDATE")
            && (101..300).contains(&status)
        {
            response.copy_record_route().header(HeaderId::Contact, format!("<{}>", self.shared.contact));
        }
        more(&mut response);
        let octets = response.build();
        let mut state = self.shared.lock();
        if let Some(key) = repetition_key(request) {
            state.answers.insert(key, octets.clone());
        }
        state.ladder.push(format!("> {}", first_line(&octets)));
        self.shared.put(&octets);
    }

    /// A request outside of any dialog, from this device's user.
    pub fn draft(&self, method: &str, uri: &str) -> Draft {
        Draft {
            method: method.to_owned(),
            uri: uri.to_owned(),
            from: format!("<{}>;tag={}", self.shared.account.uri(), self.shared.tag),
            to: format!("<{uri}>"),
            call_id: unique(),
            cseq: 1,
            max_forwards: 70,
            headers: Vec::new(),
            body: None,
            answers_challenges: true,
        }
    }

    /// A REGISTER with this Contact value (none: a query).
    pub fn register_draft(&self, contact: Option<String>) -> Draft {
        let account = &self.shared.account;
        let draft =
            self.draft("REGISTER", &format!("sip:{}", account.domain)).to(format!("<{}>", account.uri()));
        match contact {
            Some(contact) => draft.header("Contact", contact),
            None => draft,
        }
    }

    /// Registers this device, with further parameters of its Contact (`;q=0.5`), and returns the 200.
    pub fn register(&self, parameters: &str) -> Message {
        let contact = format!("<{}>{parameters}", self.shared.contact);
        let answer = self.ask(self.register_draft(Some(contact)).header("Supported", "path, gruu"));
        assert_eq!(answer.status(), Some(200), "REGISTER of {}: {}", self.user(), self.ladder());
        answer
    }

    /// Registers one flow of this device (RFC 5626 §4.2.1) and returns the 200.
    pub fn register_flow(&self, reg_id: u32) -> Message {
        let contact = format!("<{}>;reg-id={reg_id};+sip.instance=\"<{}>\"", self.contact(), self.instance());
        let answer = self.ask(self.register_draft(Some(contact)).header("Supported", "path, outbound, gruu"));
        assert_eq!(answer.status(), Some(200), "REGISTER of {}: {}", self.user(), self.ladder());
        answer
    }

    /// Ends this device's registration.
    pub fn unregister(&self) -> Message {
        self.register(";expires=0")
    }

    /// A MESSAGE of plain text.
    pub fn message(&self, to: &str, text: &str) -> Draft {
        self.draft("MESSAGE", to).body("text/plain;charset=utf-8", text)
    }

    /// An INVITE with an offer.
    pub fn invite(&self, to: &str) -> Draft {
        self.draft("INVITE", to)
            .header("Contact", format!("<{}>", self.contact()))
            .header("Allow", "INVITE, ACK, CANCEL, BYE, UPDATE, PRACK, INFO, OPTIONS")
            .header("Supported", "100rel, timer")
            .body("application/sdp", sdp("sendrecv"))
    }

    /// Cancels an INVITE (RFC 3261 §9.1) and returns the answer to the CANCEL.
    pub fn cancel(&self, invite: Transaction) -> Message {
        let (draft, via) = {
            let state = self.shared.lock();
            let sent = &state.sent[&invite];
            (sent.draft.clone(), sent.via.clone())
        };
        let headers = draft.headers.iter().filter(|(name, _)| name == "Route").cloned().collect();
        let cancel =
            Draft { method: "CANCEL".to_owned(), headers, body: None, answers_challenges: false, ..draft };
        let octets = cancel.build(&via);
        let call_id = cancel.call_id;
        {
            let mut state = self.shared.lock();
            state.ladder.push(format!("> {}", first_line(&octets)));
            self.shared.put(&octets);
        }
        self.wait("an answer to the CANCEL", |state| {
            let at = state.responses.iter().position(|(_, message)| {
                message.method().as_str() == "CANCEL" && message.call_id().ok() == Some(call_id.as_str())
            })?;
            Some(state.responses.remove(at).1)
        })
    }

    /// The caller's end of the dialog that a 2xx made, its ACK sent.
    pub fn confirm(&self, response: &Message) -> Dialog {
        assert!(response.status().is_some_and(|status| (200..300).contains(&status)), "{}", self.ladder());
        let dialog = Dialog::of_caller(response);
        self.send(dialog.ack(response.cseq().expect("CSeq").number));
        dialog
    }

    /// The callee's end of the dialog that answering a request makes.
    pub fn dialog(&self, request: &Message) -> Dialog {
        Dialog::of_callee(request, &self.shared.tag)
    }

    /// Waits until everything that the server sent this device before now has arrived: answers come in order on a
    /// road. What is not there after this did not come.
    pub fn settle(&self) {
        let domain = &self.shared.account.domain;
        let answer = self.ask(self.draft("OPTIONS", &format!("sip:{domain}")));
        assert!(answer.status().is_some());
    }

    /// Asserts that no such request has come.
    pub fn expect_none(&self, method: &str) {
        self.settle();
        if let Some(request) = self.arrived(method) {
            panic!("{} got a {method} that it must not get:\n{}", self.user(), printed(&request));
        }
    }

    /// Sends a keep-alive and waits for its answer (RFC 5626 §3.5.1).
    pub fn ping(&self) {
        let before = self.shared.lock().pongs;
        self.shared.put(b"\r\n\r\n");
        self.wait("a pong", |state| (state.pongs > before).then_some(()));
    }

    /// Waits for a datagram that is no SIP.
    pub fn other(&self) -> Bytes {
        self.wait("a datagram", |state| (!state.others.is_empty()).then(|| state.others.remove(0)))
    }

    /// Waits until the server has closed the connection, and says how.
    pub fn closed(&self) -> String {
        self.wait("the end of the connection", |state| state.closed.clone())
    }

    /// Whether the connection stands.
    pub fn is_open(&self) -> bool {
        self.shared.lock().closed.is_none()
    }

    /// Ends the connection without a word, as a crash would.
    pub fn crash(&mut self) {
        self.shared.link.close();
        if let Some(reader) = self.reader.take()
            && let Err(panic) = reader.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }

    /// `sip:user@domain`.
    pub fn uri(&self) -> String {
        self.shared.account.uri()
    }

    /// The URI of its Contact.
    pub fn contact(&self) -> &str {
        &self.shared.contact
    }

    /// Its instance id (RFC 5626 §4.1).
    pub fn instance(&self) -> String {
        self.shared.lock().instance.clone()
    }

    /// Its tag.
    pub fn tag(&self) -> &str {
        &self.shared.tag
    }

    /// Its user's name.
    pub fn user(&self) -> &str {
        &self.shared.account.user
    }

    /// Its account.
    pub fn account(&self) -> &Account {
        &self.shared.account
    }

    /// Its own address.
    pub fn local(&self) -> SocketAddr {
        self.shared.link.local()
    }

    /// The address of the other end, while the connection stands.
    pub fn remote(&self) -> SocketAddr {
        self.shared.link.remote().expect("the connection stands")
    }

    /// The server's certificate, over TLS.
    pub fn server_certificate(&self) -> Option<CertificateDer<'static>> {
        self.shared.link.peer_certificate()
    }

    /// The start lines of what it sent and got.
    pub fn ladder(&self) -> String {
        self.shared.lock().ladder.join("\n")
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let ladder = state.ladder.join("\n");
                drop(state);
                panic!("{} waited in vain for {what}; it had:\n{ladder}", self.user());
            }
            (state, _) =
                self.shared.changed.wait_timeout(state, left).expect("no reader panics with the lock");
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.crash();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What cannot be sent is known by the end of the connection, which the reader sees too.
    fn put(&self, octets: &[u8]) {
        drop(self.link.send(octets));
    }

    fn transmit(
        &self,
        state: &mut State,
        transaction: Transaction,
        draft: Draft,
        has_answered_challenge: bool,
    ) {
        let branch = format!("z9hG4bK{}", unique());
        let transport = self.link.transport();
        let sent_by = if transport.is_websocket() {
            format!("{}.invalid", self.tag)
        } else {
            self.link.local().to_string()
        };
        let via = format!("SIP/2.0/{} {sent_by};rport;branch={branch}", transport.via());
        let octets = draft.build(&via);
        state.branches.insert(branch, transaction);
        state.ladder.push(format!("> {}", first_line(&octets)));
        state.sent.insert(transaction, Sent { draft, via, has_answered_challenge });
        self.put(&octets);
    }

    fn read(&self, mut reader: LinkReader) {
        loop {
            let incoming = reader.receive();
            let mut state = self.lock();
            match incoming {
                Ok(Incoming::Message(octets)) => self.receive(&mut state, octets),
                Ok(Incoming::Pong) => state.pongs += 1,
                Ok(Incoming::Other(octets)) => state.others.push(octets),
                Ok(Incoming::WebSocketClosed(code)) => state.closed = Some(format!("WebSocket {code}")),
                Ok(Incoming::TimedOut) => {}
                Ok(Incoming::Closed) => state.close("closed".to_owned()),
                Err(error) => state.close(format!("the server broke RFC 6455: {}", error.0)),
            }
            let is_over = state.closed.is_some();
            self.changed.notify_all();
            if is_over {
                return;
            }
        }
    }

    fn receive(&self, state: &mut State, octets: Bytes) {
        state.ladder.push(format!("< {}", first_line(&octets)));
        let message = match Message::parse(octets) {
            Ok(message) => message,
            Err(error) => return state.close(format!("the server sent what does not parse: {error}")),
        };
        if let Err(rejection) = message.validate() {
            return state.close(format!("the server sent what breaks the rules: {rejection}"));
        }
        match message.status() {
            Some(status) => self.receive_response(state, message, status),
            None => self.receive_request(state, message),
        }
    }

    fn receive_request(&self, state: &mut State, message: Message) {
        if let Some(key) = repetition_key(&message) {
            if let Some(answer) = state.answers.get(&key) {
                return self.put(answer);
            }
            if !state.seen.insert(key) {
                return;
            }
        }
        if let Some(status) = state.automatic.get(message.method().as_str()) {
            let answer = ResponseBuilder::new(&message, *status).to_tag(&self.tag).build();
            if let Some(key) = repetition_key(&message) {
                state.answers.insert(key, answer.clone());
            }
            self.put(&answer);
        }
        state.requests.push(message);
    }

    fn receive_response(&self, state: &mut State, message: Message, status: u16) {
        let branch = message.top_via().expect("validated").branch().unwrap_or("").to_owned();
        let Some(transaction) = state.branches.get(&branch).copied() else {
            return state.close(format!("an answer to nothing: {}", printed(&message)));
        };
        let method = message.method().as_str().to_owned();
        let sent = &state.sent[&transaction];
        if method == "INVITE" && status >= 300 {
            self.put(&refusal_ack(sent, &message));
        }
        if !sent.via.ends_with(&branch) {
            // A copy of the challenge to an attempt that was answered.
            return;
        }
        let is_challenge = matches!(status, 401 | 407) && method == sent.draft.method;
        if is_challenge && sent.draft.answers_challenges && !sent.has_answered_challenge {
            let draft = self.answering(state, transaction, &message);
            return self.transmit(state, transaction, draft, true);
        }
        state.responses.push((transaction, message));
    }

    fn answering(&self, state: &mut State, transaction: Transaction, message: &Message) -> Draft {
        let offered = challenges(message);
        let challenge = offered
            .iter()
            .find(|challenge| challenge.algorithm == state.algorithm)
            .unwrap_or_else(|| panic!("{} is not offered: {}", state.algorithm.name(), printed(message)));
        let count = state.nonce_counts.entry(challenge.nonce.clone()).or_default();
        *count += 1;
        let mut draft = state.sent[&transaction].draft.clone();
        draft.cseq += 1;
        let own = (self.account.user.clone(), self.account.password.clone());
        let (user, password) = &state.credentials.clone().unwrap_or(own);
        let answer = Answer { challenge, user, password, method: &draft.method, uri: &draft.uri, nc: *count };
        let (name, value) = (answer.header_name(), answer.value());
        draft.headers.retain(|(header, _)| header != name);
        draft.header(name, value)
    }
}

impl State {
    /// The first reason is the one that tells.
    fn close(&mut self, why: String) {
        self.ladder.push(format!("- {why}"));
        self.closed.get_or_insert(why);
    }

    fn take_request(&mut self, method: &str) -> Option<Message> {
        let at = self.requests.iter().position(|request| request.method().as_str() == method)?;
        Some(self.requests.remove(at))
    }

    fn take_response(&mut self, transaction: Transaction, wanted: impl Fn(u16) -> bool) -> Option<Message> {
        let at = self.responses.iter().position(|(of, message)| {
            *of == transaction
                && message.method().as_str() == self.sent[of].draft.method
                && message.status().is_some_and(&wanted)
        })?;
        Some(self.responses.remove(at).1)
    }
}

/// What the retransmission of a request has in common with its first (RFC 3261 §17.2.3). An ACK is never answered.
fn repetition_key(request: &Message) -> Option<(String, String)> {
    let branch = request.top_via().ok()?.branch()?.to_owned();
    let method = request.method().as_str().to_owned();
    (method != "ACK").then_some((branch, method))
}

/// The ACK of a refused INVITE (RFC 3261 §17.1.1.3).
fn refusal_ack(sent: &Sent, response: &Message) -> Bytes {
    let to = String::from_utf8_lossy(response.header(HeaderId::To).expect("validated")).into_owned();
    let headers = sent.draft.headers.iter().filter(|(name, _)| name == "Route").cloned().collect();
    let cseq = response.cseq().expect("validated").number;
    let ack = Draft { method: "ACK".to_owned(), to, headers, body: None, cseq, ..sent.draft.clone() };
    ack.build(&sent.via)
}

/// A description of one audio stream; `direction` is `sendrecv` or, on hold, `sendonly`.
pub fn sdp(direction: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\na={direction}\r\n"
    )
}

fn instance() -> String {
    let hex: String = unique().chars().rev().chain("0".repeat(32).chars()).take(32).collect();
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn first_line(octets: &[u8]) -> String {
    let end = octets.iter().position(|octet| *octet == b'\r').unwrap_or(octets.len().min(80));
    String::from_utf8_lossy(&octets[..end]).into_owned()
}

fn printed(message: &Message) -> String {
    String::from_utf8_lossy(message.bytes()).into_owned()
}

/// The Contacts of a REGISTER's answer as text, in order.
pub fn contacts(message: &Message) -> Vec<String> {
    match message.contacts() {
        Ok(Contacts::List(list)) => {
            list.iter().map(|contact| String::from_utf8_lossy(contact.addr.text).into_owned()).collect()
        }
        other => panic!("no list of contacts: {other:?}"),
    }
}
