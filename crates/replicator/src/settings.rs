//! What the operator decides.

use std::collections::BTreeMap;
use std::time::Duration;

use directory::DomainName;
use directory::numbers::NumberRules;
use directory_source::{Dn, Selection, ServerKind};
use federation::ServerRole;

use crate::mapping::Mapping;

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the directory is.
    pub kind: ServerKind,
    /// Our SIP domains: an address in one of them makes a user.
    pub domains: Vec<DomainName>,
    /// Which attribute is what.
    pub mapping: Mapping,
    /// How telephone numbers become international ones.
    pub numbers: NumberRules,
    /// Whether an address of mail is taken for the SIP address where there is no other.
    pub mail_as_sip: bool,
    /// Whether a former SIP address still leads to its user, unless another one has it.
    pub keep_old_addresses: bool,
    /// Users below these places are rooms.
    pub rooms: Vec<Dn>,
    /// Users below these places are equipment.
    pub equipment: Vec<Dn>,
    /// Groups that decide what their members may.
    pub groups: PolicyGroups,
    /// Between two looks for changes.
    pub poll: Duration,
    /// Between two comparisons of everything.
    pub full_read: Duration,
    /// A round may cut off this share of the active accounts of the directory, in percent, ...
    pub removal_percent: u8,
    /// ... or this many, whichever is more.
    pub removal_users: usize,
    /// How long a deleted account is kept, with everything that its owner has.
    pub keep_deleted: Duration,
}

/// Groups that decide what their members may, by name. Members of member groups count.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PolicyGroups {
    /// Who is a user here; `None`: everybody with an address.
    pub enabled: Option<Dn>,
    /// Who may talk with other organisations; `None`: everybody.
    pub federation: Option<Dn>,
    /// Who may sign in from outside; `None`: everybody.
    pub remote_access: Option<Dn>,
    /// Who may call; `None`: everybody.
    pub calls: Option<Dn>,
    /// Who administers; `None`: nobody, as far as the directory is concerned.
    pub administrators: Option<Dn>,
    /// Computers that are servers of ours.
    pub servers: BTreeMap<ServerRole, Dn>,
}

impl Settings {
    /// The defaults for a kind of directory.
    pub fn new(kind: ServerKind, domains: Vec<DomainName>) -> Settings {
        Settings {
            kind,
            domains,
            mapping: Mapping::new(kind),
            numbers: NumberRules::default(),
            mail_as_sip: false,
            keep_old_addresses: true,
            rooms: Vec::new(),
            equipment: Vec::new(),
            groups: PolicyGroups::default(),
            poll: Duration::from_secs(2),
            full_read: Duration::from_hours(24),
            removal_percent: 10,
            removal_users: 20,
            keep_deleted: Duration::from_hours(30 * 24),
        }
    }

    /// What of the directory is read.
    pub fn selection(&self) -> Selection {
        self.mapping.selection(self.kind, !self.groups.servers.is_empty())
    }
}
