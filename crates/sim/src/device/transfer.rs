//! Transfers: REFER within a call, out and in (RFC 3515, RFC 5589), and calls that replace another (RFC 3891).

use std::time::Duration;

use node::Instant;
use sip_message::{HeaderId, Message, Method, ResponseBuilder};

use super::calls::Way;
use super::dialog::Dialog;
use super::transaction::Purpose;
use super::{CHALLENGES_MAX, Device};
use crate::event::Fact;

/// How long a call is talked that somebody else asked for.
const TRANSFERRED_TALK: Duration = Duration::from_secs(4);

/// Where a call shall go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferTo {
    /// To an address: `user@domain` (a blind transfer).
    Address(String),
    /// To whom the device talks in this other call, by Call-ID (an attended transfer).
    Call(String),
    /// The same, but by the Contact that the other side of that call has shown, as telephones do that know no better (RFC 5589 §7.5).
    Contact(String),
}

/// The dialog that a call replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replaces {
    call_id: String,
    to_tag: String,
    from_tag: String,
}

impl Replaces {
    /// Reads `call-id;to-tag=x;from-tag=y`.
    fn parse(text: &str) -> Option<Replaces> {
        let mut parts = text.split(';');
        let call_id = parts.next()?.trim().to_owned();
        let pairs: Vec<(&str, &str)> = parts.filter_map(|p| p.trim().split_once('=')).collect();
        let tag = |name: &str| Some(pairs.iter().find(|(n, _)| *n == name)?.1.to_owned());
        Some(Replaces { call_id, to_tag: tag("to-tag")?, from_tag: tag("from-tag")? })
    }

    pub(super) fn text(&self) -> String {
        format!("{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)
    }
}

impl Device {
    /// Asks the other side of a call to call somebody else instead. Does nothing where there is no such call.
    pub(crate) fn transfer(&mut self, now: Instant, call_id: &str, to: &TransferTo) {
        self.now = now;
        let refer_to = match to {
            TransferTo::Address(address) => format!("<sip:{address}>"),
            TransferTo::Call(other) | TransferTo::Contact(other) => {
                let Some(other) = self.dialog_up(other) else { return };
                let (Some(ours), Some(theirs)) = (other.local_tag(), other.remote_tag()) else { return };
                let replaces = Replaces {
                    call_id: other.call_id.clone(),
                    to_tag: theirs.to_owned(),
                    from_tag: ours.to_owned(),
                };
                let escaped = replaces.text().replace(';', "%3B").replace('=', "%3D").replace('@', "%40");
                // RFC 5589 §7.3: without a GRUU the address of record; only the right device knows the dialog.
                match to {
                    TransferTo::Contact(_) => format!("<{}?Replaces={escaped}>", other.target),
                    _ => format!(
                        "<sip:{}?Replaces={escaped}>",
                        crate::notice::address_of(address_in(&other.remote))
                    ),
                }
            }
        };
        self.send_refer(call_id, &refer_to, 0);
    }

    fn send_refer(&mut self, call_id: &str, refer_to: &str, challenged: u8) {
        let me = self.address_of_record();
        let Some((dialog, flow)) = self.next_in_dialog(call_id) else { return };
        let branch = self.branch();
        let mut request = self.in_dialog_request(&dialog, Method::Refer, &branch);
        request
            .header(HeaderId::Contact, format!("<{}>", self.contact_uri()))
            .header(HeaderId::ReferTo, refer_to)
            .header(HeaderId::ReferredBy, format!("<sip:{me}>"));
        self.sign(&mut request, "REFER", &dialog.target, b"");
        let purpose = Purpose::Refer { call: call_id.to_owned(), refer_to: refer_to.to_owned(), challenged };
        self.begin(flow, &branch, "REFER", request.build(), purpose);
    }

    pub(super) fn refer_concluded(
        &mut self,
        call: &str,
        refer_to: &str,
        challenged: u8,
        answered: bool,
        status: u16,
    ) {
        match status {
            200..=299 => {}
            401 | 407 if answered && challenged < CHALLENGES_MAX => {
                self.send_refer(call, refer_to, challenged + 1);
            }
            _ => self.fact(Fact::Transferred { call: call.to_owned(), status }),
        }
    }

    pub(super) fn refer_received(&mut self, key: &(String, String), request: &Message) {
        let call_id = request.call_id().unwrap_or_default().to_owned();
        let to = request.header(HeaderId::ReferTo).map(|v| String::from_utf8_lossy(v).into_owned());
        let status = match (self.dialog_up(&call_id), &to) {
            (None, _) => 481,
            (Some(_), None) => 400,
            (Some(_), Some(_)) => 202,
        };
        let mut response = ResponseBuilder::new(request, status);
        response.header(HeaderId::Contact, format!("<{}>", self.contact_uri()));
        self.reply(key, response.build());
        let Some(to) = to.filter(|_| status == 202) else { return };
        let (uri, headers) = address_in(&to).split_once('?').unwrap_or((address_in(&to), ""));
        let replaces = headers.split('&').find_map(|h| h.strip_prefix("Replaces="));
        let replaces = replaces.and_then(|r| Replaces::parse(&unescaped(r)));
        self.notify_transfer(&call_id, 100);
        let way = Way { replaces, referred_by: Some(call_id) };
        self.call_by(uri.trim_start_matches("sip:"), None, TRANSFERRED_TALK, way);
    }

    /// Tells whoever asked for a call what becomes of it (RFC 3515 §2.4.4).
    pub(super) fn notify_transfer(&mut self, call_id: &str, status: u16) {
        let Some((dialog, flow)) = self.next_in_dialog(call_id) else { return };
        let branch = self.branch();
        let mut request = self.in_dialog_request(&dialog, Method::Notify, &branch);
        let state = if status < 200 { "active;expires=60" } else { "terminated;reason=noresource" };
        request
            .header(HeaderId::Contact, format!("<{}>", self.contact_uri()))
            .header(HeaderId::Event, "refer")
            .header(HeaderId::SubscriptionState, state);
        let phrase = match status {
            ..200 => "Trying",
            200..300 => "OK",
            _ => "Failed",
        };
        let fragment = format!("SIP/2.0 {status} {phrase}\r\n");
        self.sign(&mut request, "NOTIFY", &dialog.target, fragment.as_bytes());
        request.body("message/sipfrag", fragment.as_bytes());
        self.begin(flow, &branch, "NOTIFY", request.build(), Purpose::TransferNotice);
    }

    pub(super) fn transfer_notified(&mut self, key: &(String, String), request: &Message) {
        let call_id = request.call_id().unwrap_or_default().to_owned();
        let known = self.dialog_up(&call_id).is_some();
        let status = if known { 200 } else { 481 };
        self.reply(key, ResponseBuilder::new(request, status).build());
        let text = String::from_utf8_lossy(request.body()).into_owned();
        let told = text.split(' ').nth(1).and_then(|s| s.parse::<u16>().ok()).unwrap_or_default();
        if !known || told < 200 {
            return;
        }
        self.fact(Fact::Transferred { call: call_id.clone(), status: told });
        if told < 300 {
            // RFC 5589 §6.1: the transferor leaves when the transfer has succeeded.
            self.leave_any(&call_id);
        }
    }

    /// The call of this device that an INVITE wants to replace; `Some(None)` where it names one that is not there.
    pub(super) fn replaced_by(&self, invite: &Message) -> Option<Option<String>> {
        let text = String::from_utf8_lossy(invite.header(HeaderId::Replaces)?).into_owned();
        let wanted = Replaces::parse(&text).filter(|r| {
            let fits = |d: &Dialog| d.local_tag() == Some(&r.to_tag) && d.remote_tag() == Some(&r.from_tag);
            self.dialog_up(&r.call_id).is_some_and(fits)
        });
        Some(wanted.map(|r| r.call_id))
    }
}

/// What stands between the angle brackets, or all of it.
fn address_in(name_addr: &str) -> &str {
    match (name_addr.find('<'), name_addr.find('>')) {
        (Some(from), Some(to)) if from < to => &name_addr[from + 1..to],
        _ => name_addr,
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        let code = rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}
