//! Kerberos through GSSAPI (RFC 2743, RFC 4121), with the system's library.
//!
//! - [`Library::load`]: finds MIT's `libgssapi_krb5` when it is first needed. No build needs its headers, and a server that
//!   uses no Kerberos does not need it at all; without it there is a clear error.
//! - [`Acceptor`]: judges what others prove, with the keys of a keytab;
//! - [`Initiator`]: proves who we are, with a client keytab or a cache of tickets, and knows who the other side is;
//! - [`negotiate`]: the acceptor behind HTTP's `Negotiate` (RFC 4559), without HTTP's types;
//! - [`spnego`]: what a client offers, and the answer that ends it;
//! - [`Account`]: what Active Directory says of a person within the ticket.
//!
//! What this crate is not: it keeps no sessions, knows no users and speaks neither HTTP nor LDAP. Mechanisms other than
//! Kerberos, bare or within SPNEGO (RFC 4178), are refused, whatever the machine has installed.
//!
//! # Threads and the world
//!
//! An initiator asks the domain's key server over the network, for as long as the library's own patience lasts (up to
//! half a minute when no server answers). An acceptor asks nobody; it reads the keytab and writes the replay cache. Call
//! both on a thread that may wait, as `tokio::task::spawn_blocking` has them. Acceptors and initiators are shared by
//! threads; a context belongs to one.
//!
//! The environment of the process is never changed. Where keys, tickets and the replay cache are, is said in each call;
//! what remains (realms, key servers, allowed ciphers, clock skew) is the administrator's `krb5.conf`, and `KRB5_CONFIG`
//! if it is set.

mod acceptor;
mod account;
mod binding;
mod error;
mod initiator;
pub mod negotiate;
pub mod spnego;
mod sys;

use sys::Api;

pub use acceptor::{Accepted, Acceptor, Keys};
pub use account::Account;
pub use binding::ChannelBinding;
pub use error::{Error, Fault, NotInstalled};
pub use initiator::{Context, Identity, Initiator, Mechanism, Negotiation, Progress, Target};

/// The library, loaded.
#[derive(Clone, Copy)]
pub struct Library(&'static Api);

impl Library {
    /// Loads it, or finds it loaded. Cheap from the second time on; a failure is tried again.
    pub fn load() -> Result<Library, NotInstalled> {
        Api::load().map(Library)
    }
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(sys::FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_library_the_error_says_what_to_install() {
        let error = Api::open("libgssapi_krb5.so.2.absent").err().expect("there is no such library");
        let text = error.to_string();
        assert!(text.contains("apt install libgssapi-krb5-2"), "{text}");
        assert!(text.contains("libgssapi_krb5.so.2.absent"), "{text}");
    }

    #[test]
    fn another_library_is_not_taken_for_it() {
        let error = Api::open("libc.so.6").err().expect("the C library is no GSSAPI");
        assert!(error.to_string().contains("gss_import_name"), "{error}");
    }
}
