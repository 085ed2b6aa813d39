//! Following the organisation's directory: a step of the User Replicator, from what it asks for to what is in force.
//!
//! A step is looked at ([`plan`]: which addresses can be), written in one change, and applied when it is durable: accounts are added,
//! go by other addresses, and are cut off when they leave [`Standing::Active`]. What an administrator of this server decided is another
//! matter, which no step touches: `enabled` is what both say. One step is under way at a time; the same step again changes nothing.

mod plan;
mod rename;

use std::collections::{BTreeMap, BTreeSet};

use directory::{ObjectId, SipAddress, Standing, User, UserId};
use federation::{ServerRole, TrustedServer};
use node::{CallToken, Level, Output};
use rand::Rng;
use records::{Change, DirectoryUser, ListedServer, Replication, UserRecord};

use self::plan::{Granted, Holder, Wish};
use crate::admin::{AccountRefusal, Answer, Batch, FromDirectory, Refusal, RefusedAccount, Replicated};
use crate::documents::services::SERVER_LIST_USER;
use crate::frontend::{FrontEnd, Persisting};
use crate::users::Said;

/// A step that is under way.
pub(crate) struct Replicating {
    token: CallToken,
    batch: Batch,
    /// Removals that are not durable yet.
    removing: usize,
    /// Why a removal failed.
    failed: Option<String>,
    done: Replicated,
    /// What is on its way to storage.
    users: Vec<DirectoryUser>,
}

impl FrontEnd {
    pub(crate) fn replicate(&mut self, token: CallToken, batch: Batch) -> Result<(), Refusal> {
        if self.replicating.is_some() {
            return Err(Refusal::Busy);
        }
        let known = batch.removed.iter().filter_map(|object| self.users.of_object(*object));
        let removed: BTreeSet<UserId> = known.collect();
        let removing = removed.len();
        let done = Replicated { removed: removing, ..Replicated::default() };
        let step = Replicating { token, batch, removing, failed: None, done, users: Vec::new() };
        self.replicating = Some(Box::new(step));
        if removing == 0 {
            self.replicate_accounts();
        }
        for user in removed {
            let change = Change::RemoveUser { user, at_unix_ms: self.now.wall.0 };
            self.persist(change, Persisting::Removal(user));
        }
        Ok(())
    }

    /// An account is gone for good, or could not be removed.
    pub(crate) fn removal_done(&mut self, user: UserId, result: Result<(), String>) {
        let result = result.map(|()| self.user_removed(user));
        let Some(step) = &mut self.replicating else { return };
        step.removing -= 1;
        step.failed = step.failed.take().or(result.err());
        if step.removing > 0 {
            return;
        }
        match step.failed.take() {
            None => self.replicate_accounts(),
            Some(error) => self.step_failed(error),
        }
    }

    /// Nothing of the step's change was written.
    pub(crate) fn step_failed(&mut self, error: String) {
        if let Some(step) = self.replicating.take() {
            self.answer_call(step.token, Answer::Refused(Refusal::Storage(error)));
        }
    }

    /// What is to be removed is: the rest of the step is looked at, and written.
    fn replicate_accounts(&mut self) {
        let Some(mut step) = self.replicating.take() else { return };
        let accounts = newest(std::mem::take(&mut step.batch.users));
        let (users, refused) = self.planned(accounts);
        step.done.refused = refused;
        step.users = users;
        let Batch { objects, photos, servers, state, .. } = &mut step.batch;
        let listed = |server: &TrustedServer| ListedServer {
            host: server.host.clone(),
            role: server.role.name().to_owned(),
        };
        let replication = Replication {
            users: step.users.clone(),
            objects: std::mem::take(objects),
            photos: std::mem::take(photos),
            servers: servers.as_ref().map(|servers| servers.iter().map(listed).collect()),
            state: state.take(),
            at_unix_ms: self.now.wall.0,
        };
        let Replication { users, objects, photos, servers, state, .. } = &replication;
        let is_nothing = users.is_empty()
            && objects.is_empty()
            && photos.is_empty()
            && servers.is_none()
            && state.is_none();
        self.replicating = Some(step);
        match is_nothing {
            true => self.step_persisted(),
            false => self.persist(Change::Replicate(Box::new(replication)), Persisting::Step),
        }
    }

    /// The accounts that are to be otherwise than they are, and what cannot be.
    fn planned(&mut self, accounts: Vec<FromDirectory>) -> (Vec<DirectoryUser>, Vec<RefusedAccount>) {
        let granted = {
            let wishes: Vec<Wish<'_>> = accounts.iter().map(|account| self.wish(account)).collect();
            let beginning = self.addresses_beginning();
            plan::decide(&wishes, |address| self.holder(address, &beginning))
        };
        let (mut users, mut refused) = (Vec::new(), Vec::new());
        for (asked, granted) in accounts.into_iter().zip(granted) {
            let Granted { address, aliases, refused: not_granted } = granted;
            let FromDirectory { display_name, account, .. } = asked;
            let object = account.object;
            let known = self.users.of_object(object);
            if known.is_none() && account.standing == Standing::Gone {
                continue;
            }
            let reasons = not_granted.into_iter();
            refused.extend(reasons.map(|(address, reason)| RefusedAccount { object, address, reason }));
            let Some(address) = address else { continue };
            // Never given twice, also after a removal: 2^62 are not met again. Positive in every database.
            let id = known.unwrap_or_else(|| UserId(self.rng.random_range(1..1 << 62)));
            let user = DirectoryUser { id, address, aliases, display_name, account };
            if !self.users.get(id).is_some_and(|known| is_as(&known.user, &user)) {
                users.push(user);
            }
        }
        (users, refused)
    }

    fn wish<'a>(&'a self, asked: &'a FromDirectory) -> Wish<'a> {
        let FromDirectory { address, aliases, account, .. } = asked;
        let known = self.users.of_object(account.object).and_then(|id| self.users.get(id));
        let has = known.map(|known| &known.user.address);
        Wish { object: account.object, has, address, aliases }
    }

    /// Addresses of accounts that are on their way to storage.
    fn addresses_beginning(&self) -> BTreeSet<SipAddress> {
        let beginning = self.persisting.values().filter_map(|what| match what {
            Persisting::Call(_, _, Change::AddUser { user, .. }) => Some(user.address.clone()),
            _ => None,
        });
        beginning.collect()
    }

    fn holder(&self, address: &SipAddress, beginning: &BTreeSet<SipAddress>) -> Holder {
        if self.check_domain(address).is_err() {
            return Holder::Never(AccountRefusal::ForeignDomain);
        }
        if address.user() == SERVER_LIST_USER || self.service_owner(address).is_some() {
            return Holder::Never(AccountRefusal::Service);
        }
        if self.users.of_app_password(address.user()).is_some() {
            return Holder::Never(AccountRefusal::AppPassword);
        }
        let account = self.users.find_address(address).and_then(|id| self.users.get(id));
        match account.map(|account| account.user.account.as_ref()) {
            Some(Some(account)) => Holder::Object(account.object),
            Some(None) => Holder::Never(AccountRefusal::LocalAccount),
            None if beginning.contains(address) => Holder::Never(AccountRefusal::LocalAccount),
            None => Holder::Nobody,
        }
    }

    /// The step is durable: now it is in force.
    pub(crate) fn step_persisted(&mut self) {
        let Some(step) = self.replicating.take() else { return };
        let Replicating { token, batch, mut done, users, .. } = *step;
        let (known, new): (Vec<_>, Vec<_>) =
            users.into_iter().partition(|user| self.users.get(user.id).is_some());
        (done.changed, done.added) = (known.len(), new.len());
        self.apply_to_known(known, &mut done);
        for user in new {
            self.apply_new(user);
        }
        if let Some(servers) = batch.servers {
            self.list_servers(servers);
        }
        self.objects_changed();
        let Replicated { added, changed, cut_off, removed, refused } = &done;
        let count = |count: usize| count.to_string();
        let fields = vec![
            ("added", count(*added)),
            ("changed", count(*changed)),
            ("cut_off", count(*cut_off)),
            ("removed", count(*removed)),
            ("refused", count(refused.len())),
        ];
        let is_news = added + changed + removed + refused.len() > 0;
        let level = if is_news { Level::Info } else { Level::Debug };
        self.report(level, "replicated", None, "a step of the organisation's directory is in force", fields);
        self.answer_call(token, Answer::Replicated(done));
    }

    fn apply_new(&mut self, user: DirectoryUser) {
        let DirectoryUser { id, address, aliases, display_name, account } = user;
        let user = User { aliases, display_name, ..User::local(id, address) };
        self.load_user(UserRecord::fresh(User { account: Some(Box::new(account)), ..user }));
        self.rows_come_home(id);
    }

    fn apply_to_known(&mut self, users: Vec<DirectoryUser>, done: &mut Replicated) {
        let before: BTreeMap<UserId, User> =
            users.iter().filter_map(|user| Some((user.id, self.users.get(user.id)?.user.clone()))).collect();
        let said = users.into_iter().map(|user| {
            let DirectoryUser { id, address, aliases, display_name, account } = user;
            (id, Said { address, aliases, display_name, account: Box::new(account) })
        });
        self.users.say(said.collect());
        self.addresses_changed(&before);
        for (id, before) in &before {
            if self.standing_changed(*id, before) {
                done.cut_off += 1;
            }
            self.permissions_changed(*id, before);
            if let Some(account) = self.users.get(*id)
                && account.user.display_name != before.display_name
            {
                self.name_changed(*id);
            }
            self.replica.changed(self.now.monotonic, *id);
        }
    }

    /// Cuts off who may not use the account any more; gives whether it was so before.
    fn standing_changed(&mut self, id: UserId, before: &User) -> bool {
        let now = self.tokens_since_now(id).0;
        let Some(account) = self.users.get_mut(id) else { return false };
        let standing = account.user.account.as_ref().map_or(Standing::Active, |account| account.standing);
        if standing == Standing::Active {
            return false;
        }
        account.user.tokens_since_unix_ms = account.user.tokens_since_unix_ms.max(now);
        if standing.ends_credentials() {
            self.users.end_credentials(id);
        }
        if !before.is_enabled() {
            return false;
        }
        self.leave(id);
        let address = before.address.to_string();
        let fields = vec![("user", address), ("standing", standing.name().to_owned())];
        self.report(Level::Info, "cut-off", None, "the directory lets the account be used no more", fields);
        true
    }

    /// What a user may do may have changed.
    pub(crate) fn permissions_changed(&mut self, id: UserId, before: &User) {
        let Some(account) = self.users.get(id) else { return };
        if account.user.may().federation != before.may().federation {
            self.access_changed(id);
            self.abroad_changed(id);
        }
    }

    /// What the directory listed before the start.
    pub(crate) fn servers_loaded(&mut self, servers: Vec<ListedServer>) {
        let known = |server: ListedServer| {
            Some(TrustedServer { role: ServerRole::from_name(&server.role)?, host: server.host })
        };
        // A later version may have written roles that this one does not know.
        self.list_servers(servers.into_iter().filter_map(known).collect());
    }

    /// The servers that the directory lists, beside those of the configuration.
    fn list_servers(&mut self, servers: Vec<TrustedServer>) {
        self.listed_servers.clone_from(&servers);
        let mut all = self.config.servers.clone();
        for server in servers {
            let is_known = |other: &TrustedServer| {
                other.host.eq_ignore_ascii_case(&server.host) && other.role == server.role
            };
            if !all.iter().any(is_known) {
                all.push(server);
            }
        }
        let has_director = all.iter().any(|server| server.role == ServerRole::Director);
        for connection in self.servers.list(all) {
            self.outputs.push_back(Output::Close { connection });
        }
        if has_director && self.replica.begins() {
            let mut users: Vec<UserId> = self.users.iter().map(|account| account.user.id).collect();
            users.sort_unstable();
            users.into_iter().for_each(|user| self.replica.changed(self.now.monotonic, user));
        }
    }
}

/// Of an object that a step names twice the later one holds, at the place of the first.
fn newest(accounts: Vec<FromDirectory>) -> Vec<FromDirectory> {
    let mut places: BTreeMap<ObjectId, usize> = BTreeMap::new();
    let mut newest: Vec<FromDirectory> = Vec::with_capacity(accounts.len());
    for account in accounts {
        let place = *places.entry(account.account.object).or_insert(newest.len());
        match newest.get_mut(place) {
            Some(older) => *older = account,
            None => newest.push(account),
        }
    }
    newest
}

fn is_as(user: &User, said: &DirectoryUser) -> bool {
    let DirectoryUser { address, aliases, display_name, account, .. } = said;
    user.address == *address
        && user.aliases == *aliases
        && user.display_name == *display_name
        && user.account.as_deref() == Some(account)
}
