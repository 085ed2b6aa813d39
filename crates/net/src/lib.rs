//! The real world around a node: sockets, TLS, WebSocket, DNS, HTTP, timers.
