//! The system calls that carry every message, past the C library: its versions are points at which a thread may be
//! cancelled (POSIX threads), and pay two atomic exchanges a call for that in a process with threads.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::{TcpStream, UdpSocket};

/// A write to a peer that has gone is an error, not a signal.
const FLAGS: SendFlags = SendFlags::NOSIGNAL;

/// Past tokio's readiness, which is known only after the first event: a new socket can nearly always be written to.
/// Zero where the socket is full.
pub(crate) fn send(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let result = match slices {
        [one] => rustix::net::send(stream.as_fd(), one, FLAGS),
        many => rustix::net::sendmsg(stream.as_fd(), many, &mut SendAncillaryBuffer::default(), FLAGS),
    };
    match result.map_err(io::Error::from) {
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}

/// Past tokio's readiness, as for streams. A full buffer is an error.
pub(crate) fn send_to(socket: &UdpSocket, octets: &[u8], remote: SocketAddr) -> io::Result<usize> {
    Ok(rustix::net::sendto(socket.as_fd(), octets, FLAGS, &remote)?)
}

/// Reads what has come: its length, 0 at the end of the stream.
///
/// Less than the buffer holds was all that there was, so that tokio need not try again before the next event. (Its own
/// `poll_read` knows that too.)
pub(crate) fn poll_recv(
    stream: &TcpStream,
    buffer: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        let mut read = None;
        let tried = stream.try_io(Interest::READABLE, || {
            let (length, _) = rustix::net::recv(stream.as_fd(), &mut *buffer, RecvFlags::empty())?;
            read = Some(length);
            // Told to tokio alone. The end of the stream is one that stays.
            match 0 < length && length < buffer.len() {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(()),
            }
        });
        match (read, tried) {
            (Some(length), _) => return Poll::Ready(Ok(length)),
            (None, Err(error)) if is_passing(&error) => {}
            (None, Err(error)) => return Poll::Ready(Err(error)),
            (None, Ok(())) => unreachable!("what is no error has a length"),
        }
    }
}

/// Reads a datagram: its length, and where it comes from.
pub(crate) fn poll_recv_from(
    socket: &UdpSocket,
    buffer: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<(usize, SocketAddr)>> {
    loop {
        ready!(socket.poll_recv_ready(cx))?;
        let tried = socket.try_io(Interest::READABLE, || {
            let (length, _, remote) =
                rustix::net::recvfrom(socket.as_fd(), &mut *buffer, RecvFlags::empty())?;
            let remote = remote.and_then(|remote| SocketAddr::try_from(remote).ok());
            Ok((length, remote.ok_or(io::ErrorKind::AddrNotAvailable)?))
        });
        match tried {
            Err(error) if is_passing(&error) => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Not an error: there was nothing after all, or a signal came first.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
