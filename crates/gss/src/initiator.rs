//! The side that calls: it shows a ticket for a service, and has the service prove itself in turn.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::acceptor::path_text;
use crate::sys::Round;
use crate::sys::handle::{self, Credentials, Flags, Name, Usage};
use crate::{ChannelBinding, Error, Fault, Library, sys};

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A principal whose key stands in a keytab. Tickets are fetched when they are needed and renewed before they end; they
    /// are kept in memory, for this initiator alone.
    Keytab {
        /// The keytab.
        file: PathBuf,
        /// `svc-sync@CORP.EXAMPLE`.
        principal: String,
    },
    /// Whoever has signed in to this cache of tickets, in MIT's words: `FILE:/run/krb5cc_chancery`.
    Cache(String),
}

/// Whom we call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    /// A service on a host: `ldap`, `dc1.corp.example`, and the realm where it is known, else `krb5.conf` says it. The
    /// host's name is taken as it is: a name that DNS says would be one that an attacker may say (RFC 4120 §1.3).
    ///
    /// `None` for words that cannot be parts of a principal.
    pub fn new(service: &str, host: &str, realm: Option<&str>) -> Option<Target> {
        let is_plain = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet))
        };
        if ![service, host].into_iter().chain(realm).all(is_plain) {
            return None;
        }
        let at = if realm.is_some() { "@" } else { "" };
        Some(Target(format!("{service}/{host}{at}{}", realm.unwrap_or_default())))
    }
}

/// How Kerberos is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Not at all (RFC 4121): SASL's GSSAPI.
    Kerberos,
    /// In SPNEGO (RFC 4178): HTTP's Negotiate, SASL's GSS-SPNEGO. The library says less precisely what went wrong then
    /// ([`Fault::Other`]).
    Spnego,
}

/// Starts conversations as one identity. Shared by threads.
pub struct Initiator {
    library: Library,
    identity: Identity,
    /// Where its tickets are.
    cache: String,
}

impl Initiator {
    /// Looks at nothing yet: keytab and key server are asked by [`Initiator::begin`], each time, as they are then.
    pub fn new(library: Library, identity: Identity) -> Initiator {
        /// A cache in memory lives as long as the process; a number keeps that of another identity out of it.
        static CACHES: AtomicU64 = AtomicU64::new(0);
        let cache = match &identity {
            Identity::Keytab { .. } => {
                format!("MEMORY:chancery-{}", CACHES.fetch_add(1, Ordering::Relaxed))
            }
            Identity::Cache(cache) => cache.clone(),
        };
        Initiator { library, identity, cache }
    }

    /// Begins a conversation with a service, which must prove itself, too. Gives the first token. Fetches tickets over the
    /// network where there are none yet.
    pub fn begin(
        &self,
        target: &Target,
        mechanism: Mechanism,
        binding: Option<ChannelBinding>,
    ) -> Result<Progress, Error> {
        let mut places = vec![("ccache", self.cache.clone())];
        let mut name = None;
        if let Identity::Keytab { file, principal } = &self.identity {
            places.push(("client_keytab", path_text("FILE:", file)?));
            name = Some(Name::import(self.library.0, principal, &sys::PRINCIPAL)?);
        }
        let credentials = Credentials::acquire(self.library.0, name.as_ref(), Usage::Initiate, &places)?;
        let negotiation = Negotiation {
            credentials,
            target: Name::import(self.library.0, &target.0, &sys::PRINCIPAL)?,
            mechanism,
            binding,
            context: handle::Context::new(self.library.0),
        };
        negotiation.step(&[])
    }
}

/// A conversation that is not complete: the service has to answer.
pub struct Negotiation {
    credentials: Credentials,
    target: Name,
    mechanism: Mechanism,
    binding: Option<ChannelBinding>,
    context: handle::Context,
}

/// How far a conversation is.
pub enum Progress {
    /// Send the token, and go on with the answer.
    Continue {
        /// For the service.
        token: Vec<u8>,
        /// What takes its answer.
        negotiation: Negotiation,
    },
    /// Both sides know who the other is.
    Complete {
        /// The last token for the service; `None` when it needs none.
        token: Option<Vec<u8>>,
        /// What is left of the conversation.
        context: Context,
    },
}

impl Negotiation {
    /// Takes the service's answer.
    pub fn step(mut self, token: &[u8]) -> Result<Progress, Error> {
        let mechanism = match self.mechanism {
            Mechanism::Kerberos => &sys::KERBEROS,
            Mechanism::Spnego => &sys::SPNEGO,
        };
        let outcome = self.context.initiate(
            &self.credentials,
            &self.target,
            mechanism,
            Flags::MUTUAL,
            self.binding.as_ref(),
            token,
        )?;
        if outcome.round == Round::Continue {
            return Ok(Progress::Continue { token: outcome.token, negotiation: self });
        }
        if !outcome.flags.has(Flags::MUTUAL) {
            let text = "the service did not prove who it is";
            return Err(Error::of_ours("gss_init_sec_context", text).because(Fault::Identity));
        }
        let token = (!outcome.token.is_empty()).then_some(outcome.token);
        Ok(Progress::Complete { token, context: Context(self.context) })
    }
}

/// A complete conversation, in which both sides can sign.
pub struct Context(handle::Context);

impl Context {
    /// Signs a message for the service; it stays readable.
    pub fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.wrap(message)
    }

    /// The message that the service signed.
    pub fn unwrap(&mut self, token: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.unwrap(token)
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_target_is_a_principal() {
        let text = |service, host, realm| Target::new(service, host, realm).map(|target| target.0);
        assert_eq!(
            text("ldap", "dc1.corp.example", Some("CORP.EXAMPLE")).as_deref(),
            Some("ldap/dc1.corp.example@CORP.EXAMPLE")
        );
        assert_eq!(text("ldap", "dc1", None).as_deref(), Some("ldap/dc1"));
        for host in ["", "dc1@EVIL.EXAMPLE", "dc1/krbtgt", "dc1\\", "dc1\0", "dc 1"] {
            assert_eq!(text("ldap", host, None), None, "{host:?}");
        }
    }
}
