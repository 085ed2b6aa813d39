//! Real sockets on loopback around a probe.

mod streams;
mod support;
mod tls;
mod udp;
