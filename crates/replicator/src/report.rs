//! What operators are told: how things are, and what the directory has that cannot be used.

use std::fmt;

use directory::{ObjectId, Standing};
use directory_source::ServerKind;
use serde::{Deserialize, Serialize};

/// Findings about one entry. Who has more wrong with it than these is looked at anyway.
pub const FINDINGS_PER_ENTRY_MAX: usize = 8;
/// Findings that a report lists; the others are counted. Nobody reads more, and each costs some hundred octets.
pub const FINDINGS_MAX: usize = 10_000;
/// Accounts that a round names; the others are counted.
pub const NAMES_LISTED_MAX: usize = 100;

/// How things are.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// When this was, in milliseconds since 1970; so are all times here.
    pub at_unix_ms: u64,
    /// The server that was connected to last.
    pub server: Option<ServerReport>,
    /// When the directory was last seen to be as we have it.
    pub in_step_unix_ms: Option<u64>,
    /// When everything was compared last.
    pub full_read_unix_ms: Option<u64>,
    /// What is there.
    pub totals: Totals,
    /// What an operator must look at.
    pub alarms: Vec<Alarm>,
    /// The last round that changed something, or would have.
    pub last_round: Option<Round>,
    /// What cannot be used, by entry.
    pub findings: Vec<Finding>,
    /// Findings beyond [`FINDINGS_MAX`].
    pub findings_left_off: usize,
}

/// A directory server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Its host.
    pub host: String,
    /// What it speaks.
    pub kind: ServerKind,
    /// Its domain.
    pub domain: ObjectId,
    /// The domain's DNS name.
    pub dns_domain: String,
    /// How changes are found: `dirsync`, `usn`, `stamp`; `None` before the first full read.
    pub way: Option<String>,
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// People in the directory.
    pub persons: usize,
    /// Contacts.
    pub contacts: usize,
    /// Groups.
    pub groups: usize,
    /// Rooms.
    pub rooms: usize,
    /// Equipment.
    pub equipment: usize,
    /// Servers of ours.
    pub servers: usize,
    /// Accounts here that follow the directory and may be used.
    pub accounts_active: usize,
    /// Accounts here that follow the directory and may not be used.
    pub accounts_inactive: usize,
}

/// What an operator must look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alarm", rename_all = "kebab-case")]
pub enum Alarm {
    /// No server can be read.
    Unreachable {
        /// Since when.
        since_unix_ms: u64,
        /// What happened last.
        reason: String,
    },
    /// The server is of another domain than the one that was followed so far. Nothing is read.
    AnotherDomain {
        /// The one so far.
        ours: ObjectId,
        /// The one that is there.
        theirs: ObjectId,
        /// Its DNS name.
        dns_domain: String,
    },
    /// The server may not have what was taken over from another one: nobody is removed, and nobody comes back into use.
    Lagging {
        /// Since when.
        since_unix_ms: u64,
        /// The server.
        host: String,
        /// Whether it says so itself; otherwise it does not say how far it is, and is believed after a while.
        says_so: bool,
    },
    /// A round is held because of what it would cut off.
    Held(Held),
    /// A group of the configuration is not there. What it decides stays as it was.
    GroupMissing {
        /// Which setting.
        setting: String,
        /// Its name there.
        dn: String,
    },
    /// The directory has more entries than are followed. Nothing is committed.
    TooManyEntries {
        /// The bound.
        most: usize,
    },
    /// Nobody follows the directory, or not as it is configured. Raised by who runs the replicator, which cannot say that of itself.
    NotFollowed {
        /// Since when.
        since_unix_ms: u64,
        /// Why.
        reason: String,
    },
    /// The home does not take what it is given.
    HomeFails {
        /// Since when.
        since_unix_ms: u64,
        /// What it said.
        reason: String,
    },
}

/// Why a round is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Since when.
    pub since_unix_ms: u64,
    /// Accounts that would be cut off, where these are a reason.
    pub cut_offs: usize,
    /// Accounts that were cut off in the last 24 hours.
    pub cut_off_before: usize,
    /// How many may be, with those.
    pub threshold: usize,
    /// Whether nobody would be left who may use an account.
    pub is_empty: bool,
    /// Some of them.
    pub names: Vec<CutOff>,
    /// What else is too much.
    pub losses: Vec<Loss>,
}

/// Something of which too much would go at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// What.
    pub kind: LossKind,
    /// How much would.
    pub count: usize,
    /// How much may.
    pub threshold: usize,
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// People who may do less than before.
    Permissions,
    /// People who would go by another address.
    Addresses,
    /// Objects of the address book that have no account.
    Objects,
    /// Accounts that would be removed for good, after [`crate::Settings::keep_deleted`].
    Removals,
    /// Servers that would be trusted no more.
    Servers,
}

/// An account that is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// Its object.
    pub object: ObjectId,
    /// Its address.
    pub address: String,
    /// What it becomes.
    pub standing: Standing,
}

/// What a round did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Round {
    /// When it ended.
    pub at_unix_ms: u64,
    /// Whether everything was compared.
    pub is_full: bool,
    /// Entries that were read.
    pub read: usize,
    /// Accounts that are new.
    pub added: usize,
    /// Accounts that are otherwise now, without those that are cut off.
    pub changed: usize,
    /// Accounts that could be used before and cannot now.
    pub cut_off: usize,
    /// Some of them.
    pub cut_off_names: Vec<CutOff>,
    /// Accounts that are removed for good, after [`crate::Settings::keep_deleted`].
    pub removed: usize,
    /// Objects of the address book that are new, otherwise or no more.
    pub objects: usize,
    /// Why nothing of it was committed.
    pub held: Option<Held>,
}

/// Something that the directory has and that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The entry.
    pub object: ObjectId,
    /// Its name there.
    pub dn: String,
    /// What.
    #[serde(flatten)]
    pub kind: FindingKind,
}

/// What cannot be used, and what was done instead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum FindingKind {
    /// It is no SIP address. It is passed over.
    IllegalAddress {
        /// Where it stands.
        attribute: String,
        /// It, shortened.
        value: String,
        /// Why.
        reason: String,
    },
    /// Another account has the address. This one keeps what it had, if it had one.
    AddressTaken {
        /// The address.
        address: String,
        /// Whose it is; `None`: a local account's or the server's own.
        by: Option<ObjectId>,
        /// Why, where the home said so.
        reason: String,
    },
    /// The telephone number cannot be written as E.164. It is shown as it is written.
    NumberRejected {
        /// Where it stands.
        attribute: String,
        /// It, shortened.
        value: String,
        /// Why.
        reason: String,
    },
    /// The value is no text (UTF-8). It is passed over.
    NotText {
        /// Where it stands.
        attribute: String,
    },
    /// The value is longer than is kept. A text is cut, anything else passed over.
    TooLong {
        /// Where it stands.
        attribute: String,
        /// The bound, in characters or octets.
        most: usize,
    },
    /// There are more values than are kept. The others are passed over.
    TooMany {
        /// Where they stand.
        attribute: String,
        /// The bound.
        most: usize,
    },
    /// The value is not of the form that its attribute has. It is passed over.
    Malformed {
        /// Where it stands.
        attribute: String,
        /// It, shortened.
        value: String,
    },
    /// Every account has it, and it does not show: the right to read it is missing. The account may not be used.
    Unreadable {
        /// What.
        attribute: String,
    },
    /// The photo is neither JPEG nor PNG. It is passed over.
    NoPhoto {
        /// Where it stands.
        attribute: String,
    },
    /// Another account signs in by that name. Neither does, unless it is the account name of one.
    NameTaken {
        /// The name.
        name: String,
    },
}

impl Round {
    /// Adds what was done besides.
    pub(crate) fn add(&mut self, other: &Round) {
        let Round { added, changed, cut_off, cut_off_names, removed, objects, .. } = other;
        self.added += added;
        self.changed += changed;
        self.cut_off += cut_off;
        let room = NAMES_LISTED_MAX - self.cut_off_names.len();
        self.cut_off_names.extend(cut_off_names.iter().take(room).cloned());
        self.removed += removed;
        self.objects += objects;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |then: Option<u64>| match then {
            Some(then) => format!("{} ago", Seconds(self.at_unix_ms.saturating_sub(then) / 1000)),
            None => "never".to_owned(),
        };
        match &self.server {
            Some(server) => {
                let way = server.way.as_deref().unwrap_or("not read yet");
                writeln!(f, "directory     {} at {} ({way})", server.dns_domain, server.host)?;
            }
            None => writeln!(f, "directory     not connected yet")?,
        }
        writeln!(f, "in step       {}", ago(self.in_step_unix_ms))?;
        writeln!(f, "compared      {}", ago(self.full_read_unix_ms))?;
        let Totals {
            persons,
            contacts,
            groups,
            rooms,
            equipment,
            servers,
            accounts_active,
            accounts_inactive,
        } = &self.totals;
        writeln!(f, "accounts      {accounts_active} active, {accounts_inactive} inactive")?;
        writeln!(
            f,
            "entries       {persons} people, {contacts} contacts, {groups} groups, {rooms} rooms, {equipment} equipment, \
             {servers} servers"
        )?;
        if let Some(round) = &self.last_round {
            writeln!(f, "last change   {}: {round}", ago(Some(round.at_unix_ms)))?;
        }
        for alarm in &self.alarms {
            writeln!(f, "ALARM         {alarm}")?;
        }
        if !self.findings.is_empty() {
            writeln!(f, "\nfindings ({})", self.findings.len() + self.findings_left_off)?;
        }
        for finding in &self.findings {
            writeln!(f, "  {}\n      {}", finding.dn, finding.kind)?;
        }
        if self.findings_left_off > 0 {
            writeln!(f, "  and {} more", self.findings_left_off)?;
        }
        Ok(())
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Round { added, changed, cut_off, removed, objects, .. } = self;
        write!(
            f,
            "{added} added, {changed} changed, {cut_off} cut off, {removed} removed; {objects} objects of the address book"
        )?;
        if self.held.is_some() {
            f.write_str(" (held)")?;
        }
        Ok(())
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alarm::Unreachable { reason, .. } => write!(f, "the directory cannot be read: {reason}"),
            Alarm::AnotherDomain { ours, theirs, dns_domain } => write!(
                f,
                "the server is of another domain ({dns_domain}, {theirs}) than the one followed so far ({ours}); nothing is \
                 read until `chancery replicate --accept`"
            ),
            Alarm::Lagging { host, says_so: true, .. } => write!(
                f,
                "{host} lags behind what was taken over from another server; nobody is removed, and nobody comes back into use, \
                 until it has caught up or `chancery replicate --accept`"
            ),
            Alarm::Lagging { host, says_so: false, .. } => write!(
                f,
                "{host} does not say whether it has what was taken over from another server; for a quarter of an hour nobody is \
                 removed, and nobody comes back into use, unless `chancery replicate --accept`"
            ),
            Alarm::Held(held) => write!(f, "{held}"),
            Alarm::GroupMissing { setting, dn } => {
                write!(
                    f,
                    "directory.groups.{setting} is not in the directory: {dn}; what it decides stays as it was"
                )
            }
            Alarm::TooManyEntries { most } => {
                write!(
                    f,
                    "the directory has more than {most} entries of the kinds that are followed; nothing is committed"
                )
            }
            Alarm::NotFollowed { reason, .. } => {
                write!(f, "the directory is not followed as it is configured: {reason}")
            }
            Alarm::HomeFails { reason, .. } => write!(f, "changes could not be stored: {reason}"),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty {
            f.write_str("the directory shows nobody any more who may use an account; ")?;
        }
        if self.cut_offs > 0 {
            write!(f, "{} accounts would be cut off", self.cut_offs)?;
            if self.cut_off_before > 0 {
                write!(f, ", after {} in the last 24 hours", self.cut_off_before)?;
            }
            if self.cut_offs + self.cut_off_before > self.threshold {
                write!(f, ", more than {}", self.threshold)?;
            }
            f.write_str("; ")?;
        }
        for loss in &self.losses {
            write!(f, "{loss}; ")?;
        }
        f.write_str("nothing of it is done until they are back or `chancery replicate --accept`")?;
        for (place, name) in self.names.iter().enumerate() {
            write!(f, "{} {} ({})", if place == 0 { ":" } else { "," }, name.address, name.standing.name())?;
        }
        if !self.names.is_empty() && self.names.len() < self.cut_offs {
            write!(f, " and {} more", self.cut_offs - self.names.len())?;
        }
        Ok(())
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss { kind, count, threshold } = self;
        let what = match kind {
            LossKind::Permissions => "accounts would lose permissions",
            LossKind::Addresses => "accounts would go by other addresses",
            LossKind::Objects => "objects would leave the address book",
            LossKind::Removals => "accounts would be removed for good",
            LossKind::Servers => "servers would be trusted no more",
        };
        match threshold {
            0 => write!(f, "{count} {what}, and none would be left"),
            _ => write!(f, "{count} {what}, more than {threshold}"),
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindingKind::IllegalAddress { attribute, value, reason } => {
                write!(f, "{attribute}: {value:?} is no SIP address: {reason}")
            }
            FindingKind::AddressTaken { address, by: Some(by), .. } => {
                write!(f, "the SIP address {address} is the account's of object {by}")
            }
            FindingKind::AddressTaken { address, by: None, reason } => {
                write!(f, "the SIP address {address} cannot be used: {reason}")
            }
            FindingKind::NumberRejected { attribute, value, reason } => {
                write!(f, "{attribute}: {value:?} cannot be written as an international number: {reason}")
            }
            FindingKind::NotText { attribute } => write!(f, "{attribute}: a value is no UTF-8"),
            FindingKind::TooLong { attribute, most } => {
                write!(f, "{attribute}: a value is longer than {most}")
            }
            FindingKind::TooMany { attribute, most } => {
                write!(f, "{attribute}: there are more than {most} values")
            }
            FindingKind::Malformed { attribute, value } => write!(f, "{attribute}: {value:?} cannot be read"),
            FindingKind::Unreadable { attribute } => write!(
                f,
                "{attribute}: it cannot be read, so that nobody knows whether the account is disabled; it may not be used"
            ),
            FindingKind::NoPhoto { attribute } => write!(f, "{attribute}: it is neither JPEG nor PNG"),
            FindingKind::NameTaken { name } => write!(f, "another account signs in as {name:?}, too"),
        }
    }
}

/// A time span as people say it.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ ..120 => write!(f, "{seconds} s"),
            seconds @ ..7_200 => write!(f, "{} min", seconds / 60),
            seconds @ ..172_800 => write!(f, "{} h", seconds / 3_600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}
