//! Header values that somebody here acts on, parsed when asked for and borrowed from the message.

mod auth;
mod contact;
mod cseq;
mod date;
mod name_addr;
mod params;
mod retry_after;
#[cfg(test)]
mod tests;
mod via;

pub use auth::AuthParams;
pub(crate) use contact::ContactParts;
pub use contact::{ContactValue, Contacts};
pub use cseq::CSeq;
pub(crate) use cseq::CSeqParts;
pub(crate) use date::is_sip_date;
pub use name_addr::NameAddr;
pub(crate) use name_addr::NameAddrParts;
pub use params::Params;
pub use retry_after::RetryAfter;
pub use via::Via;
pub(crate) use via::ViaParts;

/// Why a header value could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is malformed.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// It must stand once and stands several times.
    #[error("{0} stands more than once")]
    Repeated(&'static str),
}

impl HeaderError {
    /// The same about a header of this name.
    pub(crate) fn of(self, name: &'static str) -> HeaderError {
        match self {
            HeaderError::Missing(_) => HeaderError::Missing(name),
            HeaderError::Malformed(_) => HeaderError::Malformed(name),
            HeaderError::Repeated(_) => HeaderError::Repeated(name),
        }
    }
}
