//! Sign-in by a Kerberos ticket (HTTP Negotiate, RFC 4559): one request with a ticket gives one token.
//!
//! The ticket proves a principal of the domain. It signs in whoever the directory gave this name; never a local account, whose
//! address may happen to read the same. Where the client binds its ticket to the TLS connection, the binding must be ours.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use frontend::admin::{SignInFacts, Way};
use gss::negotiate::{Negotiate, Outcome, SignedIn, Unbound};
use gss::{Acceptor, ChannelBinding, Fault, Keys, Library};

use super::office::{Office, Person, admitted};
use super::problem::{Kind, Problem};
use super::settings::TicketSettings;

/// The service of browsers, in its principal: `HTTP/sip.contoso.example@CONTOSO.EXAMPLE`.
const SERVICE: &str = "HTTP";
/// Tickets that were shown in the last minutes, in the data folder.
const REPLAY_CACHE_FILE: &str = "http.rcache";

/// Who judges tickets, where somebody does.
pub(crate) struct Tickets {
    keys: Option<Keys>,
    is_active_directory: bool,
    opened: Mutex<Option<Arc<Negotiate>>>,
}

impl Tickets {
    pub(crate) fn new(settings: Option<TicketSettings>, data_dir: &Path) -> Tickets {
        let is_active_directory = settings.as_ref().is_some_and(|settings| settings.is_active_directory);
        let keys = settings.map(|settings| Keys {
            keytab_file: settings.keytab_file,
            service: Some(SERVICE.to_owned()),
            replay_cache_file: data_dir.join(REPLAY_CACHE_FILE),
        });
        Tickets { keys, is_active_directory, opened: Mutex::new(None) }
    }

    /// What stands in the way of sign-in by tickets, for the operator; `Ok` where nothing does, or nobody wants it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match self.keys {
            Some(_) => self.open().map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.keys.is_some()
    }

    /// Opened once it can be: a keytab that comes later needs no restart.
    fn open(&self) -> anyhow::Result<Arc<Negotiate>> {
        let keys = self.keys.as_ref().context("no [sign_in] keytab_file is configured")?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(negotiate) = &*opened {
            return Ok(Arc::clone(negotiate));
        }
        let library = Library::load()?;
        let acceptor = Acceptor::open(library, keys).with_context(|| {
            format!(
                "the keytab {} gives no key of the service {SERVICE}\n  help: make it on the domain: samba-tool domain \
                 exportkeytab, or ktpass",
                keys.keytab_file.display()
            )
        })?;
        let acceptor = if self.is_active_directory { acceptor } else { acceptor.believing_principals() };
        Ok(Arc::clone(opened.insert(Arc::new(Negotiate::new(acceptor, Unbound::Taken)))))
    }
}

/// Somebody who showed a ticket, and what proves the server to them.
pub(super) struct Shown {
    pub(super) person: Person,
    /// For `WWW-Authenticate`, where there is one.
    pub(super) answer: Option<String>,
}

impl Office {
    /// Whose ticket this is.
    pub(super) async fn prove_by_ticket(
        &self,
        authorization: Option<&str>,
        end_point: Option<&[u8]>,
    ) -> Result<Shown, Problem> {
        let tickets = self.tickets();
        let negotiate = tickets.open().map_err(|error| {
            if tickets.is_wanted() {
                tracing::warn!(event = "no-kerberos", "nobody signs in by a ticket: {error:#}");
            }
            Problem::new(Kind::NoKerberosHere)
        })?;
        let binding = end_point.map(ChannelBinding::tls_server_end_point);
        match negotiate.accept(authorization, binding).await {
            Outcome::Challenge => Err(Problem::new(Kind::NoTicket).challenging(gss::negotiate::CHALLENGE)),
            Outcome::Refused(refusal) => {
                if matches!(refusal.reason, gss::negotiate::Reason::Kerberos(Fault::Key | Fault::Credentials))
                {
                    tracing::warn!(
                        event = "keytab",
                        detail = refusal.detail,
                        "a ticket does not fit the keytab"
                    );
                }
                tracing::debug!(detail = refusal.detail, "a ticket was refused");
                Err(Problem::new(Kind::TicketRefused).saying(refusal.reason.to_string()))
            }
            Outcome::SignedIn(SignedIn { principal, answer, .. }) => {
                let facts = self.accounts.find(principal.clone()).await?;
                let person = admitted(owner(facts.ok(), &principal)?)?;
                Ok(Shown { person, answer })
            }
        }
    }
}

/// The account of the directory that bears this principal.
fn owner(facts: Option<SignInFacts>, principal: &str) -> Result<SignInFacts, Problem> {
    let principal = principal.to_lowercase();
    let is_theirs = |facts: &SignInFacts| match &facts.way {
        Way::Directory { sign_in_names, .. } => sign_in_names.contains(&principal),
        Way::Local => false,
    };
    facts.filter(is_theirs).ok_or_else(|| {
        let detail = format!("{principal} is nobody here");
        Problem::new(Kind::NotEnabledHere).saying(detail)
    })
}

#[cfg(test)]
mod tests {
    use directory::{Role, SipAddress, Standing, UserId, UserState};

    use super::*;

    fn facts(way: Way) -> SignInFacts {
        SignInFacts {
            user: UserId(1),
            address: SipAddress::parse("alice@corp.example").unwrap(),
            display_name: String::new(),
            is_enabled: true,
            state: UserState::Enabled,
            standing: Standing::Active,
            role: Role::Person,
            way,
        }
    }

    /// A local account's address may read like a principal of the domain, which somebody else has.
    #[test]
    fn a_ticket_signs_in_nobody_but_whom_the_directory_named() {
        let of = |names: &[&str]| Way::Directory {
            bind_name: "alice@corp.example".into(),
            object: directory::ObjectId([7; 16]),
            sign_in_names: names.iter().map(ToString::to_string).collect(),
        };
        assert!(owner(Some(facts(of(&["alice@corp.example"]))), "alice@CORP.EXAMPLE").is_ok());
        assert!(
            owner(Some(facts(of(&["corp\\alice"]))), "alice@CORP.EXAMPLE").is_err(),
            "found by its address"
        );
        assert!(owner(Some(facts(Way::Local)), "alice@CORP.EXAMPLE").is_err());
        assert!(owner(None, "alice@CORP.EXAMPLE").is_err());
    }

    #[test]
    fn what_is_missing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Tickets::new(None, dir.path()).check().is_ok());
        let keytab_file = dir.path().join("http.keytab");
        let settings = TicketSettings { keytab_file, is_active_directory: true };
        let error = format!("{:#}", Tickets::new(Some(settings), dir.path()).check().unwrap_err());
        assert!(error.contains("http.keytab") || error.contains("apt install"), "{error}");
    }
}
