//! What an operator says about the web listener and the sign-in over it.

use std::path::PathBuf;
use std::time::Duration;

use directory::DomainName;
use sign_in::guard;

use crate::config;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What holds for sign-in over the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The SIP domains of this server: what the users' CA may issue for.
    pub(crate) domains: Vec<String>,
    /// How long a token is good unless it is renewed: who finds one finds little.
    pub(crate) token_lifetime: Duration,
    /// How long after a sign-in tokens are renewed: a working day. Then the person, or Kerberos, signs in again.
    pub(crate) sign_in_age: Duration,
    /// Whether people may make app passwords.
    pub(crate) app_passwords: bool,
    /// How long the client certificates are good that people have made, in days: a device that is used comes for the next one.
    /// `None` makes none.
    pub(crate) certificate_days: Option<u64>,
    /// What protects accounts from being locked at the directory by guesses.
    pub(crate) guard: guard::Settings,
    /// What sign-in by Kerberos (HTTP Negotiate) needs; `None` switches it off.
    pub(crate) tickets: Option<TicketSettings>,
}

/// How tickets are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TicketSettings {
    /// The keys of the service.
    pub(crate) keytab_file: PathBuf,
    /// Whether the realm is Active Directory's, whose tickets say whose account they are and are believed in nothing else.
    pub(crate) is_active_directory: bool,
}

impl Settings {
    /// As they are configured.
    pub(crate) fn of(settings: &config::Settings) -> Settings {
        // People of a generic LDAP directory have their tickets from a realm beside it.
        let is_active_directory =
            settings.directory.as_ref().is_none_or(|directory| directory.is_active_directory());
        Settings::new(&settings.domains, &settings.sign_in, is_active_directory)
    }

    fn new(domains: &[DomainName], sign_in: &config::SignInSettings, is_active_directory: bool) -> Settings {
        let days = sign_in.certificate.as_secs() / DAY.as_secs();
        Settings {
            domains: domains.iter().map(|domain| domain.as_str().to_owned()).collect(),
            token_lifetime: sign_in.token,
            sign_in_age: sign_in.token_renewable,
            app_passwords: sign_in.app_passwords,
            certificate_days: (days > 0).then_some(days),
            guard: guard::Settings {
                wrong_passwords_max: sign_in.wrong_passwords_max,
                window: sign_in.wrong_passwords_window,
                ..guard::Settings::standard()
            },
            tickets: sign_in
                .keytab_file
                .clone()
                .map(|keytab_file| TicketSettings { keytab_file, is_active_directory }),
        }
    }
}
