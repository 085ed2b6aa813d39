//! Subscriptions to lists (RFC 4662, RFC 5367): one dialog for many people.
//!
//! A list's members are rows: who it is, at which level the list's owner sees them, and where the row stands among those that
//! watch the same person. A person who changes marks the rows that see a difference; the next NOTIFY of the list tells the
//! marked ones. A row takes a few dozen octets, where a dialog takes a KiB and a half.
//!
//! RFC 4662 leaves it to the server how often a list is told. The first change after a quiet time is told at once; those of the next
//! while ([`crate::PresencePolicy::list_window`]) are gathered and told together, since of many people somebody always changes. They wait
//! by the one timer that every subscription has. What somebody may see, who is in the list, and the rest of what did not fit into one
//! NOTIFY do not wait; what was gathered goes with them.
//!
//! Members who have no account here are rows as well ([`Who::Elsewhere`]). What is told of them a subscription of the server's own says
//! ([`super::abroad`]); where there is none they are told as RFC 4662 §5.5 tells resources that there is no subscription to.

use std::borrow::Cow;

use bytes::Bytes;
use directory::{SipAddress, UserId};
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use node::{Flow, Transport};
use presence::{Level, address_of_uri, pidf, rlmi, rls_services, uri_of_address};
use sip_message::{HeaderId, Message};
use sip_stack::dialog::{Standing, Subscribe, SubscriptionId};
use slab::Slab;

use super::abroad::MemberState;
use super::recipients::{Member, given_list, members};
use super::watch::admits;
use crate::documents::services::SERVER_LIST_USER;
use crate::events::{Body, Package, Permitted, Wanted, Watched};
use crate::frontend::FrontEnd;
use crate::pipeline::{Refusal, Request};

/// What a client says and must be told about lists (RFC 4662 §4.1).
pub(crate) const EVENTLIST: &str = "eventlist";
/// What a client demands that brings its own list (RFC 5367 §4).
pub(crate) const RECIPIENT_LIST: &str = "recipient-list-subscribe";

/// Lists that a user watches at once: one for each device and a few besides.
const LISTS_PER_USER_MAX: usize = 32;
/// Octets that one NOTIFY tells members in, over a connection. What is more comes in the next.
const OCTETS_MAX: usize = 40 * 1024;
/// The same over UDP, where a datagram of many fragments seldom arrives.
const OCTETS_MAX_DATAGRAM: usize = 6 * 1024;
/// Octets of a whole body: a message has 64 KiB at the most. A single document, with the longest texts, has 30.
const BODY_OCTETS_MAX: usize = 56 * 1024;
/// Octets that a first NOTIFY may take besides to name members whose documents come later.
const NAMES_OCTETS_MAX: usize = 12 * 1024;
/// Octets that name a member, besides its URI and its name.
const NAMED_OCTETS: usize = 64;
/// Octets that a document takes besides itself.
const PART_OCTETS: usize = 256;

/// Names a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListId(u32);

/// A row of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowRef {
    list: ListId,
    row: u32,
}

// What a pair of a watcher and somebody in the watcher's list takes at the most: the row, which is allotted exactly; its place among the
// rows of the same person and its place among those that are due, which grow by doubling. 750,000 pairs are what 15,000 people with 50
// contacts each make.
const _: () = assert!(size_of::<Row>() + 2 * size_of::<RowRef>() + 2 * size_of::<u32>() <= 128);

/// All lists that are watched.
#[derive(Debug)]
pub(crate) struct Lists {
    lists: Slab<List>,
    /// Rows of people who are not here, by URI.
    elsewhere: HashMap<Box<str>, Vec<RowRef>, FixedState>,
    rows: usize,
}

#[derive(Debug)]
struct List {
    id: SubscriptionId,
    owner: UserId,
    /// As it was subscribed to.
    uri: Box<str>,
    source: Source,
    content_ids: rlmi::ContentIds,
    rows: Vec<Row>,
    /// Rows that the next NOTIFY tells, in the order in which they changed.
    due: Vec<u32>,
    /// The next NOTIFY tells all rows.
    is_full_due: bool,
    version: u32,
}

/// Where a list's members are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The owner's contact list, followed.
    Contacts,
    /// A list service of the owner's (RFC 4826 §4), by its address; followed.
    Service(SipAddress),
    /// A body of a SUBSCRIBE.
    Given,
}

/// A member.
#[derive(Debug)]
struct Row {
    who: Who,
    /// The place among the rows of the same person.
    at: u32,
    level: Level,
    is_pending: bool,
    is_due: bool,
}

/// Who a row is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    /// A user of ours, by the URI of the address.
    Home(UserId),
    /// A user of ours, by the URI of a former address.
    Former(Box<(UserId, Box<str>)>),
    /// Anybody else.
    Elsewhere(Box<str>),
}

/// A list as a SUBSCRIBE asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedList {
    uri: Box<str>,
    source: Source,
    content_ids: rlmi::ContentIds,
    members: Vec<Member>,
}

impl WantedList {
    /// COMPAT: liblinphone 5.1 drops the NOTIFYs of a list unless they say `Presence`, while it subscribes to `presence` as
    /// everybody does.
    pub(crate) fn spelling_of_package(&self) -> Option<&'static str> {
        (self.content_ids == rlmi::ContentIds::Bare).then_some("Presence")
    }
}

impl Who {
    /// The user of ours.
    fn user(&self) -> Option<UserId> {
        match self {
            Who::Home(user) => Some(*user),
            Who::Former(of) => Some(of.0),
            Who::Elsewhere(_) => None,
        }
    }
}

impl Lists {
    pub(crate) fn new(seed: u64) -> Lists {
        Lists { lists: Slab::new(), elsewhere: HashMap::with_hasher(FixedState::with_seed(seed)), rows: 0 }
    }

    /// How many lists, and how many rows they have together.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.lists.len(), self.rows)
    }

    fn get(&self, id: ListId) -> &List {
        &self.lists[id.0 as usize]
    }

    fn get_mut(&mut self, id: ListId) -> &mut List {
        &mut self.lists[id.0 as usize]
    }

    fn row(&mut self, of: RowRef) -> &mut Row {
        &mut self.lists[of.list.0 as usize].rows[of.row as usize]
    }

    /// Whose row it is: the subscription, its owner, the row's number, and whether it waits for a decision.
    pub(crate) fn watcher(&self, of: RowRef) -> (SubscriptionId, UserId, u32, bool) {
        let list = self.get(of.list);
        (list.id, list.owner, of.row, list.rows[of.row as usize].is_pending)
    }

    /// At which level a row sees.
    pub(crate) fn level(&self, of: RowRef) -> Level {
        self.get(of.list).rows[of.row as usize].level
    }

    /// A row has something to tell; gives the subscription if nothing was owed about its rows before.
    pub(crate) fn mark(&mut self, of: RowRef) -> Option<SubscriptionId> {
        let list = self.get_mut(of.list);
        let row = &mut list.rows[of.row as usize];
        if std::mem::replace(&mut row.is_due, true) {
            return None;
        }
        list.due.push(of.row);
        (list.due.len() == 1).then_some(list.id)
    }
}

// SUBSCRIBE.
impl FrontEnd {
    /// The list that a request is for: the list service of the domain, or one of the sender's own.
    pub(crate) fn list_asked_for(&self, request: &Request<'_>, user: UserId) -> Option<Source> {
        let uri = request.uri.filter(|uri| self.is_our_domain(uri.host()))?;
        if uri.user_unescaped()?.eq_ignore_ascii_case(SERVER_LIST_USER) {
            return Some(Source::Contacts);
        }
        let address = address_of_uri(uri.as_str())?;
        // Somebody else's is no list, like an address that nobody has.
        (self.service_owner(&address) == Some(user)).then_some(Source::Service(address))
    }

    /// A subscription to a list that is brought along, or to the subscriber's own contacts.
    pub(crate) fn permit_list(
        &self,
        request: &Request<'_>,
        subscribe: &Subscribe<'_>,
        user: UserId,
        asked_for: Source,
    ) -> Result<Permitted, Refusal> {
        let message = request.message;
        if !message.has_option(HeaderId::Supported, EVENTLIST)
            && !message.has_option(HeaderId::Require, EVENTLIST)
        {
            // RFC 4662 §4.3.
            return Err(Refusal::new(421, "a list for a client that does not know lists")
                .with(HeaderId::Require, EVENTLIST));
        }
        let needed = [rlmi::MULTIPART, rlmi::CONTENT_TYPE, pidf::CONTENT_TYPE];
        if !needed.into_iter().all(|content_type| admits(subscribe.accept.as_deref(), content_type)) {
            return Err(Refusal::new(406, "Accept does not admit what a list is told in")
                .with(HeaderId::Accept, needed.join(", ")));
        }
        let resource = lists_key(&self.users.get(user).expect("who signed in exists").user.address);
        if self.subscriptions.of_resource(&resource).count() >= LISTS_PER_USER_MAX {
            return Err(Refusal::new(403, "the watcher has too many lists"));
        }
        let given = given_list(message)?;
        let (source, members) = match given {
            Some(members) => (Source::Given, members),
            None if message.has_option(HeaderId::Require, RECIPIENT_LIST) => {
                return Err(Refusal::new(400, "a list is announced and missing"));
            }
            None => {
                let members = self.members_of(user, &asked_for);
                (asked_for, members)
            }
        };
        let uri = request.message.request_uri_text().into();
        let list = WantedList { uri, source, content_ids: content_ids_for(message), members };
        Ok(Permitted { resource, wanted: Wanted::List(list), standing: Standing::Active })
    }

    /// A subscription to a list begins.
    pub(crate) fn watch_list(&mut self, id: SubscriptionId, owner: UserId, wanted: WantedList) -> Watched {
        let WantedList { uri, source, content_ids, members } = wanted;
        let list = List {
            id,
            owner,
            uri,
            source,
            content_ids,
            rows: Vec::new(),
            due: Vec::new(),
            is_full_due: true,
            version: 0,
        };
        let list = ListId(u32::try_from(self.lists.lists.insert(list)).expect("subscriptions are bounded"));
        self.fill(list, &members);
        Watched::List(list)
    }

    /// A refresh asks for everything, and may bring another list.
    pub(crate) fn list_refreshed(&mut self, list: ListId, given: Option<Vec<Member>>) {
        self.lists.get_mut(list).is_full_due = true;
        if let Some(members) = given {
            self.lists.get_mut(list).source = Source::Given;
            self.fill(list, &members);
        }
    }

    /// A subscription to a list ended.
    pub(crate) fn list_unwatched(&mut self, list: ListId) {
        self.empty(list);
        self.lists.lists.remove(list.0 as usize);
    }

    /// A user's contacts are not what they were: lists that follow them tell everything anew.
    pub(crate) fn contacts_changed(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let resource = lists_key(&account.user.address);
        let ids: Vec<SubscriptionId> = self.subscriptions.of_resource(&resource).map(|(id, _)| id).collect();
        for id in ids {
            let Some(Watched::List(list)) = self.watchers.get(&id).map(|watcher| watcher.watched) else {
                continue;
            };
            let source = self.lists.get(list).source.clone();
            let members = self.members_of(user, &source);
            let known = self.lists.get(list).rows.iter().map(|row| &row.who);
            let is_same =
                source == Source::Given || members.iter().map(|member| self.who(member)).eq(known.cloned());
            if !is_same {
                self.lists.get_mut(list).is_full_due = true;
                self.fill(list, &members);
                self.subscriptions.changed_for(self.now.monotonic, id);
            }
        }
    }

    /// Who is in a list of a user's documents.
    fn members_of(&self, user: UserId, source: &Source) -> Vec<Member> {
        let Some(account) = self.users.get(user) else { return Vec::new() };
        let lists = account.documents.lists();
        let service = |address: &SipAddress| {
            let mut services = account.documents.services().iter();
            services.find(|service| address_of_uri(&service.uri).as_ref() == Some(address))
        };
        match source {
            Source::Given => Vec::new(),
            Source::Contacts => members(lists.entries()),
            Source::Service(address) => match service(address).map(|service| &service.list) {
                Some(rls_services::List::Inline(group)) => members(group.entries()),
                Some(rls_services::List::Reference(uri)) => {
                    let group = list_named_in(uri).and_then(|name| lists.group(&name));
                    group.map(|group| members(group.entries())).unwrap_or_default()
                }
                None => Vec::new(),
            },
        }
    }

    fn who(&self, member: &Member) -> Who {
        let Member { uri, address } = member;
        let account = address.as_ref().and_then(|address| self.users.get(self.users.find_address(address)?));
        match account {
            Some(account) if address.as_ref() == Some(&account.user.address) => Who::Home(account.user.id),
            Some(account) => Who::Former(Box::new((account.user.id, uri.clone()))),
            None => Who::Elsewhere(uri.clone()),
        }
    }
}

// Rows.
impl FrontEnd {
    /// Gives a list these members and no others.
    fn fill(&mut self, id: ListId, members: &[Member]) {
        self.empty(id);
        let owner = self.lists.get(id).owner;
        self.lists.get_mut(id).rows.reserve_exact(members.len());
        for member in members {
            let who = self.who(member);
            let row = self.lists.get(id).rows.len();
            let row = RowRef { list: id, row: u32::try_from(row).expect("a list is bounded") };
            let new = Row { who, at: 0, level: Level::Blocked, is_pending: false, is_due: false };
            self.lists.get_mut(id).rows.push(new);
            self.lists.rows += 1;
            self.attach(row, owner);
        }
    }

    fn empty(&mut self, id: ListId) {
        for row in (0..self.lists.get(id).rows.len()).rev() {
            self.detach(RowRef { list: id, row: u32::try_from(row).expect("a list is bounded") });
        }
        let list = &mut self.lists.lists[id.0 as usize];
        self.lists.rows -= list.rows.len();
        list.rows = Vec::new();
        list.due = Vec::new();
    }

    /// Puts a row among those of the person it is about.
    fn attach(&mut self, of: RowRef, owner: UserId) {
        let who = self.lists.row(of).who.clone();
        let at = match (who.user(), who) {
            (Some(user), _) => {
                let watcher = self.users.get(owner).map(|watcher| &watcher.user.address);
                let watched = self.users.get(user).expect("rows of users who go are moved");
                let access = watcher.map(|watcher| self.access_of(watched, watcher));
                let row = self.lists.row(of);
                row.level = access.map_or(Level::Blocked, |access| access.level);
                row.is_pending = access.is_some_and(|access| access.standing == Standing::Pending);
                let rows = &mut self.told_mut(user).rows;
                rows.push(of);
                rows.len()
            }
            (None, Who::Elsewhere(uri)) => {
                self.watch_abroad(owner, &uri);
                let rows = self.lists.elsewhere.entry(uri).or_default();
                rows.push(of);
                rows.len()
            }
            (None, Who::Home(_) | Who::Former(_)) => unreachable!("both are users"),
        };
        self.lists.row(of).at = u32::try_from(at - 1).expect("rows are bounded");
    }

    /// Takes a row out from among those of the person it is about; the last one takes its place.
    fn detach(&mut self, of: RowRef) {
        let Row { who, at, .. } = self.lists.row(of);
        let (who, at) = (who.clone(), *at as usize);
        let moved = match (who.user(), &who) {
            (Some(user), _) => {
                let rows = &mut self.told_mut(user).rows;
                rows.swap_remove(at);
                let moved = rows.get(at).copied();
                self.forget_told_if_idle(user);
                moved
            }
            (None, Who::Home(_) | Who::Former(_)) => unreachable!("both are users"),
            (None, Who::Elsewhere(uri)) => {
                let owner = self.lists.get(of.list).owner;
                self.unwatch_abroad(owner, uri);
                let rows = self.lists.elsewhere.get_mut(uri).expect("every row is listed");
                rows.swap_remove(at);
                let moved = rows.get(at).copied();
                if rows.is_empty() {
                    self.lists.elsewhere.remove(uri);
                }
                moved
            }
        };
        if let Some(moved) = moved {
            self.lists.row(moved).at = u32::try_from(at).expect("it was one before");
        }
    }

    /// Somebody is here now whom lists may name already.
    pub(crate) fn rows_come_home(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let addresses = account.user.aliases.iter().chain([&account.user.address]);
        let uris: Vec<Box<str>> = addresses.map(|address| uri_of_address(address).into()).collect();
        for uri in uris {
            let Some(rows) = self.lists.elsewhere.remove(&*uri) else { continue };
            let who = self.who(&Member::of_uri(&uri));
            self.rows_move(rows, &who);
        }
    }

    /// A user goes by other addresses: each row stays with the URI that its list names, and with whom that leads to now.
    pub(crate) fn rows_follow_addresses(&mut self, user: UserId, before: &SipAddress) {
        let Some(told) = self.users.get_mut(user).and_then(|account| account.person.told.as_mut()) else {
            return self.rows_come_home(user);
        };
        let rows = std::mem::take(&mut told.rows);
        for of in rows {
            let uri = self.uri_of_row(of, before);
            let who = self.who(&Member::of_uri(&uri));
            self.rows_move(vec![of], &who);
        }
        self.forget_told_if_idle(user);
        self.rows_come_home(user);
    }

    /// The URI that a list names a member by, who has, or had, this address.
    fn uri_of_row(&self, of: RowRef, address: &SipAddress) -> Box<str> {
        match &self.lists.get(of.list).rows[of.row as usize].who {
            Who::Elsewhere(uri) => uri.clone(),
            Who::Former(former) => former.1.clone(),
            Who::Home(_) => uri_of_address(address).into(),
        }
    }

    /// What is told of a user besides the state is another.
    pub(crate) fn rows_told_anew(&mut self, user: UserId) {
        let told = self.users.get(user).and_then(|account| account.person.told.as_ref());
        for of in told.map(|told| told.rows.clone()).unwrap_or_default() {
            self.row_changed(of);
        }
    }

    /// A user is about to go: lists name somebody now who is not here.
    pub(crate) fn rows_leave_home(&mut self, user: UserId) {
        let Some(account) = self.users.get_mut(user) else { return };
        let address = account.user.address.clone();
        let Some(told) = account.person.told.as_mut() else { return };
        for of in std::mem::take(&mut told.rows) {
            let uri = self.uri_of_row(of, &address);
            self.rows_move(vec![of], &Who::Elsewhere(uri));
        }
        self.forget_told_if_idle(user);
    }

    fn rows_move(&mut self, rows: Vec<RowRef>, to: &Who) {
        for of in rows {
            self.lists.row(of).who = to.clone();
            let owner = self.lists.get(of.list).owner;
            self.attach(of, owner);
            self.row_changed(of);
        }
    }

    /// Somebody elsewhere stands otherwise for an owner of lists.
    pub(crate) fn row_elsewhere_changed(&mut self, owner: UserId, uri: &str) {
        let rows = self.lists.elsewhere.get(uri).cloned().unwrap_or_default();
        for of in rows {
            if self.lists.get(of.list).owner == owner {
                self.row_changed(of);
            }
        }
    }

    /// Whether anybody elsewhere may be asked about changed for an owner of lists.
    pub(crate) fn rows_abroad_changed(&mut self, owner: UserId) {
        let of_owner: Vec<(RowRef, Box<str>)> = self
            .lists
            .lists
            .iter()
            .filter(|(_, list)| list.owner == owner)
            .flat_map(|(list, of)| of.rows.iter().enumerate().map(move |(row, what)| (list, row, what)))
            .filter_map(|(list, row, what)| match &what.who {
                Who::Elsewhere(uri) => {
                    let index = |n: usize| u32::try_from(n).expect("subscriptions and lists are bounded");
                    Some((RowRef { list: ListId(index(list)), row: index(row) }, uri.clone()))
                }
                Who::Home(_) | Who::Former(_) => None,
            })
            .collect();
        for (of, uri) in of_owner {
            if self.may_federate(owner) {
                self.watch_abroad(owner, &uri);
            }
            self.row_decided(of);
        }
    }

    /// A row has something to tell, which may wait for others.
    pub(crate) fn row_changed(&mut self, of: RowRef) {
        if let Some(id) = self.lists.mark(of) {
            self.subscriptions.gather_for(self.now.monotonic, id, self.config.presence.list_window);
        }
    }

    /// It was decided anew what a row may show: that waits for nothing.
    fn row_decided(&mut self, of: RowRef) {
        self.lists.mark(of);
        self.subscriptions.changed_for(self.now.monotonic, self.lists.get(of.list).id);
    }

    /// What a user grants may have changed: rows that see a difference are told.
    pub(crate) fn row_access_changed(&mut self, user: UserId) {
        let Some(told) = self.users.get(user).and_then(|account| account.person.told.as_ref()) else {
            return;
        };
        for of in told.rows.clone() {
            let owner = self.lists.get(of.list).owner;
            let (Some(watched), Some(watcher)) = (self.users.get(user), self.users.get(owner)) else {
                continue;
            };
            let access = self.access_of(watched, &watcher.user.address);
            let is_pending = access.standing == Standing::Pending;
            let told = watched.person.told.as_ref().expect("it was just seen");
            let row = self.lists.row(of);
            let is_same = row.level == access.level && row.is_pending == is_pending;
            let looks_alike = told.looks_alike(row.level, access.level) && row.is_pending == is_pending;
            // What the watcher of a row that is due saw last may be more than the new level shows.
            let is_seen = !looks_alike || !is_same && row.is_due;
            (row.level, row.is_pending) = (access.level, is_pending);
            if is_seen {
                self.row_decided(of);
            }
        }
    }
}

// NOTIFY.
impl FrontEnd {
    /// What a list has to tell: everything, or what changed; `None` where that is nothing. What does not fit into one NOTIFY comes in
    /// the next.
    pub(crate) fn list_body(&mut self, id: ListId, flow: Flow) -> Option<Body> {
        let octets_max = match self.stack.hops().flow_facts(flow) {
            Some((Transport::Udp, _)) => OCTETS_MAX_DATAGRAM,
            _ => OCTETS_MAX,
        };
        let list = self.lists.get_mut(id);
        let is_full = std::mem::take(&mut list.is_full_due);
        if list.due.is_empty() && !is_full {
            return None;
        }
        // Taken out while the rest of the front end is asked about them.
        let mut rows = std::mem::take(&mut list.rows);
        let mut due = std::mem::take(&mut list.due);
        if is_full {
            due = (0..u32::try_from(rows.len()).expect("a list is bounded")).collect();
            rows.iter_mut().for_each(|row| row.is_due = false);
        }
        let version = list.version;
        list.version += 1;
        let (owner, uri, content_ids) = (list.owner, std::mem::take(&mut list.uri), list.content_ids);
        let token = list.id.local_tag();
        let domain = self.config.domains[0].clone();
        let head = rlmi::List {
            uri: &uri,
            version,
            is_full,
            name: None,
            token: &token,
            domain: domain.as_str(),
            content_ids,
        };
        let mut notification = rlmi::Notification::new(head, BODY_OCTETS_MAX);
        let mut spent = 0;
        let mut told = 0;
        for at in &due {
            let row = &rows[*at as usize];
            let member = self.told_of(owner, row);
            let octets = member.name_octets()
                + member.document.as_ref().map_or(0, |document| document.len() + PART_OCTETS);
            // The first is told however long its document is.
            let fits = spent == 0 || spent + octets <= octets_max;
            if !fits || !notification.push(&member.resource()) {
                break;
            }
            spent += octets;
            told += 1;
        }
        for at in &due[..told] {
            rows[*at as usize].is_due = false;
        }
        // A NOTIFY that tells the rest is owed once this one is answered.
        due.drain(..told);
        due.iter().for_each(|at| rows[*at as usize].is_due = true);
        // The first NOTIFY names all members, as far as there is room.
        for at in due.iter().take_while(|_| is_full) {
            let member = self.named_of(&rows[*at as usize]);
            spent += member.name_octets();
            if spent > octets_max + NAMES_OCTETS_MAX || !notification.push(&member.resource()) {
                break;
            }
        }
        let body = notification.finish();
        let list = self.lists.get_mut(id);
        (list.rows, list.due, list.uri) = (rows, due, uri);
        Some(Body { content_type: Cow::Owned(body.content_type), octets: body.octets, tag: None })
    }

    /// Whether a list has more to tell than its last NOTIFY held.
    pub(crate) fn list_owes_more(&self, id: ListId) -> bool {
        !self.lists.get(id).due.is_empty()
    }

    /// A NOTIFY was lost: what it told is told again.
    pub(crate) fn list_untold(&mut self, id: ListId) {
        self.lists.get_mut(id).is_full_due = true;
    }

    /// A member with all that the owner of a list is to see.
    fn told_of<'a>(&'a mut self, owner: UserId, row: &'a Row) -> Told<'a> {
        let user = match &row.who {
            Who::Elsewhere(uri) => {
                let known = self.abroad.known(owner, uri);
                let (state, document) = known.unwrap_or((MemberState::Terminated("noresource"), None));
                return Told { uri: Cow::Borrowed(uri), name: None, document, state };
            }
            Who::Home(_) | Who::Former(_) => row.who.user().expect("both are users"),
        };
        let key = self.tag_key;
        let account = self.users.get_mut(user).expect("rows of users who go are moved");
        let told = account.person.told.as_mut().expect("a person with rows has been told");
        let document = match &row.who {
            Who::Former(former) => told.document_as(row.level, &former.1),
            Who::Home(_) | Who::Elsewhere(_) => told.face(row.level, &account.user.address, key).body.clone(),
        };
        let state = if row.is_pending { MemberState::Pending } else { MemberState::Active };
        Told { document: Some(document), state, ..self.named_of(row) }
    }

    /// A member of whom nothing is told yet.
    fn named_of<'a>(&'a self, row: &'a Row) -> Told<'a> {
        let account = row.who.user().and_then(|user| self.users.get(user));
        let name = account.map(|account| account.user.display_name.as_str()).filter(|name| !name.is_empty());
        let uri = match (&row.who, account) {
            (Who::Elsewhere(uri), _) => Cow::Borrowed(&**uri),
            (Who::Former(former), _) => Cow::Borrowed(&*former.1),
            (Who::Home(_), account) => {
                let account = account.expect("rows of users who go are moved");
                Cow::Owned(uri_of_address(&account.user.address))
            }
        };
        Told { uri, name, document: None, state: MemberState::Unknown }
    }
}

/// A member as a NOTIFY tells it.
struct Told<'a> {
    uri: Cow<'a, str>,
    name: Option<&'a str>,
    document: Option<Bytes>,
    state: MemberState,
}

impl Told<'_> {
    /// Octets that it takes to name it.
    fn name_octets(&self) -> usize {
        NAMED_OCTETS + self.uri.len() + self.name.map_or(0, str::len)
    }

    fn resource(&self) -> rlmi::Resource<'_> {
        let state = match self.state {
            MemberState::Unknown => None,
            MemberState::Active => Some(rlmi::InstanceState::Active),
            MemberState::Pending => Some(rlmi::InstanceState::Pending),
            MemberState::Terminated(reason) => Some(rlmi::InstanceState::Terminated(reason)),
        };
        let document = self.document.as_ref().map(|document| (pidf::CONTENT_TYPE, document));
        let instance = state.map(|state| rlmi::Instance { id: "1", state, document });
        rlmi::Resource { uri: &self.uri, name: self.name, instance }
    }
}

/// How the sender of a SUBSCRIBE finds the parts of a NOTIFY.
fn content_ids_for(subscribe: &Message) -> rlmi::ContentIds {
    let is_liblinphone = subscribe.header(HeaderId::UserAgent).is_some_and(|value| {
        // Programs that are built on it keep one of these words, unless they hide what they are.
        [&b"linphone"[..], b"belle-sip"]
            .iter()
            .any(|word| value.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)))
    });
    if is_liblinphone { rlmi::ContentIds::Bare } else { rlmi::ContentIds::Bracketed }
}

/// The key of the lists that a user watches, which tells them apart from anybody's presence.
pub(crate) fn lists_key(owner: &SipAddress) -> String {
    Package::Presence.key(&[SERVER_LIST_USER, " ", owner.as_str()].concat())
}

/// The name in a reference to a list of the owner's own (RFC 4826 §4.4.3): `.../list[@name="friends"]`, escaped or not.
fn list_named_in(uri: &str) -> Option<String> {
    let octets: Vec<u8> = percent_decoded(uri);
    let text = String::from_utf8(octets).ok()?;
    let (_, rest) = text.rsplit_once("[@name=")?;
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    rest[1..].split_once(quote).map(|(name, _)| name.to_owned())
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok());
        match escaped.as_deref() {
            Some([octet]) => {
                octets.push(*octet);
                rest = &tail[2..];
            }
            _ => {
                octets.push(*first);
                rest = tail;
            }
        }
    }
    octets
}
