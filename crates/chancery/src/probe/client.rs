//! The client: transactions one after the other, challenges answered, requests of others acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use directory::SipAddress;
use sip_message::digest::{Algorithm, ResponseInput, ha1, response};
use sip_message::{HeaderId, Message, Method, RequestBuilder, ResponseBuilder};

use super::link::Link;

/// How long a request may wait for its final answer: timer F (RFC 3261 §17.1.2.2).
const ANSWER_PATIENCE: Duration = Duration::from_secs(32);
/// How long signing out is waited for; the server forgets us anyway when the connection ends.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);
/// The registration that is asked for, in seconds.
const EXPIRES_SECONDS: u32 = 600;
/// Challenges that one request answers: those of a director and of a home, and a stale nonce of each.
const CHALLENGES_MAX: usize = 4;

/// Who the client is.
pub(crate) struct Identity {
    address: SipAddress,
    password: String,
}

impl Identity {
    pub(crate) fn new(address: &str, password: String) -> anyhow::Result<Identity> {
        let address = SipAddress::parse(address).with_context(|| format!("{address:?} is no address"))?;
        Ok(Identity { address, password })
    }

    fn user(&self) -> &str {
        self.address.as_str().split('@').next().unwrap_or_default()
    }
}

/// A message that came.
pub(crate) struct Heard {
    pub(crate) from: String,
    pub(crate) text: String,
}

/// A client on its connection.
pub(crate) struct Client {
    link: Link,
    identity: Identity,
    is_verbose: bool,
    tag: String,
    register_call_id: String,
    cseq: u32,
    /// Where the server wants our requests to go (RFC 3608).
    service_route: Vec<String>,
    is_registered: bool,
    /// Messages that came while an answer was waited for.
    heard: Vec<Heard>,
}

/// A request before it is sent.
struct Draft {
    method: Method<'static>,
    uri: String,
    from: String,
    to: String,
    call_id: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl Client {
    pub(crate) fn new(link: Link, identity: Identity, is_verbose: bool) -> Client {
        Client {
            link,
            identity,
            is_verbose,
            tag: random(),
            register_call_id: random(),
            cseq: 0,
            service_route: Vec::new(),
            is_registered: false,
            heard: Vec::new(),
        }
    }

    /// Signs in. The answer is final.
    pub(crate) fn register(&mut self) -> anyhow::Result<Message> {
        let answer = self.register_for(EXPIRES_SECONDS, ANSWER_PATIENCE)?;
        if matches!(answer.status(), Some(200..300)) {
            self.is_registered = true;
            let routes = answer.elements(HeaderId::ServiceRoute);
            self.service_route = routes.map(|route| String::from_utf8_lossy(route).into_owned()).collect();
        }
        Ok(answer)
    }

    /// Signs out.
    pub(crate) fn unregister(&mut self) -> anyhow::Result<()> {
        if self.is_registered {
            self.is_registered = false;
            self.register_for(0, FAREWELL_PATIENCE)?;
        }
        Ok(())
    }

    fn register_for(&mut self, seconds: u32, patience: Duration) -> anyhow::Result<Message> {
        let address = self.identity.address.as_str().to_owned();
        let domain = address.rsplit('@').next().unwrap_or_default();
        let transport = self.link.via_token().to_ascii_lowercase();
        let contact = format!(
            "<sip:{}@{};transport={transport}>;reg-id=1;+sip.instance=\"<urn:uuid:{}>\"",
            self.identity.user(),
            self.link.local(),
            uuid(&self.tag),
        );
        let draft = Draft {
            method: Method::Register,
            uri: format!("sip:{domain}"),
            from: format!("<sip:{address}>"),
            to: format!("<sip:{address}>"),
            call_id: self.register_call_id.clone(),
            headers: vec![
                ("Contact", contact),
                ("Expires", seconds.to_string()),
                ("Supported", "path, outbound, gruu".to_owned()),
            ],
            body: None,
        };
        self.ask(&draft, patience)
    }

    /// Writes a message; `claim` is who it claims to be from, where that is not the user.
    pub(crate) fn message(&mut self, to: &str, claim: Option<&str>, text: &str) -> anyhow::Result<Message> {
        let to = to.strip_prefix("sip:").unwrap_or(to);
        let to = SipAddress::parse(to).with_context(|| format!("{to:?} is no address"))?;
        let from = claim.unwrap_or(self.identity.address.as_str());
        let draft = Draft {
            method: Method::Message,
            uri: format!("sip:{}", to.as_str()),
            from: format!("<sip:{from}>"),
            to: format!("<sip:{}>", to.as_str()),
            call_id: random(),
            headers: self.service_route.iter().map(|route| ("Route", route.clone())).collect(),
            body: Some(text.to_owned()),
        };
        self.ask(&draft, ANSWER_PATIENCE)
    }

    /// The next message for us; `None` when the time is up.
    pub(crate) fn next_message(&mut self, until: Instant) -> anyhow::Result<Option<Heard>> {
        loop {
            if !self.heard.is_empty() {
                return Ok(Some(self.heard.remove(0)));
            }
            let Some(message) = self.link.receive(until)? else { return Ok(None) };
            self.arrived(&message)?;
        }
    }

    /// Sends a request, answers challenges, and waits for the final answer.
    fn ask(&mut self, draft: &Draft, patience: Duration) -> anyhow::Result<Message> {
        let mut credentials = Vec::new();
        for _ in 0..=CHALLENGES_MAX {
            let answer = self.try_once(draft, &credentials, Instant::now() + patience)?;
            if !matches!(answer.status(), Some(401 | 407)) || self.identity.password.is_empty() {
                return Ok(answer);
            }
            match self.credentials(draft, &answer, !credentials.is_empty())? {
                Some(more) => credentials = more,
                None => return Ok(answer),
            }
        }
        bail!("the server challenges for ever");
    }

    fn try_once(
        &mut self,
        draft: &Draft,
        credentials: &[(&'static str, String)],
        until: Instant,
    ) -> anyhow::Result<Message> {
        self.cseq += 1;
        let branch = format!("z9hG4bK{}", random());
        let mut request = RequestBuilder::new(draft.method, &draft.uri);
        let via = format!("SIP/2.0/{} {};branch={branch};rport", self.link.via_token(), self.link.local());
        request
            .header_named("Via", via)
            .header_named("Max-Forwards", "70")
            .header_named("From", format!("{};tag={}", draft.from, self.tag))
            .header_named("To", &draft.to)
            .header_named("Call-ID", &draft.call_id)
            .header_named("CSeq", format!("{} {}", self.cseq, draft.method.as_str()))
            .header_named("User-Agent", concat!("chancery-probe/", env!("CARGO_PKG_VERSION")));
        for (name, value) in draft.headers.iter().chain(credentials) {
            request.header_named(name, value);
        }
        if let Some(body) = &draft.body {
            request.body("text/plain", body.as_bytes());
        }
        let octets = request.build();
        self.show("->", &octets);
        self.link.send(&octets)?;
        loop {
            let Some(message) = self.link.receive(until)? else {
                bail!("no answer to {} in time", draft.method.as_str());
            };
            let is_ours = message.status().is_some()
                && message.cseq().is_ok_and(|c| c.number == self.cseq)
                && message.header(HeaderId::CallId) == Some(draft.call_id.as_bytes());
            if !is_ours {
                self.arrived(&message)?;
                continue;
            }
            self.show("<-", message.bytes());
            if message.status().is_some_and(|status| status >= 200) {
                return Ok(message);
            }
        }
    }

    /// Answers the first challenge that it can; `None` where a challenge says that the password was wrong.
    fn credentials(
        &self,
        draft: &Draft,
        answer: &Message,
        has_tried: bool,
    ) -> anyhow::Result<Option<Vec<(&'static str, String)>>> {
        let kinds = [
            (HeaderId::WwwAuthenticate, "Authorization"),
            (HeaderId::ProxyAuthenticate, "Proxy-Authorization"),
        ];
        for (id, header) in kinds {
            for challenge in answer.credentials(id) {
                let Ok(challenge) = challenge else { continue };
                let parameter = |name: &str| challenge.get(name).map(std::borrow::Cow::into_owned);
                let name = parameter("algorithm").unwrap_or_else(|| "MD5".to_owned());
                let (Some(algorithm), Some(realm), Some(nonce)) =
                    (Algorithm::from_name(&name), parameter("realm"), parameter("nonce"))
                else {
                    continue;
                };
                let is_stale = parameter("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"));
                if has_tried && !is_stale {
                    return Ok(None);
                }
                let has_qop = parameter("qop").is_some();
                let cnonce = random();
                let input = ResponseInput {
                    method: draft.method.as_str(),
                    uri: &draft.uri,
                    nonce: &nonce,
                    qop: has_qop.then_some("auth"),
                    nc: "00000001",
                    cnonce: &cnonce,
                    body: b"",
                };
                let user = self.identity.user();
                let proof = response(&ha1(algorithm, user, &realm, &self.identity.password), &input);
                let mut value = format!(
                    "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{}\", \
                     response=\"{proof}\", algorithm={}",
                    draft.uri,
                    algorithm.name()
                );
                if has_qop {
                    value += &format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\"");
                }
                if let Some(opaque) = parameter("opaque") {
                    value += &format!(", opaque=\"{opaque}\"");
                }
                return Ok(Some(vec![(header, value)]));
            }
        }
        bail!("the server asks for a proof that is not known here: {}", super::said(answer));
    }

    /// A request of somebody else's, or an answer that nobody waits for.
    fn arrived(&mut self, message: &Message) -> anyhow::Result<()> {
        self.show("<-", message.bytes());
        if !message.is_request() || message.method() == Method::Ack {
            return Ok(());
        }
        let status = match message.method() {
            Method::Message => {
                let from = message.from().ok().map(|from| from.uri.as_str().to_owned());
                let from = from.unwrap_or_default();
                let from = from.strip_prefix("sip:").unwrap_or(&from).to_owned();
                self.heard.push(Heard { from, text: String::from_utf8_lossy(message.body()).into_owned() });
                200
            }
            Method::Options | Method::Notify => 200,
            Method::Invite => 486,
            _ => 501,
        };
        let mut answer = ResponseBuilder::new(message, status);
        answer.to_tag(&self.tag);
        let octets = answer.build();
        self.show("->", &octets);
        self.link.send(&octets)
    }

    fn show(&self, arrow: &str, octets: &[u8]) {
        if !self.is_verbose {
            return;
        }
        let text = String::from_utf8_lossy(octets);
        for line in text.lines() {
            // What proves the password is nobody's business.
            let is_secret = line.to_ascii_lowercase().contains("authorization:");
            eprintln!("{arrow} {}", if is_secret { line.split(':').next().unwrap_or("") } else { line });
        }
        eprintln!();
    }
}

/// A number that nobody else has, in hexadecimal.
fn random() -> String {
    let mut octets = [0; 12];
    getrandom::fill(&mut octets).expect("the system has randomness");
    hex::encode(octets)
}

/// The shape of a UUID, for +sip.instance (RFC 5626 §4.1).
fn uuid(tag: &str) -> String {
    let digits = format!("{tag:0<32}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..32]].join("-")
}
