//! SIP messages, URIs, headers, SDP, digest arithmetic and stream framing: parse and print.
