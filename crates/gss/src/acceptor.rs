//! The side that is called: who is it, by the ticket that they show?

use std::path::PathBuf;

use crate::spnego::{self, Offer};
use crate::sys::Round;
use crate::sys::handle::{self, Credentials, Flags, Name, Usage};
use crate::{Account, ChannelBinding, Error, Fault, Library, sys};

/// What an acceptor judges with.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The keytab. It is read for each token, so that a new one needs no restart.
    pub keytab_file: PathBuf,
    /// The service that must have been asked for, for any host: `HTTP`. `None` takes every service of the keytab.
    ///
    /// It is found in the keytab as it is, in lower case or in upper case: Active Directory does not tell them apart, and
    /// keytabs are spelt as somebody liked. It separates services by good manners only: all names of an account share one
    /// key, and the name in a ticket is not protected by it.
    pub service: Option<String>,
    /// Where the tokens of the last minutes are remembered, so that none is taken twice. The file is made where it is not
    /// there; it must survive a restart, must be ours alone, and serves all acceptors of one account of the domain.
    pub replay_cache_file: PathBuf,
}

/// Judges tokens with the keys of a keytab. Shared by threads.
pub struct Acceptor {
    library: Library,
    credentials: Credentials,
    names: Names,
}

/// What is taken for the name of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Accounts,
    Principals,
}

/// Who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The Kerberos principal, as the realm knows it: `alice@CORP.EXAMPLE`. In Active Directory people have several names
    /// that make a principal; [`Accepted::account_principal`] is the one to look for.
    pub principal: String,
    /// What Active Directory says of the account; `None` from other key servers, which
    /// [`Acceptor::believing_principals`] takes.
    pub account: Option<Account>,
    /// For the initiator: it proves who we are. Empty if the initiator does not ask for that.
    pub token: Vec<u8>,
    /// Whether the initiator sent the same channel binding as was given, so that nobody stands in the middle. One that
    /// differs is refused ([`Fault::Binding`]), one that is missing is not: many clients send none.
    pub is_bound: bool,
}

impl Acceptor {
    /// Reads the keytab. An unreadable one, or one without a key of the service, is [`Fault::Credentials`] or
    /// [`Fault::Key`].
    pub fn open(library: Library, keys: &Keys) -> Result<Acceptor, Error> {
        let places = [
            ("keytab", path_text("FILE:", &keys.keytab_file)?),
            // The second version of the format: no `fsync` for each token, and of bounded size.
            ("rcache", path_text("file2:", &keys.replay_cache_file)?),
        ];
        let open = |service: Option<&str>| {
            let name = service.map(|service| Name::import(library.0, service, &sys::HOST_BASED_SERVICE));
            let credentials =
                Credentials::acquire(library.0, name.transpose()?.as_ref(), Usage::Accept, &places)?;
            Ok(Acceptor { library, credentials, names: Names::Accounts })
        };
        let Some(service) = &keys.service else { return open(None) };
        open(Some(service)).or_else(|error| {
            let others = [service.to_ascii_lowercase(), service.to_ascii_uppercase()];
            // As it was asked for is how it is told.
            others.iter().find_map(|service| open(Some(service)).ok()).ok_or(error)
        })
    }

    /// For realms that are not Active Directory's: takes tickets that do not say whose account it is, and believes the
    /// principal. Without this they are refused ([`Fault::Identity`]): see [`Accepted::account_principal`], and who asks for a
    /// ticket may ask for one that does not say it.
    pub fn believing_principals(self) -> Acceptor {
        Acceptor { names: Names::Principals, ..self }
    }

    /// Judges a token, bare Kerberos (RFC 4121) or SPNEGO (RFC 4178), against the binding of the channel that it came over.
    ///
    /// One token is all that Kerberos needs; an initiator that wants more rounds is refused with [`Fault::Rounds`], so that
    /// nothing needs to be remembered between two requests, and nothing of one can be taken for another's.
    pub fn accept(&self, token: &[u8], binding: Option<&ChannelBinding>) -> Result<Accepted, Error> {
        match spnego::read(token) {
            Some(Offer::Bare(token)) => self.accept_kerberos(token, binding),
            Some(Offer::Wrapped { mechanism, token }) => {
                let accepted = self.accept_kerberos(token, binding)?;
                Ok(Accepted { token: spnego::complete(mechanism, &accepted.token), ..accepted })
            }
            Some(Offer::WithoutToken) => Err(refused(Fault::Rounds, "Kerberos is offered without a token")),
            Some(Offer::Ntlm) => Err(refused(Fault::Mechanism, "the client offers NTLM")),
            Some(Offer::Other) => Err(refused(Fault::Mechanism, "the client prefers another mechanism")),
            None => Err(refused(Fault::Token, "neither a token of Kerberos nor one of SPNEGO")),
        }
    }

    fn accept_kerberos(&self, token: &[u8], binding: Option<&ChannelBinding>) -> Result<Accepted, Error> {
        let mut context = handle::Context::new(self.library.0);
        let outcome = context.accept(&self.credentials, binding, token)?;
        if outcome.round == Round::Continue {
            return Err(refused(Fault::Rounds, "the client wants the three rounds of DCE"));
        }
        if outcome.flags.has(Flags::ANONYMOUS) {
            return Err(refused(Fault::Identity, "the client does not say who it is"));
        }
        let account = outcome.peer.attribute(Account::ATTRIBUTE).and_then(|octets| Account::parse(&octets));
        if self.names == Names::Accounts && account.is_none() {
            let text = "the ticket does not say whose account of Active Directory it is";
            return Err(refused(Fault::Identity, text));
        }
        Ok(Accepted {
            principal: outcome.peer.text()?,
            account,
            token: outcome.token,
            is_bound: binding.is_some() && outcome.flags.has(Flags::CHANNEL_BOUND),
        })
    }
}

fn refused(fault: Fault, text: &str) -> Error {
    Error::of_ours("gss_accept_sec_context", text).because(fault)
}

impl Accepted {
    /// The principal by the account's own name, where the key server vouches for one: `sAMAccountName@REALM`.
    ///
    /// Active Directory gives tickets under what was asked for: a user principal name, or the name of a computer account
    /// without its `$`, so that somebody who may make computer accounts can hold a ticket that reads like another's. The
    /// account's own name cannot be chosen so.
    pub fn account_principal(&self) -> String {
        let realm = self.principal.rsplit_once('@').map(|(_, realm)| realm);
        match (&self.account, realm) {
            (Some(account), Some(realm)) => format!("{}@{realm}", account.name),
            _ => self.principal.clone(),
        }
    }
}

/// A place as MIT's library takes it.
pub(crate) fn path_text(kind: &str, path: &std::path::Path) -> Result<String, Error> {
    let text =
        path.to_str().ok_or_else(|| Error::of_ours("gss_acquire_cred_from", "a path that is no UTF-8"))?;
    Ok(format!("{kind}{text}"))
}
