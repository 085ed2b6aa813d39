//! The client's side of Digest (RFC 7616), with every parameter open to a test that wants to break it.

use sip_message::digest::{Algorithm, ResponseInput, ha1, response};
use sip_message::{HeaderId, Message};

/// One challenge of a 401 or 407.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the parameters of RFC 7616 §3.3")]
pub struct Challenge {
    pub algorithm: Algorithm,
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub has_qop: bool,
    pub is_stale: bool,
    /// Whether it is answered in Proxy-Authorization.
    pub is_proxys: bool,
}

/// The challenges of a response that Digest answers, in order. The others are passed over, as RFC 3261 §22.1 has it.
pub fn challenges(message: &Message) -> Vec<Challenge> {
    let mut all = Vec::new();
    for (id, is_proxys) in [(HeaderId::WwwAuthenticate, false), (HeaderId::ProxyAuthenticate, true)] {
        for challenge in message.credentials(id) {
            let challenge = challenge.expect("the server's challenge parses");
            if !challenge.scheme.eq_ignore_ascii_case("Digest") {
                continue;
            }
            let parameter = |name: &str| challenge.get(name).map(|value| value.into_owned());
            let name = parameter("algorithm").unwrap_or_else(|| "MD5".to_owned());
            all.push(Challenge {
                algorithm: Algorithm::from_name(&name).expect("a known algorithm"),
                realm: parameter("realm").expect("a realm"),
                nonce: parameter("nonce").expect("a nonce"),
                opaque: parameter("opaque"),
                has_qop: parameter("qop").is_some(),
                is_stale: parameter("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
                is_proxys,
            });
        }
    }
    all
}

/// An answer to a challenge.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the parameters of RFC 7616 §3.4")]
pub struct Answer<'a> {
    pub challenge: &'a Challenge,
    pub user: &'a str,
    pub password: &'a str,
    pub method: &'a str,
    pub uri: &'a str,
    pub nc: u32,
}

impl Answer<'_> {
    /// The header that carries it.
    pub fn header_name(&self) -> &'static str {
        if self.challenge.is_proxys { "Proxy-Authorization" } else { "Authorization" }
    }

    /// The value of that header.
    pub fn value(&self) -> String {
        let Challenge { algorithm, realm, nonce, opaque, has_qop, .. } = self.challenge;
        let (nc, cnonce) = (format!("{:08x}", self.nc), crate::unique());
        let input = ResponseInput {
            method: self.method,
            uri: self.uri,
            nonce,
            qop: has_qop.then_some("auth"),
            nc: &nc,
            cnonce: &cnonce,
            body: b"",
        };
        let response = response(&ha1(*algorithm, self.user, realm, self.password), &input);
        let mut value = format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{}\", response=\"{response}\", \
             algorithm={}",
            self.user,
            self.uri,
            algorithm.name()
        );
        if *has_qop {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = opaque {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        value
    }
}
