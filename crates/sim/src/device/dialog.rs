//! One side of a dialog (RFC 3261 §12): what a request inside of it is made of.

use bytes::Bytes;
use sip_message::{HeaderId, Message, Method, RequestBuilder};

use super::Device;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    pub(super) cseq: u32,
}

impl Dialog {
    /// That of whoever sent the request that `response` answers (RFC 3261 §12.1.2).
    pub(super) fn of_caller(response: &Message) -> Option<Dialog> {
        let mut routes = record_route(response);
        routes.reverse();
        Some(Dialog {
            call_id: response.call_id().ok()?.to_owned(),
            local: text(response, HeaderId::From)?,
            remote: text(response, HeaderId::To)?,
            target: contact(response)?,
            routes,
            cseq: response.cseq().ok()?.number,
        })
    }

    /// That of whoever received `request`; outside of a dialog it still needs its tag (RFC 3261 §12.1.1).
    pub(super) fn of_callee(request: &Message) -> Dialog {
        Dialog {
            call_id: request.call_id().unwrap_or_default().to_owned(),
            local: text(request, HeaderId::To).unwrap_or_default(),
            remote: text(request, HeaderId::From).unwrap_or_default(),
            target: contact(request).unwrap_or_default(),
            routes: record_route(request),
            cseq: 0,
        }
    }

    /// With the tag that its own side gave.
    pub(super) fn tagged(self, tag: &str) -> Dialog {
        Dialog { local: format!("{};tag={tag}", self.local), ..self }
    }

    /// The other side's tag.
    pub(super) fn remote_tag(&self) -> Option<&str> {
        tag_of(&self.remote)
    }

    /// The other side, as `user@domain`.
    pub(super) fn remote_address(&self) -> String {
        let start = self.remote.find('<').map_or(0, |at| at + 1);
        let end = self.remote.find('>').unwrap_or(self.remote.len());
        crate::notice::address_of(&self.remote[start..end])
    }

    /// Its own side's tag.
    pub(super) fn local_tag(&self) -> Option<&str> {
        tag_of(&self.local)
    }
}

impl Device {
    /// A request inside of a dialog, not signed yet.
    pub(super) fn in_dialog_request(
        &self,
        dialog: &Dialog,
        method: Method<'_>,
        branch: &str,
    ) -> RequestBuilder {
        let mut request = RequestBuilder::new(method, &dialog.target);
        request.header(HeaderId::Via, self.via(branch));
        for route in &dialog.routes {
            request.header(HeaderId::Route, route);
        }
        request
            .header(HeaderId::MaxForwards, "70")
            .header(HeaderId::From, &dialog.local)
            .header(HeaderId::To, &dialog.remote)
            .header(HeaderId::CallId, &dialog.call_id)
            .header(HeaderId::CSeq, format!("{} {}", dialog.cseq, method.as_str()));
        request
    }

    /// A request inside of a dialog, signed unless it is ACK.
    pub(super) fn in_dialog(&mut self, dialog: &Dialog, method: Method<'_>, branch: &str) -> Bytes {
        let mut request = self.in_dialog_request(dialog, method, branch);
        if method != Method::Ack {
            self.sign(&mut request, method.as_str(), &dialog.target, b"");
        }
        request.build()
    }
}

fn text(message: &Message, id: HeaderId) -> Option<String> {
    Some(String::from_utf8_lossy(message.header(id)?).into_owned())
}

fn tag_of(name_addr: &str) -> Option<&str> {
    let (_, behind) = name_addr.split_once(";tag=")?;
    behind.split(';').next()
}

fn contact(message: &Message) -> Option<String> {
    match message.contacts().ok()? {
        sip_message::Contacts::List(list) => list.first().map(|c| c.addr.uri.as_str().to_owned()),
        sip_message::Contacts::Star => None,
    }
}

fn record_route(message: &Message) -> Vec<String> {
    let routes = message.name_addrs(HeaderId::RecordRoute).flatten();
    routes.map(|r| String::from_utf8_lossy(r.text).into_owned()).collect()
}
