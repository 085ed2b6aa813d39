//! What ties a sign-in to the TLS connection that it came over, so that it is worth nothing on another one.

/// A channel binding (RFC 5056): what both sides know of the channel between them, and a relay in the middle cannot
/// have the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelBinding(Vec<u8>);

impl ChannelBinding {
    /// Of a TLS connection, by the hash of the server's certificate (RFC 5929 §4): the whole certificate in DER under the
    /// hash function of its signature, SHA-256 where that is MD5 or SHA-1.
    pub fn tls_server_end_point(certificate_hash: &[u8]) -> ChannelBinding {
        ChannelBinding([b"tls-server-end-point:", certificate_hash].concat())
    }

    /// As it goes into the checksum (RFC 5056 §2.1): the type's name, a colon, the value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
