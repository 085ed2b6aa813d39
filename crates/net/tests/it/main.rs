//! Real sockets on loopback around a probe.

mod certificates;
mod https;
mod rest;
mod streams;
mod support;
mod tls;
mod udp;
mod websocket;
