//! How a machine gets its front end.

use directory::DomainName;
use frontend::{
    AuthenticationPolicy, Config, FrontEnd, MessagingLimits, PresencePolicy, RegistrationLimits,
    TRANSACTIONS_MAX,
};

use crate::world::{Boot, Factory};

/// Front ends for `domain` with default limits.
pub fn front_ends(domain: &str) -> Factory {
    let domain = DomainName::parse(domain).expect("a domain name");
    Box::new(move |boot| Box::new(FrontEnd::new(config(&domain, boot))))
}

/// The configuration of a front end for `domain` at this start.
pub fn config(domain: &DomainName, boot: &Boot) -> Config {
    Config {
        domains: vec![domain.clone()],
        listeners: boot.listeners.clone(),
        aliases: Vec::new(),
        xcap_root: format!("https://sip.{domain}/xcap/"),
        registration: RegistrationLimits::default(),
        authentication: AuthenticationPolicy::default(),
        messaging: MessagingLimits::default(),
        presence: PresencePolicy::default(),
        calls: frontend::CallPolicy::default(),
        federation: frontend::FederationPolicy::default(),
        servers: Vec::new(),
        remote_access: true,
        transactions_max: TRANSACTIONS_MAX,
        secret: boot.secret,
        seed: boot.seed,
    }
}
