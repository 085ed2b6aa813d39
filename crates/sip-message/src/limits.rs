//! Limits of what is read from strangers.

/// Largest SIP message, in octets. RFC 3261 §18.1.1 knows 65,535 over UDP; streams get the same, so that a message
/// can change transport on its way.
pub const MESSAGE_OCTETS_MAX: usize = 64 * 1024;
/// Largest start line and header block, in octets: half a message, eight times what real clients send.
pub const HEADER_BLOCK_OCTETS_MAX: usize = 32 * 1024;
/// Most header lines in a message. The longest of RFC 4475 has 23.
pub const HEADER_LINES_MAX: usize = 128;
