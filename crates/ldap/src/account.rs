//! The account that reads the directory.

use std::path::PathBuf;
use std::sync::Arc;

use crate::connection::Connection;
use crate::error::Error;
use crate::password::Password;
use crate::sasl::Kerberos;

/// Who we are.
#[derive(Clone, Debug)]
pub enum Account {
    /// A name with a password.
    Simple {
        /// A DN, or a user principal name of Active Directory.
        name: String,
        /// The file with its password, read anew for each sign-in, so that a new password needs no restart.
        password_file: PathBuf,
    },
    /// A principal with a keytab.
    Kerberos(Arc<Kerberos>),
}

impl Account {
    /// Signs in.
    pub async fn sign_in(&self, connection: &mut Connection) -> Result<(), Error> {
        match self {
            Account::Simple { name, password_file } => {
                let password = Password::from_file(password_file)?;
                let (outcome, _) = connection.bind_simple(name, &password, &[]).await?;
                if outcome.is_success() {
                    return Ok(());
                }
                let host = connection.host().to_owned();
                Err(Error::BindRefused { host, account: name.clone(), outcome })
            }
            Account::Kerberos(kerberos) => kerberos.sign_in(connection).await,
        }
    }
}
