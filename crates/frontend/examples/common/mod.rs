//! A front end without sockets and disk, and clients that know what comes next.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant as Clock;

use bytes::Bytes;
use directory::{DomainName, Role, SipAddress, User, UserId, UserState};
use frontend::{Challenge, Config, FrontEnd};
use node::{Flow, Input, Instant, Listener, ListenerId, Node, Now, Outcome, Output, Transport, UnixMillis};
use records::{Query, Rows, UserRecord};
use sip_message::digest::{Algorithm, ResponseInput, ha1, response};
use sip_message::{AuthParams, HeaderId, Message};

/// How many accounts there are, all signed in.
pub(crate) const USERS: u64 = 1000;
/// Longer than changes of one person are gathered.
const APART: std::time::Duration = std::time::Duration::from_millis(100);

/// A front end whose driver is this struct: what it persists is durable at once, what it sends lies in `sent`.
pub(crate) struct World {
    node: FrontEnd,
    pub(crate) now: u64,
    pub(crate) sent: VecDeque<(Flow, Bytes)>,
    /// CPU time in the front end.
    pub(crate) spent: std::time::Duration,
}

impl World {
    pub(crate) fn new() -> World {
        let listener = Listener {
            transport: Transport::Udp,
            address: SocketAddr::from(([127, 0, 0, 1], 5060)),
            advertised_host: "127.0.0.1".to_owned(),
            side: node::Side::Inside,
        };
        let mut config = Config {
            domains: vec![DomainName::parse("bench.test").expect("a name")],
            listeners: vec![listener],
            aliases: Vec::new(),
            xcap_root: "https://sip.contoso.example/xcap/".to_owned(),
            registration: Default::default(),
            authentication: Default::default(),
            messaging: Default::default(),
            presence: Default::default(),
            calls: Default::default(),
            federation: Default::default(),
            servers: Vec::new(),
            remote_access: true,
            transactions_max: frontend::TRANSACTIONS_MAX,
            secret: [1; 32],
            seed: [2; 32],
        };
        config.authentication.datagrams = Challenge::OncePerFlow;
        let node = FrontEnd::new(config);
        let mut world = World { node, now: 0, sent: VecDeque::new(), spent: std::time::Duration::ZERO };
        world.handle(Input::Timer);
        world
    }

    pub(crate) fn handle(&mut self, input: Input<FrontEnd>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.now += 10;
            let now =
                Now { monotonic: Instant(self.now), wall: UnixMillis(1_700_000_000_000 + self.now / 1000) };
            let start = Clock::now();
            self.node.handle(now, input);
            while let Some(output) = self.node.poll_output() {
                match output {
                    Output::Send { flow, bytes } => self.sent.push_back((flow, bytes)),
                    Output::Persist { token, .. } => {
                        inputs.push_back(Input::Persisted { token, outcome: Outcome::Applied })
                    }
                    Output::Query { token, query } => {
                        let rows = match query {
                            Query::ListedServers => Rows::ListedServers(Vec::new()),
                            _ => Rows::Loaded(users()),
                        };
                        inputs.push_back(Input::Rows { token, rows: Ok(rows) });
                    }
                    _ => {}
                }
            }
            if self.node.next_deadline().is_some_and(|at| at.0 <= self.now) {
                self.node.handle(now, Input::Timer);
            }
            self.spent += start.elapsed();
        }
    }

    fn receive(&mut self, flow: Flow, bytes: impl Into<Bytes>) {
        self.handle(Input::Received { flow, bytes: bytes.into() });
    }

    fn next(&mut self) -> (Flow, Message) {
        let (flow, bytes) = self.sent.pop_front().expect("something was sent");
        (flow, Message::parse(bytes).expect("SIP"))
    }

    pub(crate) fn register(&mut self, user: u64, cseq: u32) {
        let head = |cseq: u32, authorization: &str| {
            format!(
                "REGISTER sip:bench.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{user}x{cseq}\r\nMax-Forwards: 70\r\n\
                 From: <sip:u{user}@bench.test>;tag=t{user}\r\nTo: <sip:u{user}@bench.test>\r\nCall-ID: reg-{user}@127.0.0.1\r\n\
                 CSeq: {cseq} REGISTER\r\nContact: <sip:u{user}@127.0.0.1:{port};transport=udp>\r\nExpires: 3600\r\n{authorization}\
                 User-Agent: sipload\r\nContent-Length: 0\r\n\r\n",
                port = port(user)
            )
        };
        self.receive(flow(user), head(cseq, ""));
        let (_, challenge) = self.next();
        let md5 = challenge
            .credentials(HeaderId::WwwAuthenticate)
            .flatten()
            .find(|c: &AuthParams<'_>| c.get("algorithm").as_deref() == Some("MD5"));
        let nonce = md5.expect("a challenge").get("nonce").expect("a nonce").into_owned();
        let input = ResponseInput {
            method: "REGISTER",
            uri: "sip:bench.test",
            nonce: &nonce,
            qop: Some("auth"),
            nc: "00000001",
            cnonce: "c",
            body: b"",
        };
        let name = format!("u{user}");
        let answer = response(&ha1(Algorithm::Md5, &name, "bench.test", "pw"), &input);
        let authorization = format!(
            "Authorization: Digest username=\"{name}\", realm=\"bench.test\", nonce=\"{nonce}\", uri=\"sip:bench.test\", response=\"{answer}\", \
             algorithm=MD5, cnonce=\"c\", qop=auth, nc=00000001\r\n"
        );
        self.receive(flow(user), head(cseq + 1, &authorization));
        assert_eq!(self.next().1.status(), Some(200));
    }

    pub(crate) fn message(&mut self, from: u64, to: u64, n: u64) {
        let text = format!(
            "MESSAGE sip:u{to}@bench.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKm{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:u{from}@bench.test>;tag=t{from}\r\nTo: <sip:u{to}@bench.test>\r\nCall-ID: m-{n}@127.0.0.1\r\nCSeq: 1 MESSAGE\r\n\
             User-Agent: sipload\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n{body:100}",
            port = port(from),
            body = "x"
        );
        self.receive(flow(from), text);
        let (flow, delivered) = self.next();
        self.receive(flow, answer(&delivered, 200));
        assert_eq!(self.next().1.status(), Some(200));
    }

    pub(crate) fn subscribe(&mut self, watcher: u64, watched: u64) {
        let text = format!(
            "SUBSCRIBE sip:u{watched}@bench.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKs{watcher}x{watched}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:u{watcher}@bench.test>;tag=t{watcher}\r\nTo: <sip:u{watched}@bench.test>\r\n\
             Call-ID: s-{watcher}-{watched}@127.0.0.1\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:u{watcher}@127.0.0.1:{port}>\r\n\
             Event: presence\r\nAccept: application/pidf+xml\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n",
            port = port(watcher)
        );
        self.receive(flow(watcher), text);
        assert_eq!(self.next().1.status(), Some(200));
        self.answer_notifies(1);
    }

    /// Time goes by; what is due is done.
    pub(crate) fn wait(&mut self, time: std::time::Duration) {
        self.now += u64::try_from(time.as_micros()).expect("a short time");
        self.handle(Input::Timer);
    }

    /// Publishes another state; everybody who watches is told, or will be. Gives the entity tag.
    pub(crate) fn publish(&mut self, user: u64, n: u64, tag: Option<&str>) -> String {
        let basic = if n.is_multiple_of(2) { "open" } else { "closed" };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:u{user}@bench.test\">\
             <tuple id=\"t1\"><status><basic>{basic}</basic></status><note>version {n}</note></tuple></presence>\n"
        );
        let tag = tag.map_or(String::new(), |tag| format!("SIP-If-Match: {tag}\r\n"));
        let text = format!(
            "PUBLISH sip:u{user}@bench.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKp{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:u{user}@bench.test>;tag=t{user}\r\nTo: <sip:u{user}@bench.test>\r\nCall-ID: p-{user}@127.0.0.1\r\n\
             CSeq: {cseq} PUBLISH\r\nEvent: presence\r\nExpires: 3600\r\n{tag}Content-Type: application/pidf+xml\r\n\
             Content-Length: {length}\r\n\r\n{body}",
            port = port(user),
            cseq = n + 1,
            length = body.len()
        );
        self.receive(flow(user), text);
        let (_, accepted) = self.next();
        assert_eq!(accepted.status(), Some(200), "{accepted:?}");
        let tag = accepted.header(HeaderId::SipEtag).expect("a 200 to a PUBLISH has a tag");
        String::from_utf8(tag.to_vec()).expect("a token")
    }

    /// A SUBSCRIBE of one for another, or for a list of contacts; `to` is To with its tag, once there is a dialog. Gives To.
    pub(crate) fn watch(
        &mut self,
        by: By,
        watcher: u64,
        of: u64,
        dialog: Option<&str>,
        expires: u32,
        cseq: u32,
    ) -> String {
        let (uri, more, body) = match by {
            By::Single => {
                (format!("sip:u{of}@bench.test"), "Accept: application/pidf+xml\r\n", String::new())
            }
            By::List(contacts) => {
                let entries: String =
                    contacts.iter().map(|n| format!("<entry uri=\"sip:u{n}@bench.test\"/>")).collect();
                let list = format!(
                    "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list></resource-lists>"
                );
                let accept = "Accept: application/pidf+xml, application/rlmi+xml, multipart/related\r\nSupported: eventlist\r\n";
                ("sip:rls@bench.test".to_owned(), accept, list)
            }
        };
        let (more, body) = match (body.is_empty(), dialog) {
            (false, None) => (
                format!(
                    "{more}Require: recipient-list-subscribe\r\nContent-Type: application/resource-lists+xml\r\n\
                     Content-Disposition: recipient-list\r\n"
                ),
                body,
            ),
            _ => (more.to_owned(), String::new()),
        };
        let to = dialog.map_or(format!("<{uri}>"), str::to_owned);
        let text = format!(
            "SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKw{watcher}x{of}x{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:u{watcher}@bench.test>;tag=t{watcher}\r\nTo: {to}\r\nCall-ID: w-{watcher}-{of}@127.0.0.1\r\n\
             CSeq: {cseq} SUBSCRIBE\r\nContact: <sip:u{watcher}@127.0.0.1:{port}>\r\nEvent: presence\r\nExpires: {expires}\r\n\
             {more}Content-Length: {length}\r\n\r\n{body}",
            port = port(watcher),
            length = body.len()
        );
        self.receive(flow(watcher), text);
        let (_, accepted) = self.next();
        assert_eq!(accepted.status(), Some(200));
        String::from_utf8_lossy(accepted.header(HeaderId::To).expect("a 200 has it")).into_owned()
    }

    /// Everything that is sent until nothing is any more, NOTIFYs, is answered; gives how many.
    pub(crate) fn answer_all_notifies(&mut self) -> u64 {
        let mut count = 0;
        loop {
            let answered = self.answer_sent_notifies();
            count += answered;
            self.wait(APART);
            if self.sent.is_empty() && answered == 0 {
                return count;
            }
        }
    }

    /// Answers the NOTIFYs that have been sent, and what follows of it at once; gives how many.
    pub(crate) fn answer_sent_notifies(&mut self) -> u64 {
        let mut count = 0;
        while !self.sent.is_empty() {
            self.answer_notifies(1);
            count += 1;
        }
        count
    }

    pub(crate) fn answer_notifies(&mut self, expected: u64) {
        for _ in 0..expected {
            let (flow, notify) = self.next();
            assert_eq!(notify.method(), sip_message::Method::Notify);
            let answer = sip_message::ResponseBuilder::new(&notify, 200).build();
            self.receive(flow, answer);
        }
    }

    pub(crate) fn call(&mut self, from: u64, to: u64, n: u64) {
        let head = |method: &str, uri: &str, cseq: u32, more: &str| {
            format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKc{n}{method}\r\nMax-Forwards: 70\r\n\
                 From: <sip:u{from}@bench.test>;tag=t{n}\r\nCall-ID: c-{n}@127.0.0.1\r\nCSeq: {cseq} {method}\r\n\
                 Contact: <sip:u{from}@127.0.0.1:{port}>\r\n{more}Content-Length: 0\r\n\r\n",
                port = port(from)
            )
        };
        let uri = format!("sip:u{to}@bench.test");
        self.receive(flow(from), head("INVITE", &uri, 1, &format!("To: <{uri}>\r\n")));
        let (callee, invite) = self.next();
        self.receive(callee, answer(&invite, 180));
        assert_eq!(self.next().1.status(), Some(180));
        self.receive(callee, answer(&invite, 200));
        let (_, ok) = self.next();
        let mut routes: Vec<_> =
            ok.elements(HeaderId::RecordRoute).map(|r| String::from_utf8_lossy(r).into_owned()).collect();
        routes.reverse();
        let routes: String = routes.iter().map(|r| format!("Route: {r}\r\n")).collect();
        let within = format!("{routes}To: <{uri}>;tag=callee\r\n");
        let target = format!("sip:u{to}@127.0.0.1:{}", port(to));
        self.receive(flow(from), head("ACK", &target, 1, &within));
        let _ = self.next();
        self.receive(flow(from), head("BYE", &target, 2, &within));
        let (callee, bye) = self.next();
        self.receive(callee, answer(&bye, 200));
        assert_eq!(self.next().1.status(), Some(200));
    }
}

fn answer(request: &Message, status: u16) -> Bytes {
    let mut response = sip_message::ResponseBuilder::new(request, status);
    response.to_tag("callee").copy_record_route().header(HeaderId::Contact, "<sip:callee@127.0.0.1>");
    response.build()
}

fn port(user: u64) -> u16 {
    10_000 + u16::try_from(user).expect("few users")
}

fn flow(user: u64) -> Flow {
    Flow::Datagram { listener: ListenerId(0), remote: SocketAddr::from(([127, 0, 0, 1], port(user))) }
}

fn users() -> Vec<UserRecord> {
    let record = |n: u64| {
        let address = SipAddress::parse(&format!("u{n}@bench.test")).expect("an address");
        let secrets = Some(frontend::secrets(&address, "pw"));
        let user = User {
            id: UserId(n + 1),
            address,
            display_name: String::new(),
            state: UserState::Enabled,
            role: Role::Person,
            permissions: Default::default(),
            aliases: Vec::new(),
            account: None,
            tokens_since_unix_ms: 0,
            secrets,
        };
        UserRecord::fresh(user)
    };
    (0..USERS).map(record).collect()
}

/// How a contact list is watched.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    Single,
    /// These users, in one list.
    List(&'a [u64]),
}
