//! A request that is being written.

use bytes::Bytes;
use sip_message::{Method, RequestBuilder};

/// What requests call their program that say nothing else.
const USER_AGENT: &str = "system-tests";

/// A request before it has a Via. A test may change any part of it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the parts of a request")]
pub struct Draft {
    pub method: String,
    pub uri: String,
    pub from: String,
    pub to: String,
    pub call_id: String,
    pub cseq: u32,
    pub max_forwards: u32,
    pub headers: Vec<(String, String)>,
    pub body: Option<(String, Vec<u8>)>,
    /// Whether a challenge is answered.
    pub answers_challenges: bool,
}

impl Draft {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Draft {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, content_type: &str, body: impl AsRef<[u8]>) -> Draft {
        self.body = Some((content_type.to_owned(), body.as_ref().to_vec()));
        self
    }

    /// Sets From's value.
    pub fn from(mut self, value: impl Into<String>) -> Draft {
        self.from = value.into();
        self
    }

    /// Sets To's value.
    pub fn to(mut self, value: impl Into<String>) -> Draft {
        self.to = value.into();
        self
    }

    /// Sets Call-ID and CSeq's number: the identity of a request that is sent again.
    pub fn identity(mut self, call_id: &str, cseq: u32) -> Draft {
        call_id.clone_into(&mut self.call_id);
        self.cseq = cseq;
        self
    }

    /// Leaves challenges unanswered.
    pub fn unanswering(mut self) -> Draft {
        self.answers_challenges = false;
        self
    }

    /// Answers challenges, as every request does that nobody told not to.
    pub fn answering(mut self) -> Draft {
        self.answers_challenges = true;
        self
    }

    /// The octets, with this Via on top.
    pub fn build(&self, via: &str) -> Bytes {
        let mut request = RequestBuilder::new(Method::from_token(&self.method), &self.uri);
        request
            .header_named("Via", via)
            .header_named("Max-Forwards", self.max_forwards.to_string())
            .header_named("From", &self.from)
            .header_named("To", &self.to)
            .header_named("Call-ID", &self.call_id)
            .header_named("CSeq", format!("{} {}", self.cseq, self.method));
        if self.headers.iter().all(|(name, _)| name != "User-Agent") {
            request.header_named("User-Agent", USER_AGENT);
        }
        for (name, value) in &self.headers {
            request.header_named(name, value);
        }
        if let Some((content_type, body)) = &self.body {
            request.body(content_type, body);
        }
        request.build()
    }
}
