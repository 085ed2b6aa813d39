//! From the configuration to what the replicator is made with.

use directory::DomainName;
use directory::numbers::{NumberRules, NumberSettings};
use replicator::{Field, Mapping, PolicyGroups};

use super::source;
use crate::config::{DirectorySettings, DnsSettings, Settings};

/// Everything that the thread is made with: when one of it changes, it begins anew.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Followed {
    pub(crate) directory: DirectorySettings,
    pub(crate) numbers: NumberSettings,
    pub(crate) domains: Vec<DomainName>,
    pub(crate) dns: DnsSettings,
}

impl Followed {
    /// `None` where all accounts are local ones.
    pub(crate) fn of(settings: &Settings) -> Option<Followed> {
        Some(Followed {
            directory: (**settings.directory.as_ref()?).clone(),
            numbers: settings.numbers.clone(),
            domains: settings.domains.clone(),
            dns: settings.dns.clone(),
        })
    }

    /// What the replicator is made with.
    pub(crate) fn replicator(&self) -> replicator::Settings {
        let directory = &self.directory;
        let kind = source::kind(directory.kind);
        let mut mapping = Mapping::new(kind);
        for (key, attributes) in &directory.attributes {
            mapping.set(Field::from_name(key).expect("a test holds the keys against the fields"), attributes);
        }
        let groups = &directory.groups;
        replicator::Settings {
            kind,
            domains: self.domains.clone(),
            mapping,
            numbers: NumberRules::new(&self.numbers).expect("the configuration proved them"),
            mail_as_sip: directory.mail_as_sip,
            keep_old_addresses: directory.keep_old_addresses,
            rooms: directory.rooms.clone(),
            equipment: directory.equipment.clone(),
            groups: PolicyGroups {
                enabled: groups.enabled.clone(),
                federation: groups.federation.clone(),
                remote_access: groups.remote_access.clone(),
                calls: groups.calls.clone(),
                administrators: groups.administrators.clone(),
                servers: groups.servers.iter().cloned().collect(),
            },
            poll: directory.poll,
            full_read: directory.full_read,
            removal_percent: directory.removal_percent,
            removal_users: directory.removal_users,
            keep_deleted: directory.keep_deleted,
        }
    }
}
