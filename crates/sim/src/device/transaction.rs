//! Client transactions (RFC 3261 §17.1) and the memory of answered requests.

use bytes::Bytes;
use sip_message::{HeaderId, Message, Method, RequestBuilder};

use super::watching::Watched;
use super::{Alarm, Device, Path, T1, T2, TRANSACTION_TIMEOUT};

/// What a transaction is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Register { flow: usize, dialled: u32, removes: bool },
    Message { number: u64 },
    Invite { call: String },
    Cancel,
    Bye { call: String, leg: String },
    Refer { call: String, refer_to: String, challenged: u8 },
    TransferNotice,
    Publish,
    Subscribe { watched: Watched, removes: bool },
}

/// A request that waits for its final response, or a refused INVITE that is acknowledged again and again.
#[derive(Debug)]
pub(super) struct ClientTransaction {
    pub(super) method: &'static str,
    pub(super) flow: usize,
    pub(super) request: Bytes,
    pub(super) purpose: Purpose,
    pub(super) proceeding: bool,
    pub(super) ack: Option<Bytes>,
    interval: std::time::Duration,
}

/// A request that was received: what it was answered, for its retransmissions.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) path: Path,
    pub(super) response: Option<Bytes>,
    /// An answer that is made but not given yet.
    pub(super) late: Option<Bytes>,
}

impl Served {
    /// Whether the request came over this flow.
    pub(super) fn came_over(&self, flow: usize) -> bool {
        matches!(self.path, Path::Flow(of) if of == flow)
    }
}

impl ClientTransaction {
    /// Whether a response may be to another copy of the request than the one that was acted on.
    pub(super) fn was_retransmitted(&self) -> bool {
        self.interval > T1
    }
}

impl Device {
    /// Sends a request and sees to its retransmission and its end.
    pub(super) fn begin(
        &mut self,
        flow: usize,
        branch: &str,
        method: &'static str,
        request: Bytes,
        purpose: Purpose,
    ) {
        let transaction = ClientTransaction {
            method,
            flow,
            request: request.clone(),
            purpose,
            proceeding: false,
            ack: None,
            interval: T1,
        };
        self.transactions.insert(branch.to_owned(), transaction);
        if !self.is_stream() {
            self.alarm(T1, Alarm::Retransmit(branch.to_owned()));
        }
        self.alarm(TRANSACTION_TIMEOUT, Alarm::TransactionTimeout(branch.to_owned()));
        self.send_flow(flow, request);
    }

    pub(super) fn retransmit(&mut self, branch: &str) {
        let Some(transaction) = self.transactions.get_mut(branch) else { return };
        let invite = transaction.method == "INVITE";
        if transaction.ack.is_some() || (invite && transaction.proceeding) {
            return;
        }
        // RFC 3261 §17.1.1.2 (timer A) and §17.1.2.2 (timer E).
        transaction.interval *= 2;
        if !invite {
            transaction.interval = if transaction.proceeding { T2 } else { transaction.interval.min(T2) };
        }
        let (flow, request, interval) = (transaction.flow, transaction.request.clone(), transaction.interval);
        self.alarm(interval, Alarm::Retransmit(branch.to_owned()));
        self.send_flow(flow, request);
    }

    pub(super) fn transaction_timeout(&mut self, branch: &str) {
        let Some(transaction) = self.transactions.get(branch) else { return };
        if transaction.method == "INVITE" && transaction.proceeding && transaction.ack.is_none() {
            // Timer B ends with the first provisional response; the caller's patience ends the call.
            return;
        }
        let transaction = self.transactions.remove(branch).expect("it was there above");
        if transaction.ack.is_none() {
            self.concluded(transaction.purpose, None, 408);
        }
    }

    /// Everything that waits on a flow fails when the flow breaks (RFC 3261 §17.1.4).
    pub(super) fn fail_transactions(&mut self, flow: usize) {
        let failed: Vec<String> =
            self.transactions.iter().filter(|(_, t)| t.flow == flow).map(|(b, _)| b.clone()).collect();
        for branch in failed {
            if let Some(transaction) = self.transactions.remove(&branch).filter(|t| t.ack.is_none()) {
                self.concluded(transaction.purpose, None, 503);
            }
        }
    }

    /// ACK of a refusal: same branch, To of the response (RFC 3261 §17.1.1.3).
    pub(super) fn acknowledge_refusal(&mut self, branch: &str, response: &Message) {
        let Some(transaction) = self.transactions.get_mut(branch) else { return };
        let Ok(invite) = Message::parse(transaction.request.clone()) else { return };
        let ack = companion(Method::Ack, &invite, response.header(HeaderId::To).unwrap_or_default());
        transaction.ack = Some(ack.clone());
        let flow = transaction.flow;
        self.send_flow(flow, ack);
        self.alarm(TRANSACTION_TIMEOUT, Alarm::TransactionTimeout(branch.to_owned()));
    }
}

/// CANCEL or ACK of an INVITE: same Request-URI, topmost Via, From, Call-ID, CSeq number and Route (RFC 3261 §9.1, §17.1.1.3).
pub(super) fn companion(method: Method<'_>, invite: &Message, to: &[u8]) -> Bytes {
    let mut request = RequestBuilder::new(method, invite.request_uri_text());
    let copy = |id: HeaderId| invite.header(id).unwrap_or_default().to_vec();
    request.header(HeaderId::Via, copy(HeaderId::Via));
    for line in invite.headers().filter(|h| h.id == HeaderId::Route) {
        request.header(HeaderId::Route, line.value);
    }
    let number = invite.cseq().map_or(0, |c| c.number);
    request
        .header(HeaderId::MaxForwards, "70")
        .header(HeaderId::From, copy(HeaderId::From))
        .header(HeaderId::To, to)
        .header(HeaderId::CallId, copy(HeaderId::CallId))
        .header(HeaderId::CSeq, format!("{number} {}", method.as_str()));
    request.build()
}
