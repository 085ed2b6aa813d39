//! The facts of a PUBLISH (RFC 3903 §6).

use sip_message::{HeaderId, Message};

use crate::dialog::{Refusal, event_of};

/// What a PUBLISH says, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'m> {
    /// The request, which passed `validate`.
    pub message: &'m Message,
    /// The event package, as written.
    pub package: &'m str,
    /// SIP-If-Match: the publication that is meant.
    pub if_match: Option<&'m str>,
    /// Expires, in seconds.
    pub expires_seconds: Option<u32>,
    /// Content-Type as written, and content; `None` where there is no content.
    pub body: Option<(&'m str, &'m [u8])>,
}

impl<'m> Publish<'m> {
    /// Reads a PUBLISH. One without Event names no package: 489 (RFC 3903 §6 step 2).
    pub fn read(message: &'m Message) -> Result<Publish<'m>, Refusal> {
        let (package, _) = event_of(message)?;
        let mut tags = message.elements(HeaderId::SipIfMatch);
        let if_match = tags.next().map(str::from_utf8).transpose();
        let if_match = if_match.map_err(|_| Refusal::new(400, "SIP-If-Match is malformed"))?;
        if tags.next().is_some() || if_match.is_none() && message.header(HeaderId::SipIfMatch).is_some() {
            // Step 4.
            return Err(Refusal::new(400, "SIP-If-Match must hold one entity tag"));
        }
        let expires_seconds =
            message.number(HeaderId::Expires).map_err(|_| Refusal::new(400, "Expires is malformed"))?;
        let content = message.body();
        let body = (!content.is_empty()).then(|| (message.content_type(), content));
        Ok(Publish { message, package, if_match, expires_seconds, body })
    }
}
