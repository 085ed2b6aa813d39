//! What the home should have, and what must be done for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use directory::{DirectoryAccount, Object, ObjectId, ObjectKind, Permissions, Role, Standing};
use directory_source::{ServerFacts, ServerKind};
use federation::{ServerRole, TrustedServer};
use node::UnixMillis;

use crate::claims::{Addresses, Assigned, Blocked, Claims};
use crate::io::Account;
use crate::known::{Fingerprint, Known, KnownAccount};
use crate::losses::{Losses, is_explicit, is_in_use};
use crate::report::{CutOff, FindingKind, NAMES_LISTED_MAX, Round};
use crate::settings::Settings;
use crate::view::{Item, Key, Policy, Say, View};

/// How often somebody is read again whose lock is on: that it opens by itself shows as no change.
const LOCK_LOOK: Duration = Duration::from_secs(60);
/// How long a lock that was seen is on without being seen again, whatever the domain says.
const LOCK_BELIEVED: Duration = Duration::from_secs(180);

/// Everything that a wish follows from.
pub(crate) struct Sight<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) view: &'a View,
    pub(crate) known: &'a Known,
    pub(crate) facts: &'a ServerFacts,
    pub(crate) blocked: &'a Blocked,
    /// Accounts that are gone, since when.
    pub(crate) gone: &'a BTreeMap<ObjectId, u64>,
    /// Whose deletion the directory told of.
    pub(crate) deleted: &'a BTreeSet<ObjectId>,
    /// When locks were seen that were on, in milliseconds since 1970.
    pub(crate) lock_seen: &'a BTreeMap<ObjectId, u64>,
    /// Who is read again soon.
    pub(crate) reread: &'a BTreeSet<ObjectId>,
    /// Whether the server may lag behind what the home has: nobody is removed, and nobody comes back into use.
    pub(crate) is_cautious: bool,
    pub(crate) at: UnixMillis,
}

/// What must be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Those of whom something changes: first the ones who hand addresses to each other, who must go together.
    pub(crate) ids: Vec<ObjectId>,
    /// How many of them are such.
    pub(crate) together: usize,
    /// Those of whom nothing is believed while the server may lag behind.
    pub(crate) doubtful: BTreeSet<ObjectId>,
    /// Of these, who are removed for good.
    pub(crate) removed: BTreeSet<ObjectId>,
    /// Addresses and conflicts of everybody who was looked at.
    pub(crate) assigned: Assigned,
    /// When the next of them changes by itself, in milliseconds since 1970; `None` for those who do not.
    pub(crate) due: BTreeMap<ObjectId, Option<u64>>,
    /// Figures.
    pub(crate) round: Round,
    /// What goes with it.
    pub(crate) losses: Losses,
    pub(crate) at: UnixMillis,
}

impl Plan {
    /// Leaves all others for later. Who is left keeps the addresses that it has: others may have been to get them.
    pub(crate) fn keep_only(&mut self, ids: &BTreeSet<ObjectId>, known: &Known) {
        self.ids.retain(|id| ids.contains(id));
        self.together = 0;
        self.removed.clear();
        for id in &self.ids {
            let Some(account) = known.account(*id) else { continue };
            let (address, aliases) = (account.address.clone(), account.aliases.to_vec());
            self.assigned.accounts.insert(*id, Addresses { address, aliases });
        }
    }

    /// Leaves for later who is to be removed for good.
    pub(crate) fn keep_removed(&mut self) {
        let removed = std::mem::take(&mut self.removed);
        // They stand among those who go alone.
        self.ids.retain(|id| !removed.contains(id));
    }
}

/// What the home should have of one object.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    pub(crate) account: Option<Account>,
    pub(crate) object: Option<Object>,
}

impl Sight<'_> {
    /// What must be done when these may have changed.
    pub(crate) fn plan(&self, changed: &BTreeSet<ObjectId>) -> Plan {
        let may_come = |id| {
            let item = self.view.get(id);
            item.is_some_and(|item| self.standing(id, item) == Standing::Active)
        };
        let claims = Claims {
            view: self.view,
            known: self.known,
            blocked: self.blocked,
            keep_old_addresses: self.settings.keep_old_addresses,
            may_come: &may_come,
        };
        let concerned = claims.concerned(changed);
        let mut plan = Plan { assigned: claims.assign(&concerned), at: self.at, ..Plan::default() };
        let mut alone = Vec::new();
        let mut together = Vec::new();
        let handed = self.handed_over(&plan.assigned);
        for id in concerned {
            plan.due.insert(id, self.due(id));
            if self.is_over(id) && self.is_cautious {
                plan.doubtful.insert(id);
                continue;
            }
            if self.is_over(id) {
                plan.removed.insert(id);
                plan.round.removed += 1;
                alone.push(id);
                continue;
            }
            let wish = self.wish(id, &plan.assigned);
            if self.is_cautious && self.is_doubtful(id, &wish) {
                plan.doubtful.insert(id);
                continue;
            }
            self.note_names(id, &wish, &mut plan.assigned);
            self.note_losses(id, &wish, &mut plan.losses);
            if self.count(id, &wish, &mut plan.round) {
                if handed.contains(&id) { together.push(id) } else { alone.push(id) }
            }
        }
        plan.together = together.len();
        plan.ids = together;
        plan.ids.append(&mut alone);
        plan
    }

    /// Whether an old copy of the directory may say so.
    fn is_doubtful(&self, id: ObjectId, wish: &Wish) -> bool {
        if wish.object.is_none() && self.known.object(id).is_some() {
            return true;
        }
        let (Some(account), Some(known)) = (&wish.account, self.known.account(id)) else { return false };
        let after = account.account.standing;
        match (is_in_use(known.standing), is_in_use(after)) {
            (true, false) => !is_explicit(after),
            (false, true) => true,
            (true, true) | (false, false) => false,
        }
    }

    /// Notes what is taken away.
    fn note_losses(&self, id: ObjectId, wish: &Wish, losses: &mut Losses) {
        let known = self.known.account(id);
        match (&wish.account, known) {
            (Some(account), Some(known)) => {
                let after = account.account.standing;
                match (is_in_use(known.standing), is_in_use(after)) {
                    (true, false) => {
                        losses.cut_off.insert(id, after);
                        if after == Standing::Gone && self.deleted.contains(&id) {
                            losses.deleted.insert(id);
                        }
                    }
                    (false, true) => drop(losses.gained.insert(id)),
                    (false, false) => {}
                    (true, true) => {
                        let (was, is) = (known.permissions, account.account.permissions);
                        if was.and(is) != was || account.account.role < known.role {
                            losses.permissions.insert(id);
                        }
                        if account.address != known.address {
                            losses.addresses.insert(id);
                        }
                    }
                }
            }
            (Some(account), None) => {
                if is_in_use(account.account.standing) {
                    losses.gained.insert(id);
                }
            }
            (None, Some(_)) => {}
            (None, None) => {
                if wish.object.is_none() && self.known.object(id).is_some() {
                    losses.objects.insert(id);
                }
            }
        }
    }

    /// Notes in the figures what changes; whether anything does.
    fn count(&self, id: ObjectId, wish: &Wish, round: &mut Round) -> bool {
        let known = self.known.account(id);
        let is_account_same = match (&wish.account, known) {
            (Some(account), Some(known)) => {
                let is_same = Fingerprint::of_account(account) == known.fingerprint;
                let is_cut_off =
                    known.standing == Standing::Active && account.account.standing != Standing::Active;
                if is_cut_off {
                    round.cut_off += 1;
                    if round.cut_off_names.len() < NAMES_LISTED_MAX {
                        round.cut_off_names.push(CutOff {
                            object: id,
                            address: known.address.to_string(),
                            standing: account.account.standing,
                        });
                    }
                } else if !is_same {
                    round.changed += 1;
                }
                is_same
            }
            (Some(_), None) => {
                round.added += 1;
                false
            }
            (None, _) => true,
        };
        let is_object_same = match (&wish.object, self.known.object(id)) {
            (Some(object), Some(known)) => Fingerprint::of_object(object) == known.fingerprint,
            (None, None) => true,
            _ => false,
        };
        round.objects += usize::from(!is_object_same);
        !(is_account_same && is_object_same)
    }

    /// Everybody who gives an address to another one or takes one over: one transaction must see them all, since no address may have two
    /// owners in between.
    fn handed_over(&self, assigned: &Assigned) -> BTreeSet<ObjectId> {
        let mut handed = BTreeSet::new();
        for (id, Addresses { address, aliases }) in &assigned.accounts {
            for address in aliases.iter().chain([address]) {
                for former in self.known.holders(address).filter(|former| former != id) {
                    handed.insert(*id);
                    handed.insert(former);
                }
            }
        }
        handed
    }

    /// Whether the account was gone for so long that it is removed.
    fn is_over(&self, id: ObjectId) -> bool {
        let keep = u64::try_from(self.settings.keep_deleted.as_millis()).unwrap_or(u64::MAX);
        self.view.get(id).is_none()
            && self.known.account(id).is_some_and(|known| known.standing == Standing::Gone)
            && self.gone.get(&id).is_some_and(|since| since.saturating_add(keep) <= self.at.0)
    }

    /// What the home should have.
    pub(crate) fn wish(&self, id: ObjectId, assigned: &Assigned) -> Wish {
        let addresses = assigned.accounts.get(&id);
        let known = self.known.account(id);
        match self.view.get(id) {
            None => Wish {
                account: known.zip(addresses).map(|(known, addresses)| gone(id, known, addresses)),
                object: None,
            },
            Some(item) => {
                let account = addresses.map(|addresses| self.account(id, item, addresses, known));
                let object = self.object(id, item, account.as_ref());
                Wish { account, object }
            }
        }
    }

    fn account(
        &self,
        id: ObjectId,
        item: &Item,
        addresses: &Addresses,
        known: Option<&KnownAccount>,
    ) -> Account {
        // A group that is not there decides nothing: what it decided stays.
        let may = |policy, was: Option<bool>, otherwise: bool| match self.view.says(policy, id) {
            Say::Yes => true,
            Say::No => false,
            Say::Free => otherwise,
            Say::Unknown => was.unwrap_or(false),
        };
        let was = known.map(|known| known.permissions);
        let was_administrator = known.map(|known| known.role == Role::Administrator);
        let permissions = Permissions {
            federation: may(Policy::Federation, was.map(|was| was.federation), true),
            remote_access: may(Policy::RemoteAccess, was.map(|was| was.remote_access), true),
            calls: may(Policy::Calls, was.map(|was| was.calls), true),
        };
        let is_administrator = may(Policy::Administrators, was_administrator, false);
        let names = self.names(id, item);
        Account {
            address: addresses.address.clone(),
            aliases: addresses.aliases.clone(),
            display_name: item.object().card.display_name,
            account: DirectoryAccount {
                object: id,
                standing: self.standing(id, item),
                bind_name: names.bind,
                sign_in_names: names.sign_in,
                role: if is_administrator { Role::Administrator } else { Role::Person },
                permissions,
                expires_unix_ms: item.gates.expires_unix_ms,
            },
        }
    }

    fn object(&self, id: ObjectId, item: &Item, account: Option<&Account>) -> Option<Object> {
        if item.kind == ObjectKind::Server && self.server_roles(id).next().is_none() {
            return None;
        }
        let standing = account.map(|account| account.account.standing);
        let object = item.object();
        let is_reachable = !object.card.mail.is_empty() || !object.card.phones.is_empty();
        let is_hidden = match (item.kind, standing) {
            (ObjectKind::Person, Some(standing)) => {
                !matches!(standing, Standing::Active | Standing::LockedOut)
            }
            (ObjectKind::Person, None) => match self.standing(id, item) {
                Standing::Active | Standing::LockedOut => !is_reachable,
                // Who has no SIP address is still somebody whom one can call or write to.
                Standing::NotEnabled => item.claim.is_some() || !is_reachable,
                Standing::Disabled | Standing::Expired | Standing::Gone => true,
            },
            _ => false,
        };
        Some(Object {
            address: match account {
                Some(account) => Some(account.address.clone()).filter(|_| !is_hidden),
                None => item.foreign.clone(),
            },
            manager: self.view.manager(item),
            members: self.view.members(item),
            is_hidden: object.is_hidden || is_hidden,
            ..object
        })
    }

    fn server_roles(&self, id: ObjectId) -> impl Iterator<Item = ServerRole> + '_ {
        ServerRole::ALL.into_iter().filter(move |role| self.view.says(Policy::Server(*role), id) == Say::Yes)
    }

    /// All servers that the groups name, in order; `None` where a group is not there, so that nobody can say.
    pub(crate) fn servers(&self) -> Option<Vec<TrustedServer>> {
        if self.view.is_missing_servers() {
            return None;
        }
        let mut servers = BTreeSet::new();
        for id in self.view.ids() {
            let Some(item) = self.view.get(id).filter(|item| item.kind == ObjectKind::Server) else {
                continue;
            };
            let host = item.object().card.host;
            if !host.is_empty() {
                servers.extend(self.server_roles(id).map(|role| (host.clone(), role)));
            }
        }
        Some(servers.into_iter().map(|(host, role)| TrustedServer { host, role }).collect())
    }

    /// What the directory says of an account's use now. What lasts comes before what passes: a lock ends by itself.
    fn standing(&self, id: ObjectId, item: &Item) -> Standing {
        let gates = &item.gates;
        if gates.is_disabled {
            return Standing::Disabled;
        }
        if gates.expires_unix_ms.is_some_and(|expires| expires <= self.at.0) {
            return Standing::Expired;
        }
        let is_enabled = match self.view.says(Policy::Enabled, id) {
            Say::Yes | Say::Free => true,
            Say::No => false,
            Say::Unknown => {
                self.known.account(id).is_some_and(|known| known.standing != Standing::NotEnabled)
            }
        };
        if gates.is_unreadable || gates.is_switched_off || item.claim.is_none() || !is_enabled {
            return Standing::NotEnabled;
        }
        match gates.locked_unix_ms {
            Some(locked) if self.is_locked(id, locked, gates.is_locked_now) => Standing::LockedOut,
            _ => Standing::Active,
        }
    }

    fn is_locked(&self, id: ObjectId, locked_unix_ms: u64, is_locked_now: Option<bool>) -> bool {
        let is_on = self.lock_ends(locked_unix_ms).is_none_or(|end| end > self.at.0);
        match is_locked_now {
            Some(false) => false,
            // The server said so, a moment ago.
            Some(true) => is_on || self.lock_seen_until(id).is_some_and(|until| until > self.at.0),
            // It was not asked. Who was locked is so until it was.
            None => {
                let was_locked =
                    self.known.account(id).is_some_and(|known| known.standing == Standing::LockedOut);
                is_on || was_locked && self.reread.contains(&id)
            }
        }
    }

    fn lock_seen_until(&self, id: ObjectId) -> Option<u64> {
        let seen = self.lock_seen.get(&id)?;
        Some(seen.saturating_add(u64::try_from(LOCK_BELIEVED.as_millis()).expect("minutes fit")))
    }

    fn lock_ends(&self, locked_unix_ms: u64) -> Option<u64> {
        let lasts = self.facts.lockout_duration.filter(|duration| !duration.is_zero())?;
        Some(locked_unix_ms.saturating_add(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX)))
    }

    /// When something changes by itself.
    fn due(&self, id: ObjectId) -> Option<u64> {
        let Some(item) = self.view.get(id) else {
            let keep = u64::try_from(self.settings.keep_deleted.as_millis()).unwrap_or(u64::MAX);
            let due = self.gone.get(&id).map(|since| since.saturating_add(keep));
            return due.filter(|due| *due > self.at.0);
        };
        let lock = item.gates.locked_unix_ms.and_then(|locked| self.lock_ends(locked));
        let look = u64::try_from(LOCK_LOOK.as_millis()).expect("a minute fits");
        let look = self.lock_seen.get(&id).map(|seen| seen.saturating_add(look));
        let dues = [lock, look, self.lock_seen_until(id), item.gates.expires_unix_ms];
        dues.into_iter().flatten().filter(|due| *due > self.at.0).min()
    }

    fn names(&self, id: ObjectId, item: &Item) -> Names {
        let mut names = Names::default();
        let realm = &self.facts.realm;
        let account = Some(&*item.account_name).filter(|name| !name.is_empty());
        let account = account.filter(|name| self.view.is_only_one_named(Key::of_name(name), id));
        let principal = Some(&*item.principal).filter(|name| !name.is_empty());
        let principal = principal.filter(|name| self.is_own_principal(id, name));
        let mut sign_in = BTreeSet::new();
        if let Some(account) = account {
            let account = account.to_lowercase();
            if let Some(netbios) = &self.facts.netbios {
                sign_in.insert(format!("{}\\{account}", netbios.to_lowercase()));
            }
            if !realm.is_empty() {
                sign_in.insert(format!("{account}@{}", realm.to_lowercase()));
            }
            sign_in.insert(account);
        }
        sign_in.extend(principal.map(str::to_lowercase));
        names.sign_in = sign_in.into_iter().collect();
        let down_level = account.zip(self.facts.netbios.as_deref());
        names.bind = match (self.settings.kind, principal, down_level) {
            (ServerKind::ActiveDirectory, Some(principal), _) => principal.to_owned(),
            (ServerKind::ActiveDirectory, None, Some((account, netbios))) => format!("{netbios}\\{account}"),
            _ => item.dn.to_string(),
        };
        names
    }

    /// Whether a principal name is nobody else's. Who has an account name has `NAME@REALM` with it, and Kerberos names it so; a principal
    /// name of another one that says the same would sign one in as the other.
    fn is_own_principal(&self, id: ObjectId, principal: &str) -> bool {
        let is_implied = |domain: &str| {
            domain.eq_ignore_ascii_case(&self.facts.realm)
                || domain.eq_ignore_ascii_case(&self.facts.dns_domain)
        };
        let is_free = match principal.rsplit_once('@') {
            Some((user, domain)) if is_implied(domain) => self.view.is_only_one_named(Key::of_name(user), id),
            _ => true,
        };
        is_free && self.view.is_only_one_named(Key::of_principal(principal), id)
    }

    fn note_names(&self, id: ObjectId, wish: &Wish, assigned: &mut Assigned) {
        let Some(item) = self.view.get(id).filter(|_| wish.account.is_some()) else { return };
        let is_shared_account = !self.view.is_only_one_named(Key::of_name(&item.account_name), id);
        let is_shared_principal = !item.principal.is_empty() && !self.is_own_principal(id, &item.principal);
        for (is_shared, name) in
            [(is_shared_account, &item.account_name), (is_shared_principal, &item.principal)]
        {
            if is_shared {
                let finding = FindingKind::NameTaken { name: name.to_string() };
                assigned.conflicts.entry(id).or_default().push(finding);
            }
        }
    }
}

#[derive(Default)]
struct Names {
    bind: String,
    sign_in: Vec<String>,
}

/// An account of which the directory knows nothing any more. What its owner has stays; nobody signs in as it.
fn gone(id: ObjectId, known: &KnownAccount, addresses: &Addresses) -> Account {
    Account {
        address: addresses.address.clone(),
        aliases: addresses.aliases.clone(),
        display_name: known.display_name.to_string(),
        account: DirectoryAccount {
            object: id,
            standing: Standing::Gone,
            bind_name: String::new(),
            sign_in_names: Vec::new(),
            role: Role::Person,
            permissions: known.permissions,
            expires_unix_ms: None,
        },
    }
}
