//! Signing in with Kerberos: SASL's mechanism GSSAPI (RFC 4752), bound to the TLS connection that it runs over.
//!
//!     we                                              the server
//!      │ ticket and authenticator ──────────────────►  │
//!      │ ◄────── saslBindInProgress, its own proof     │
//!      │ (nothing) ─────────────────────────────────►  │
//!      │ ◄────── the layers that it offers, signed     │
//!      │ no layer, signed ──────────────────────────►  │
//!      │ ◄────── success                               │
//!
//! What this module is not: it has no security layer. TLS is the layer, and servers refuse both at once. The channel binding
//! makes the ticket worthless on another connection (RFC 5929 §4), which domain controllers may be set to demand.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gss::{ChannelBinding, Context, Identity, Initiator, Library, Mechanism, Progress, Target};

use crate::connection::{Connection, within};
use crate::error::Error;
use crate::wire::{Outcome, ResultCode};

const MECHANISM: &str = "GSSAPI";
/// Kerberos needs one answer of the server; a server that goes on for ever is no server.
const ROUNDS_MAX: usize = 4;
/// For one step of Kerberos: the library asks several key servers, each several times, before it gives up.
const KERBEROS_TIME: Duration = Duration::from_secs(40);

/// An account with a keytab. It keeps its tickets, in memory, so that all connections share one.
pub struct Kerberos {
    initiator: Arc<Initiator>,
    principal: String,
}

impl Kerberos {
    /// The account `principal` (`svc-sync@CORP.EXAMPLE`), whose key stands in a keytab. The file is read at each sign-in.
    pub fn new(library: Library, keytab_file: PathBuf, principal: String) -> Kerberos {
        let identity = Identity::Keytab { file: keytab_file, principal: principal.clone() };
        Kerberos { initiator: Arc::new(Initiator::new(library, identity)), principal }
    }

    /// Signs in on a connection, which is of no more use if that fails.
    pub async fn sign_in(&self, connection: &mut Connection) -> Result<(), Error> {
        let (token, context) = self.prove(connection).await?;
        // We are done. With the server's next words come the layers that it offers.
        let (outcome, offer) = connection.bind_sasl(MECHANISM, Some(&token.unwrap_or_default())).await?;
        let offer = self.expect_more(connection, outcome, offer)?;
        let choice = blocking(move || choose_no_layer(context, &offer)).await?;
        let choice =
            choice.ok_or_else(|| connection.broken("no bind with Kerberos without a layer beside TLS"))?;
        let (outcome, _) = connection.bind_sasl(MECHANISM, Some(&choice)).await?;
        if outcome.is_success() { Ok(()) } else { Err(self.refused(connection, outcome)) }
    }

    /// Both sides prove who they are. Gives the last token for the server, if there is one.
    async fn prove(&self, connection: &mut Connection) -> Result<(Option<Vec<u8>>, Context), Error> {
        // The realm of the account knows the servers of its domain, and refers to other realms if it does not.
        let realm = self.principal.rsplit_once('@').map(|(_, realm)| realm);
        let target = Target::new("ldap", connection.host(), realm).ok_or_else(|| Error::Unsuitable {
            host: connection.host().to_owned(),
            what: "Kerberos needs the server's host name".to_owned(),
        })?;
        let binding = connection.certificate_digest().map(ChannelBinding::tls_server_end_point);
        let initiator = Arc::clone(&self.initiator);
        let mut progress = blocking(move || initiator.begin(&target, Mechanism::Kerberos, binding)).await?;
        for _ in 0..ROUNDS_MAX {
            let (token, negotiation) = match progress {
                Progress::Complete { token, context } => return Ok((token, context)),
                Progress::Continue { token, negotiation } => (token, negotiation),
            };
            let (outcome, answer) = connection.bind_sasl(MECHANISM, Some(&token)).await?;
            let answer = self.expect_more(connection, outcome, answer)?;
            progress = blocking(move || negotiation.step(&answer)).await?;
        }
        Err(connection.broken("a bind with Kerberos that does not end"))
    }

    /// What the server says in the middle of the exchange.
    fn expect_more(
        &self,
        connection: &Connection,
        outcome: Outcome,
        words: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Error> {
        if outcome.is_success() {
            return Err(connection.broken("a bind with Kerberos that ends before its end"));
        }
        if outcome.code != ResultCode::SASL_BIND_IN_PROGRESS {
            return Err(self.refused(connection, outcome));
        }
        Ok(words.unwrap_or_default())
    }

    fn refused(&self, connection: &Connection, outcome: Outcome) -> Error {
        let host = connection.host().to_owned();
        Error::BindRefused { host, account: self.principal.clone(), outcome }
    }
}

impl fmt::Debug for Kerberos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kerberos").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// Chooses among the layers that the server offers: none, and nobody else to act for (RFC 4752 §3.1). `None` where the server
/// insists on one.
fn choose_no_layer(mut context: Context, offer: &[u8]) -> Result<Option<Vec<u8>>, gss::Error> {
    const NO_LAYER: u8 = 1;
    match context.unwrap(offer)?.as_slice() {
        [layers, _, _, _] if layers & NO_LAYER != 0 => Ok(Some(context.wrap(&[NO_LAYER, 0, 0, 0])?)),
        _ => Ok(None),
    }
}

/// Runs a step of Kerberos on a thread that may wait. One that takes too long goes on there until the library gives up.
async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, gss::Error> + Send + 'static,
) -> Result<T, Error> {
    let running = tokio::task::spawn_blocking(step);
    let done = within("the realm's key server", "Kerberos", KERBEROS_TIME, running).await?;
    Ok(done.expect("a step of Kerberos does not panic, and the runtime outlives its connections")?)
}
