//! Where a response goes, and what its topmost Via says (RFC 3261 §18.2, RFC 3581 §4, RFC 5118 §4).

use std::net::SocketAddr;

use bytes::Bytes;
use node::Flow;
use sip_message::{Host, Message, ResponseBuilder, Via};

use super::{Arrival, Transactions};
use crate::digits::{push_decimal, push_ip};

/// RFC 3261 §18.2.2: where sent-by names no port.
const SIP_PORT: u16 = 5060;

impl Transactions {
    /// The topmost Via element for responses: as received, with `received` and `rport` filled in where they must be (RFC 3261 §18.2.1, RFC 3581 §4).
    /// Static so that stateless answers can use it too; `None` where the Via needs no change.
    ///
    /// `received` is added where sent-by is no address or another one than was seen, and always where `rport` was asked for. A `received`
    /// that the client wrote itself is replaced.
    pub fn response_via(message: &Message, remote: SocketAddr) -> Option<String> {
        let mut element = Vec::new();
        let is_changed = push_response_via(&mut element, &message.top_via().ok()?, remote);
        is_changed.then(|| String::from_utf8(element).expect("a Via is text"))
    }

    /// Where responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4): the flow itself; over UDP without `rport` the port of sent-by. `maddr` is not
    /// followed: a stranger could aim us with it.
    pub fn response_flow(message: &Message, arrival: &Arrival) -> Flow {
        message.top_via().map_or(arrival.flow, |via| response_flow(&via, arrival))
    }
}

pub(crate) fn response_flow(via: &Via<'_>, arrival: &Arrival) -> Flow {
    match arrival.flow {
        Flow::Datagram { listener, mut remote } if !via.has_rport() => {
            remote.set_port(via.port.unwrap_or(SIP_PORT));
            Flow::Datagram { listener, remote }
        }
        flow => flow,
    }
}

/// Writes a response whose topmost Via is that of [`Transactions::response_via`]. `element` is room to write it in.
pub(crate) fn build_response(
    element: &mut Vec<u8>,
    response: &ResponseBuilder<'_>,
    via: Option<&Via<'_>>,
    remote: SocketAddr,
) -> Bytes {
    element.clear();
    match via {
        Some(via) if push_response_via(element, via, remote) => response.build_with_top_via(via, element),
        _ => response.build(),
    }
}

/// See [`Transactions::response_via`]; `false` where the Via needs no change.
pub(crate) fn push_response_via(element: &mut Vec<u8>, via: &Via<'_>, remote: SocketAddr) -> bool {
    let seen = remote.ip().to_canonical();
    let told = matches!(via.host, Host::Address(address) if address.to_canonical() == seen);
    if told && !via.has_rport() && !via.has_received() {
        return false;
    }

    // RFC 5118 §4.5: an IPv6 address stands here without brackets.
    const RECEIVED: &[u8] = b";received=";
    if let Some((before, behind)) = via.around_rport() {
        for part in [before, b"rport="] {
            element.extend_from_slice(part);
        }
        push_decimal(element, remote.port());
        for part in [behind, RECEIVED] {
            element.extend_from_slice(part);
        }
        push_ip(element, seen);
        return true;
    }

    for part in ["SIP/2.0/", via.transport, " ", via.host_text] {
        element.extend_from_slice(part.as_bytes());
    }
    if let Some(port) = via.port {
        element.push(b':');
        push_decimal(element, port);
    }
    for (name, value) in via.params.iter() {
        if via.has_received() && name.eq_ignore_ascii_case("received") {
            continue;
        }
        element.push(b';');
        if via.has_rport() && name.eq_ignore_ascii_case("rport") {
            element.extend_from_slice(b"rport=");
            push_decimal(element, remote.port());
            continue;
        }
        element.extend_from_slice(name.as_bytes());
        if !value.is_empty() {
            element.push(b'=');
            element.extend_from_slice(value.as_bytes());
        }
    }
    element.extend_from_slice(RECEIVED);
    push_ip(element, seen);
    true
}
