//! One end of a dialog (RFC 3261 §12).

use sip_message::{Contacts, HeaderId, Message};

use crate::{Draft, unique};

/// What an end of a dialog must remember to send requests within it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the dialog's state of RFC 3261 §12")]
pub struct Dialog {
    pub call_id: String,
    pub local: String,
    pub remote: String,
    pub target: String,
    pub routes: Vec<String>,
    pub cseq: u32,
}

impl Dialog {
    /// The caller's end, from a response that makes a dialog.
    pub fn of_caller(response: &Message) -> Dialog {
        let mut routes = record_routes(response);
        routes.reverse();
        Dialog {
            call_id: response.call_id().expect("Call-ID").to_owned(),
            local: text(response, HeaderId::From),
            remote: text(response, HeaderId::To),
            target: contact(response),
            routes,
            cseq: response.cseq().expect("CSeq").number,
        }
    }

    /// The callee's end, from the request and the To tag of its answer.
    pub fn of_callee(request: &Message, tag: &str) -> Dialog {
        Dialog {
            call_id: request.call_id().expect("Call-ID").to_owned(),
            local: format!("{};tag={tag}", text(request, HeaderId::To)),
            remote: text(request, HeaderId::From),
            target: contact(request),
            routes: record_routes(request),
            cseq: 100,
        }
    }

    /// The next request within the dialog.
    pub fn request(&mut self, method: &str) -> Draft {
        self.cseq += 1;
        self.draft(method, self.cseq)
    }

    /// The ACK of the 2xx to the INVITE with this CSeq number (RFC 3261 §13.2.2.4).
    pub fn ack(&self, cseq: u32) -> Draft {
        self.draft("ACK", cseq)
    }

    fn draft(&self, method: &str, cseq: u32) -> Draft {
        let mut headers = Vec::new();
        for route in &self.routes {
            headers.push(("Route".to_owned(), route.clone()));
        }
        Draft {
            method: method.to_owned(),
            uri: self.target.clone(),
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq,
            max_forwards: 70,
            headers,
            body: None,
            answers_challenges: true,
        }
    }

    /// A dialog that nobody opened, towards `target`: what a stranger who guesses would have.
    pub fn forged(local: &str, remote: &str, target: &str) -> Dialog {
        Dialog {
            call_id: unique(),
            local: format!("<{local}>;tag={}", unique()),
            remote: format!("<{remote}>;tag={}", unique()),
            target: target.to_owned(),
            routes: Vec::new(),
            cseq: 1,
        }
    }
}

fn record_routes(message: &Message) -> Vec<String> {
    message.elements(HeaderId::RecordRoute).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn text(message: &Message, id: HeaderId) -> String {
    String::from_utf8_lossy(message.header(id).expect("the header")).into_owned()
}

fn contact(message: &Message) -> String {
    match message.contacts() {
        Ok(Contacts::List(contacts)) => contacts.first().expect("a Contact").addr.uri.as_str().to_owned(),
        other => panic!("no Contact to answer to: {other:?}"),
    }
}
