//! The directory as the replicator asks it: the driver of crate `ldap`, made of the configuration.

use std::sync::Arc;

use anyhow::Context;
use directory_source::{ServerKind, Task};
use gss::Library;
use ldap::{Account, Authority, Kerberos, Locator, Security, Server, Servers, Source, SourceConfig};
use replicator::Input;
use tokio::sync::mpsc;

use super::Followed;
use crate::config::{
    DirectoryKind, DirectoryPlaces, DirectoryProof, DirectorySecurity, DirectorySettings, DnsSettings,
};
use crate::server;

/// Carries out tasks, one after the other, until nobody gives any more.
pub(super) async fn serve(
    config: SourceConfig,
    mut tasks: mpsc::Receiver<Task>,
    inputs: mpsc::Sender<Input>,
) {
    let mut source = Source::start(config);
    loop {
        let input = tokio::select! {
            event = source.next() => Input::Event(event),
            task = tasks.recv() => {
                let Some(task) = task else { return };
                source.submit(task).expect("the replicator asks for one task at a time");
                continue;
            }
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

/// What the driver is told.
pub(crate) fn config(followed: &Followed) -> anyhow::Result<SourceConfig> {
    let directory = &followed.directory;
    Ok(SourceConfig {
        locator: Arc::new(locator(directory, &followed.dns)?),
        account: account(directory)?,
        kind: kind(directory.kind),
        base: directory.base.as_ref().map(|base| base.as_str().to_owned()),
    })
}

/// Finds the directory's servers.
pub(crate) fn locator(directory: &DirectorySettings, dns: &DnsSettings) -> anyhow::Result<Locator> {
    let file = &directory.authority_file;
    let authority = Authority::from_file(file)
        .with_context(|| format!("[directory] authority_file {} cannot be used", file.display()))?;
    let resolver = server::resolver(dns).context("no resolver can be made")?;
    Ok(Locator::new(servers(directory), security(directory), authority, resolver))
}

pub(crate) fn kind(kind: DirectoryKind) -> ServerKind {
    match kind {
        DirectoryKind::ActiveDirectory => ServerKind::ActiveDirectory,
        DirectoryKind::Ldap => ServerKind::Ldap,
    }
}

/// Who reads, and who changes passwords that have expired.
pub(crate) fn account(directory: &DirectorySettings) -> anyhow::Result<Account> {
    let name = directory.account.name.clone();
    Ok(match &directory.account.proof {
        DirectoryProof::PasswordFile(password_file) => {
            Account::Simple { name, password_file: password_file.clone() }
        }
        DirectoryProof::KeytabFile(keytab_file) => {
            let library = Library::load().context("[directory] keytab_file needs Kerberos")?;
            Account::Kerberos(Arc::new(Kerberos::new(library, keytab_file.clone(), name)))
        }
    })
}

pub(crate) fn servers(directory: &DirectorySettings) -> Servers {
    let port = security(directory).default_port();
    match &directory.places {
        DirectoryPlaces::Domain(domain, site) => Servers::OfDomain {
            domain: domain.as_str().to_owned(),
            kind: kind(directory.kind),
            site: site.clone(),
        },
        DirectoryPlaces::Servers(servers, _) => {
            let server = |server: &crate::config::DirectoryServer| Server {
                host: server.host.trim_matches(['[', ']']).to_owned(),
                port: server.port.unwrap_or(port),
            };
            Servers::Listed(servers.iter().map(server).collect())
        }
    }
}

fn security(directory: &DirectorySettings) -> Security {
    match directory.security {
        DirectorySecurity::Ldaps => Security::Ldaps,
        DirectorySecurity::StartTls => Security::StartTls,
    }
}
