//! Voice and video: which requests ask for them, and who may.
//!
//! A user without the permission neither begins such a call nor is reached by one. Sessions of instant messages are none, and pass: what
//! a request asks for stands in its session description (RFC 8866 §5.14). One that does not say asks for everything.

use directory::UserId;
use sip_message::sdp::Session;
use sip_message::{Message, Method};

use crate::frontend::FrontEnd;
use crate::people::Someone;
use crate::pipeline::{Refusal, Request};
use crate::users::AddressKey;

/// Whether a request asks for voice or video, or leaves it to the answer.
pub(crate) fn asks_for_media(message: &Message) -> bool {
    if message.body().is_empty() {
        // RFC 3264 §5: then the other side offers.
        return message.method() == Method::Invite;
    }
    let content_type = message.content_type();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/sdp") {
        return true;
    }
    let is_media = |kind: &str| kind.eq_ignore_ascii_case("audio") || kind.eq_ignore_ascii_case("video");
    Session::parse(message.body()).map_or(true, |session| session.media.iter().any(|m| is_media(m.kind)))
}

impl FrontEnd {
    /// Whether a call may begin, as far as its parties are ours.
    pub(crate) fn check_media(
        &self,
        request: &Request<'_>,
        caller: &Someone,
        called: Option<UserId>,
    ) -> Result<(), Refusal> {
        let may = |user: Option<UserId>| user.is_none_or(|user| self.may_call(user));
        let (caller_may, called_may) = (may(caller.user()), may(called));
        if (caller_may && called_may) || !asks_for_media(request.message) {
            return Ok(());
        }
        Err(match caller_may {
            false => Refusal::new(403, "the user may not call with voice or video"),
            true => Refusal::new(403, "the user may not be called with voice or video"),
        })
    }

    /// Whether what is asked for within a dialog may be: a session of messages does not become a call by the way.
    pub(crate) fn check_media_within(&self, request: &Request<'_>) -> Result<(), Refusal> {
        if !matches!(request.method, Method::Invite | Method::Update | Method::Prack) {
            return Ok(());
        }
        let message = request.message;
        let parties = [message.from().map(|from| from.uri), message.to().map(|to| to.uri)];
        let keys = parties.into_iter().flatten().filter_map(|uri| AddressKey::from_uri(&uri));
        let mut users = keys.filter_map(|key| self.users.find(&key));
        match users.any(|user| !self.may_call(user)) && asks_for_media(message) {
            true => Err(Refusal::new(403, "a party of the dialog may not have voice or video")),
            false => Ok(()),
        }
    }

    fn may_call(&self, user: UserId) -> bool {
        self.users.get(user).is_none_or(|account| account.user.may().calls)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_does_not_say_asks_for_everything() {
        let asks = |method: &str, content_type: &str, body: &str| {
            let text = format!(
                "{method} sip:b@x SIP/2.0\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            asks_for_media(&Message::parse(Bytes::from(text)).unwrap())
        };
        let session = |media: &str| {
            format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}")
        };
        let messages = session("m=message 2855 TCP/MSRP *\r\n");
        assert!(!asks("INVITE", "application/sdp", &messages));
        assert!(!asks("INVITE", "Application/SDP; charset=utf-8", &messages));
        assert!(asks("INVITE", "application/sdp", &session("m=audio 4000 RTP/AVP 0\r\n")));
        let both = session("m=message 2855 TCP/MSRP *\r\nm=video 4002 RTP/AVP 31\r\n");
        assert!(asks("UPDATE", "application/sdp", &both));
        assert!(asks("INVITE", "application/sdp", "no session"));
        assert!(asks("INVITE", "multipart/mixed;boundary=x", &messages));
        assert!(asks("INVITE", "application/sdp", ""));
        assert!(!asks("UPDATE", "application/sdp", ""), "it only refreshes");
    }
}
