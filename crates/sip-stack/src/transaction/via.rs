//! Where a response goes, and what its topmost Via says (RFC 3261 §18.2, RFC 3581 §4, RFC 5118 §4).

use std::fmt::Write;
use std::net::SocketAddr;

use node::Flow;
use sip_message::{Host, Message, Via};

use super::{Arrival, Transactions};

/// RFC 3261 §18.2.2: where sent-by names no port.
const SIP_PORT: u16 = 5060;
const TAKES_EVERYTHING: &str = "a String takes everything";

impl Transactions {
    /// The topmost Via element for responses: as received, with `received` and `rport` filled in where they must be (RFC 3261 §18.2.1, RFC 3581 §4).
    /// Static so that stateless answers can use it too; `None` where the Via needs no change.
    ///
    /// `received` is added where sent-by is no address or another one than was seen, and always where `rport` was asked for. A `received`
    /// that the client wrote itself is replaced.
    pub fn response_via(message: &Message, remote: SocketAddr) -> Option<String> {
        let via = message.top_via().ok()?;
        let seen = remote.ip().to_canonical();
        let told = matches!(via.host, Host::Address(address) if address.to_canonical() == seen);
        if told && !via.has_rport() && !via.has_received() {
            return None;
        }

        // What is added: the port, and the longest address.
        const ADDED: usize = ":12345;received=".len() + 45;
        let mut element = String::with_capacity(via.text.len() + ADDED);
        for part in ["SIP/2.0/", via.transport, " ", via.host_text] {
            element.push_str(part);
        }
        if let Some(port) = via.port {
            write!(element, ":{port}").expect(TAKES_EVERYTHING);
        }
        for (name, value) in via.params.iter() {
            if via.has_received() && name.eq_ignore_ascii_case("received") {
                continue;
            }
            element.push(';');
            if via.has_rport() && name.eq_ignore_ascii_case("rport") {
                write!(element, "rport={}", remote.port()).expect(TAKES_EVERYTHING);
                continue;
            }
            element.push_str(name);
            if !value.is_empty() {
                element.push('=');
                element.push_str(value);
            }
        }
        // RFC 5118 §4.5: an IPv6 address stands here without brackets.
        write!(element, ";received={seen}").expect(TAKES_EVERYTHING);
        Some(element)
    }

    /// Where responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4): the flow itself; over UDP without `rport` the port of sent-by. `maddr` is not
    /// followed: a stranger could aim us with it.
    pub fn response_flow(message: &Message, arrival: &Arrival) -> Flow {
        message.top_via().map_or(arrival.flow, |via| response_flow(&via, arrival))
    }
}

pub(super) fn response_flow(via: &Via<'_>, arrival: &Arrival) -> Flow {
    match arrival.flow {
        Flow::Datagram { listener, mut remote } if !via.has_rport() => {
            remote.set_port(via.port.unwrap_or(SIP_PORT));
            Flow::Datagram { listener, remote }
        }
        flow => flow,
    }
}
