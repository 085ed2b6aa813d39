//! Flow tokens (RFC 5626 §5.2) and GRUUs (RFC 5627): texts that we hand out and believe only with our own signature.

use node::Flow;

/// Signs and reads flow tokens and GRUUs.
pub struct Tokens {
    _key: [u8; 32],
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not ours, or changed.
    #[error("the token does not bear our signature")]
    Forged,
    /// Ours, but of a flow that an earlier start had: answer 430 (RFC 5626 §5.3).
    #[error("the flow is of an earlier start")]
    Stale,
}

impl Tokens {
    /// `secret` is kept over restarts, `boot` is fresh: connections of an earlier boot are `Stale`, datagram flows stay good.
    pub fn new(_secret: [u8; 32], _boot: [u8; 32]) -> Tokens {
        todo!()
    }
    /// A token for a flow: characters of a SIP user part, at most 80.
    pub fn flow_token(&self, _flow: Flow) -> String {
        todo!()
    }
    /// The flow of a token.
    pub fn read_flow_token(&self, _token: &str) -> Result<Flow, TokenError> {
        todo!()
    }
    /// The user part and `gr` value of a temporary GRUU (RFC 5627 §3.1.2) for an address (`user@domain`), an instance and the Call-ID of its registration: unlinkable, and void
    /// when the registration's Call-ID changes (the caller compares).
    pub fn temporary_gruu(&self, _address: &str, _instance: &str, _call_id: &str, _counter: u64) -> String {
        todo!()
    }
    /// Reads a temporary GRUU's user part.
    pub fn read_temporary_gruu(&self, _user: &str) -> Result<TemporaryGruu, TokenError> {
        todo!()
    }
}

/// What a temporary GRUU says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporaryGruu {
    /// `user@domain`.
    pub address: String,
    /// The instance.
    pub instance: String,
    /// First octets of a keyed digest of the Call-ID; compare with [`Tokens`]'s own.
    pub call_id_digest: u64,
}
