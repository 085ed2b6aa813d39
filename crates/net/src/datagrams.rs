//! Datagram sockets.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use node::{Flow, Input, ListenerId, Node, Transport};

use crate::socket::{poll_recv_from, send_to};
use crate::world::World;

/// Datagrams of one turn; then others have theirs. Their answers leave together at its end.
const DATAGRAMS_PER_TURN: usize = 32;

impl<N: Node + 'static> World<N> {
    /// One turn of a datagram socket.
    pub(crate) fn poll_datagrams(&mut self, listener: ListenerId, cx: &mut Context<'_>) -> Poll<()> {
        let Some(socket) = self.listeners[usize::from(listener.0)].socket.as_ref().map(Rc::clone) else {
            return Poll::Ready(());
        };
        self.begin();
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut left = DATAGRAMS_PER_TURN;
        while left > 0 {
            left -= 1;
            match poll_recv_from(&socket, &mut scratch, cx) {
                Poll::Pending => break,
                // An ICMP error about something that was sent before: the sender's timers deal with the loss.
                Poll::Ready(Err(_)) => {}
                Poll::Ready(Ok((length, remote))) => self.datagram(listener, remote, &scratch[..length]),
            }
        }
        self.scratch = scratch;
        self.settle();
        if left == 0 {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn datagram(&mut self, listener: ListenerId, remote: std::net::SocketAddr, octets: &[u8]) {
        // An empty datagram, or one from port 0, can neither mean anything nor be answered.
        if octets.is_empty() || remote.port() == 0 {
            return;
        }
        let traffic = self.metrics.traffic(Transport::Udp);
        traffic.messages_in += 1;
        traffic.octets_in += octets.len() as u64;
        let bytes = Bytes::copy_from_slice(octets);
        self.feed(Input::Received { flow: Flow::Datagram { listener, remote }, bytes });
    }

    pub(crate) fn flush_datagrams(&mut self) {
        for datagram in self.datagrams.drain(..) {
            let listening = self.listeners.get(usize::from(datagram.listener.0));
            let Some(socket) = listening.and_then(|l| l.socket.as_ref()) else {
                continue;
            };
            // A full buffer loses the datagram, as any router on the way might: the retransmission of RFC 3261 §17
            // repairs both.
            match send_to(socket, &datagram.bytes, datagram.remote) {
                Ok(_) => {
                    let traffic = self.metrics.traffic(Transport::Udp);
                    traffic.messages_out += 1;
                    traffic.octets_out += datagram.bytes.len() as u64;
                }
                Err(_) => self.metrics.datagrams_dropped += 1,
            }
        }
    }
}
