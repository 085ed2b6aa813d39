//! MESSAGE, out and in (RFC 3428, RFC 3862, RFC 5438).

use std::time::Duration;

use node::Instant;
use rand::Rng;
use sip_message::{HeaderId, Message, Method, RequestBuilder, ResponseBuilder};

use super::transaction::Purpose;
use super::{Alarm, CHALLENGES_MAX, Device, Reaction};
use crate::event::{Fact, Mark};

/// Answers of a server in trouble (500, 503, 504) after which the device tries the same message again, this often,
/// before it tells its user that it failed.
const SERVER_ERRORS_MAX: u8 = 4;
/// Pause before a message is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(2);

/// A message that has no final answer yet.
#[derive(Debug)]
pub(super) struct OutMessage {
    pub(super) in_flight: bool,
    mark: Mark,
    to: String,
    from: String,
    from_tag: String,
    call_id: String,
    cseq: u32,
    challenged: u8,
    server_errors: u8,
    /// It was retransmitted: an earlier copy may have been accepted, whatever the answer to a later one says.
    doubtful: bool,
}

impl Device {
    /// Sends a message to `to` (`user@domain`); `forged_from` puts another address into From.
    pub(crate) fn send_message(&mut self, now: Instant, mark: Mark, to: &str, forged_from: Option<&str>) {
        self.now = now;
        self.fact(Fact::Wrote { mark: mark.clone(), forged: forged_from.is_some() });
        let message = OutMessage {
            in_flight: false,
            to: to.to_owned(),
            from: forged_from.map_or_else(|| self.address_of_record(), str::to_owned),
            from_tag: self.token("m"),
            call_id: self.token("msg-"),
            cseq: 1,
            challenged: 0,
            server_errors: 0,
            doubtful: false,
            mark,
        };
        let number = message.mark.number;
        self.outbox.insert(number, message);
        self.attempt_message(number);
    }

    /// Sends what waited for a flow.
    pub(super) fn flush_outbox(&mut self) {
        let waiting: Vec<u64> = self.outbox.iter().filter(|(_, m)| !m.in_flight).map(|(n, _)| *n).collect();
        for number in waiting {
            self.attempt_message(number);
        }
    }

    pub(super) fn attempt_message(&mut self, number: u64) {
        let Some(flow) = self.best_flow() else { return };
        let branch = self.branch();
        let Some(message) = self.outbox.get_mut(&number).filter(|m| !m.in_flight) else { return };
        message.in_flight = true;
        let uri = format!("sip:{}", message.to);
        let mut request = RequestBuilder::new(Method::Message, &uri);
        let (content_type, body) = if self.config.cpim {
            ("message/cpim", cpim(message))
        } else {
            ("text/plain", message.mark.text())
        };
        let (from, tag, call_id) = (message.from.clone(), message.from_tag.clone(), message.call_id.clone());
        let cseq = message.cseq;
        request.header(HeaderId::Via, self.via(&branch));
        for route in &self.flows[flow].service_route {
            request.header(HeaderId::Route, route);
        }
        request
            .header(HeaderId::MaxForwards, "70")
            .header(HeaderId::From, format!("<sip:{from}>;tag={tag}"))
            .header(HeaderId::To, format!("<{uri}>"))
            .header(HeaderId::CallId, call_id)
            .header(HeaderId::CSeq, format!("{cseq} MESSAGE"));
        self.sign(&mut request, "MESSAGE", &uri, body.as_bytes());
        request.body(content_type, body.as_bytes());
        self.begin(flow, &branch, "MESSAGE", request.build(), Purpose::Message { number });
    }

    pub(super) fn message_doubtful(&mut self, number: u64) {
        if let Some(message) = self.outbox.get_mut(&number) {
            message.doubtful = true;
        }
    }

    pub(super) fn message_concluded(&mut self, number: u64, answered: bool, status: u16) {
        let fresh_call_id = self.token("msg-");
        let Some(message) = self.outbox.get_mut(&number) else { return };
        message.in_flight = false;
        // Without a Message-ID nobody could recognise a resend that is signed anew, with the next CSeq: where an
        // earlier copy may have been accepted, the user is told that the message may not have arrived.
        let recognisable = self.config.cpim || !message.doubtful;
        let challenged = answered && matches!(status, 401 | 407) && message.challenged < CHALLENGES_MAX;
        if challenged && recognisable {
            message.challenged += 1;
            message.cseq += 1;
            return self.attempt_message(number);
        }
        let in_trouble = matches!(status, 500 | 503 | 504);
        let another_try = !answered || (in_trouble && message.server_errors < SERVER_ERRORS_MAX);
        if another_try && self.config.cpim {
            message.server_errors += u8::from(in_trouble && answered);
            message.challenged = 0;
            // Only the Message-ID stays: it alone must be enough to recognise the message.
            message.call_id = fresh_call_id;
            message.cseq = 1;
            let pause = RESEND_AFTER.mul_f64(self.rng.random_range(0.5..1.5));
            return self.alarm(pause, Alarm::SendAgain(number));
        }
        let message = self.outbox.remove(&number).expect("it was there above");
        // A challenge that cannot be answered is no refusal of the message.
        let status = if challenged { 408 } else { status };
        self.fact(Fact::Concluded { mark: message.mark, status });
    }

    pub(super) fn message_received(&mut self, key: (String, String), request: &Message) {
        let Some(mark) = Mark::find(request.body()) else {
            // A notification about a message, not one of the world's own.
            return self.reply(&key, ResponseBuilder::new(request, 200).build());
        };
        let from = request.from().map(|f| f.uri.without_params().to_owned()).unwrap_or_default();
        let from = from.split_once(':').map_or("", |(_, rest)| rest).to_owned();
        let (status, late) = match self.config.script.on_message {
            Reaction::Take => (Some(200), None),
            Reaction::TakeLate(after) => (Some(200), Some(after)),
            Reaction::Refuse(status) => (Some(status), None),
            Reaction::Silent => (None, None),
        };
        self.fact(Fact::Received { mark: mark.clone(), from, branch: key.0.clone(), status });
        let Some(status) = status else { return };
        let tag = self.token("d");
        let response = ResponseBuilder::new(request, status).to_tag(&tag).build();
        if let Some(after) = late {
            if let Some(served) = self.served.get_mut(&key) {
                served.late = Some(response);
            }
            return self.alarm(after, Alarm::ReplyLate { key, mark });
        }
        self.fact(Fact::Replied { mark, branch: key.0.clone(), status });
        self.reply(&key, response);
    }

    pub(super) fn reply_late(&mut self, key: &(String, String), mark: Mark) {
        let Some(response) = self.served.get_mut(key).and_then(|s| s.late.take()) else { return };
        self.fact(Fact::Replied { mark, branch: key.0.clone(), status: 200 });
        self.reply(key, response);
    }
}

/// A CPIM message (RFC 3862) with the IMDN headers of RFC 5438 §6.
fn cpim(message: &OutMessage) -> String {
    format!(
        "From: <sip:{}>\r\nTo: <sip:{}>\r\nDateTime: 2026-11-22T01:00:00Z\r\n\
         NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {}\r\n\
         imdn.Disposition-Notification: positive-delivery\r\n\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{}",
        message.from,
        message.to,
        message.mark.message_id(),
        message.mark.text()
    )
}
