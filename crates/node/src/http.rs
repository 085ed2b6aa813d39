//! HTTP as roles see it: one whole request in, one whole answer out. Connections, TLS, framing and their limits are the
//! driver's.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;

/// A whole HTTP request (RFC 9110).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `PUT` ...
    pub method: String,
    /// Path and query as they stood in the request line, still percent-encoded; begins with `/`.
    pub target: String,
    /// The host that was asked for, without port: Host or `:authority`; may be empty.
    pub host: String,
    /// Header fields in order; names in lower case.
    pub headers: Vec<(String, Bytes)>,
    /// The content, bounded by the driver.
    pub body: Bytes,
    /// Who asks.
    pub remote: SocketAddr,
    /// Whether nobody on the way could read or change it.
    pub is_secure: bool,
}

/// A whole HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Header fields but for Content-Length, Date and Connection, which are the driver's.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The content.
    pub body: Bytes,
}

impl HttpRequest {
    /// The value of the first field of this name (in lower case), if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(field, _)| field == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl HttpResponse {
    /// An answer without content.
    pub fn empty(status: u16) -> HttpResponse {
        HttpResponse { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// An answer with content.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> HttpResponse {
        HttpResponse {
            status,
            headers: vec![("content-type", Cow::Borrowed(content_type))],
            body: body.into(),
        }
    }

    /// With one more header field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> HttpResponse {
        self.headers.push((name, value.into()));
        self
    }
}
