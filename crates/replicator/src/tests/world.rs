//! A directory server, a driver and a home, as models, and a clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use directory::{DomainName, Object, ObjectId, ObjectKind, PhotoDigest, SipAddress, Standing};
use directory_source::{Entry, Event, Failure, FailureKind, ServerFacts, ServerKind, Task, Watermark, guid};
use node::{Instant, Now, UnixMillis};
use records::ObjectChange;

use crate::losses::is_in_use;
use crate::{
    Account, Answer, Batch, Command, CommandToken, Input, Loaded, Output, Refused, Replicator, Settings,
};

/// 2026-11-22T00:00:00Z.
pub(super) const START_UNIX_MS: u64 = 1_795_305_600_000;
pub(super) const BASE: &str = "DC=corp,DC=example";

/// What a server computes of locks.
pub(super) const LOCK_STATE: &str = "msds-user-account-control-computed";

pub(super) fn id(number: u8) -> ObjectId {
    let mut octets = [0; 16];
    octets[15] = number;
    ObjectId(octets)
}

pub(super) fn address(text: &str) -> SipAddress {
    SipAddress::parse(text).unwrap()
}

pub(super) fn settings() -> Settings {
    Settings::new(ServerKind::ActiveDirectory, vec![DomainName::parse("corp.example").unwrap()])
}

/// FILETIME of a time in milliseconds since 1970.
pub(super) fn filetime(unix_ms: u64) -> String {
    ((unix_ms + 11_644_473_600_000) * 10_000).to_string()
}

/// One object of the model directory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Thing {
    pub(super) dn: String,
    pub(super) attributes: BTreeMap<String, Vec<Vec<u8>>>,
    /// Linked attributes, by id: the server writes the names as they are when it is asked.
    pub(super) links: BTreeMap<String, BTreeSet<ObjectId>>,
}

/// How the server tells changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    DirSync,
    Usn,
}

/// What is wrong with the driver, for the test of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Of every answer about changes, the last one is lost.
    LosesChanges,
    /// The mark is made when everything was read, not before.
    MarksLate,
}

/// A directory server, with its driver.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) domain: ObjectId,
    pub(super) invocation: ObjectId,
    pub(super) usn: u64,
    pub(super) things: BTreeMap<ObjectId, (Thing, u64)>,
    pub(super) deleted: BTreeMap<ObjectId, (Thing, u64)>,
    /// Entries that the account may not read.
    pub(super) unreadable: BTreeSet<ObjectId>,
    /// Entries that searches for everything pass over, although they are there.
    pub(super) overlooked: BTreeSet<ObjectId>,
    pub(super) way: Way,
    pub(super) page: usize,
    pub(super) is_up: bool,
    pub(super) fault: Fault,
    pub(super) lockout: Option<Duration>,
    /// Up to which number it has the changes of other databases; `None`: it does not say.
    pub(super) cursors: Option<BTreeMap<ObjectId, u64>>,
    /// How often it was restored from a backup.
    pub(super) generation: u8,
    /// Hosts that were connected to.
    pub(super) visited: BTreeSet<String>,
}

impl Server {
    pub(super) fn new(way: Way) -> Server {
        Server {
            host: "dc1".to_owned(),
            domain: id(0xd0),
            invocation: id(0xe1),
            usn: 100,
            things: BTreeMap::new(),
            deleted: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            overlooked: BTreeSet::new(),
            way,
            page: 2,
            is_up: true,
            fault: Fault::None,
            lockout: Some(Duration::from_secs(1800)),
            cursors: Some(BTreeMap::new()),
            generation: 0,
            visited: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, id: ObjectId, class: &str, name: &str, attributes: &[(&str, &str)]) {
        let mut thing = Thing {
            dn: format!("CN={name},OU=Staff,{BASE}"),
            attributes: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let classes: &[&str] = match class {
            "user" => &["top", "person", "organizationalPerson", "user"],
            "contact" => &["top", "person", "organizationalPerson", "contact"],
            "computer" => &["top", "person", "organizationalPerson", "user", "computer"],
            other => &["top", other],
        };
        let classes = classes.iter().map(|class| class.as_bytes().to_vec()).collect();
        thing.attributes.insert("objectclass".to_owned(), classes);
        if class == "user" {
            thing.attributes.insert("useraccountcontrol".to_owned(), vec![b"512".to_vec()]);
        }
        for (attribute, value) in [("displayname", name)].iter().chain(attributes) {
            thing.attributes.entry((*attribute).to_owned()).or_default().push(value.as_bytes().to_vec());
        }
        self.usn += 1;
        self.things.insert(id, (thing, self.usn));
    }

    /// A user with an account name and a SIP address.
    pub(super) fn user(&mut self, number: u8, name: &str) {
        let sip = format!("sip:{name}@corp.example");
        let principal = format!("{name}@corp.example");
        let attributes = [
            ("samaccountname", name),
            ("userprincipalname", principal.as_str()),
            ("msrtcsip-primaryuseraddress", sip.as_str()),
            ("mail", principal.as_str()),
        ];
        self.add(id(number), "user", name, &attributes);
    }

    pub(super) fn change(&mut self, id: ObjectId, change: impl FnOnce(&mut Thing)) {
        self.usn += 1;
        let Some((thing, usn)) = self.things.get_mut(&id) else { return };
        change(thing);
        *usn = self.usn;
    }

    /// Becomes another database with the same content, which has everything of the one before.
    pub(super) fn become_another(&mut self, host: &str, invocation: ObjectId) {
        if let Some(cursors) = &mut self.cursors {
            cursors.insert(self.invocation, self.usn);
        }
        self.host = host.to_owned();
        self.invocation = invocation;
    }

    /// Sets the only value; an empty one removes the attribute.
    pub(super) fn set(&mut self, id: ObjectId, attribute: &str, value: &str) {
        self.change(id, |thing| {
            if value.is_empty() {
                thing.attributes.remove(attribute);
            } else {
                thing.attributes.insert(attribute.to_owned(), vec![value.as_bytes().to_vec()]);
            }
        });
    }

    pub(super) fn link(&mut self, from: ObjectId, attribute: &str, to: &[ObjectId]) {
        self.change(from, |thing| {
            thing.links.insert(attribute.to_owned(), to.iter().copied().collect());
        });
    }

    /// As Active Directory does: what named it names it no more, and that shows as no change.
    pub(super) fn delete(&mut self, id: ObjectId) {
        self.usn += 1;
        if let Some((thing, _)) = self.things.remove(&id) {
            self.deleted.insert(id, (thing, self.usn));
        }
    }

    pub(super) fn restore(&mut self, id: ObjectId) {
        self.usn += 1;
        if let Some((thing, _)) = self.deleted.remove(&id) {
            self.things.insert(id, (thing, self.usn));
        }
    }

    fn entry(&self, id: ObjectId) -> Option<Entry> {
        let (thing, _) = self.things.get(&id).filter(|_| !self.unreadable.contains(&id))?;
        let mut attributes = thing.attributes.clone();
        let name = |link: &ObjectId| {
            let (thing, _) = self.things.get(link)?;
            let digits: String = guid::octets(*link).iter().map(|octet| format!("{octet:02x}")).collect();
            Some(format!("<GUID={digits}>;{}", thing.dn).into_bytes())
        };
        for (attribute, links) in &thing.links {
            attributes.insert(attribute.clone(), links.iter().filter_map(name).collect());
        }
        for (back, attribute) in [("memberof", "member"), ("directreports", "manager")] {
            let is_named =
                |thing: &Thing| thing.links.get(attribute).is_some_and(|links| links.contains(&id));
            let naming =
                self.things.iter().filter(|(_, (thing, _))| is_named(thing)).map(|(naming, _)| naming);
            attributes.insert(back.to_owned(), naming.filter_map(name).collect());
        }
        Some(Entry { id, dn: thing.dn.clone(), attributes })
    }

    fn facts(&self) -> ServerFacts {
        ServerFacts {
            host: self.host.clone(),
            kind: ServerKind::ActiveDirectory,
            domain: self.domain,
            invocation: Some(self.invocation),
            highest_usn: Some(self.usn),
            cursors: self.cursors.clone(),
            lockout_duration: self.lockout,
            lockout_threshold: None,
            base: BASE.to_owned(),
            dns_domain: "corp.example".to_owned(),
            realm: "CORP.EXAMPLE".to_owned(),
            netbios: Some("CORP".to_owned()),
        }
    }

    fn watermark(&self) -> Watermark {
        let (invocation, host) = (self.invocation, self.host.clone());
        match self.way {
            Way::DirSync => {
                let cookie = self.usn.to_be_bytes().to_vec();
                Watermark::DirSync { cookie, invocation, host, usn: Some(self.usn) }
            }
            Way::Usn => Watermark::Usn { usn: self.usn, invocation },
        }
    }
}

/// A home: what the Front End and storage do with a batch, and what must hold while they do.
#[derive(Clone, Debug, Default)]
pub(super) struct Home {
    pub(super) accounts: BTreeMap<ObjectId, Account>,
    pub(super) objects: BTreeMap<ObjectId, Object>,
    pub(super) photos: BTreeSet<PhotoDigest>,
    pub(super) local: BTreeSet<SipAddress>,
    pub(super) state: Option<Vec<u8>>,
    pub(super) servers: Vec<String>,
    trusted: Vec<federation::TrustedServer>,
    /// Accounts that could be used, or that a lock alone was before, and cannot any more.
    pub(super) cut_off: Vec<ObjectId>,
    /// When that was, for those to whom nobody agreed.
    cut_off_at: BTreeMap<ObjectId, u64>,
    pub(super) batches: usize,
    /// How many may be cut off in a day: percent of those in use, and users.
    pub(super) limit: Option<(usize, usize)>,
    /// Whom the directory had deleted at the time of the commit.
    deleted: BTreeSet<ObjectId>,
    now_unix_ms: u64,
}

impl Home {
    pub(super) fn apply(&mut self, batch: &Batch) -> Vec<Refused> {
        self.batches += 1;
        let mut refused = Vec::new();
        let is_in_use = |account: &Account| is_in_use(account.account.standing);
        let now = self.now_unix_ms;
        let mut cut_off = 0;
        let mut is_by_acts = true;
        self.cut_off_at
            .retain(|id, at| *at + 24 * 3_600_000 > now && !self.accounts.get(id).is_some_and(is_in_use));
        let of = self.accounts.values().filter(|account| is_in_use(account)).count() + self.cut_off_at.len();
        for object in &batch.removed {
            self.accounts.remove(object);
        }
        // Who is refused keeps what it has, and that may be what another one of the batch was to get.
        let mut kept: BTreeSet<ObjectId> = BTreeSet::new();
        loop {
            let of_batch = |object: &ObjectId| batch.users.iter().any(|user| user.account.object == *object);
            let others =
                self.accounts.iter().filter(|(object, _)| !of_batch(object) || kept.contains(object));
            let owned: BTreeSet<&SipAddress> = others.map(|(_, account)| &account.address).collect();
            let is_free = |user: &&Account| {
                !kept.contains(&user.account.object)
                    && (self.local.contains(&user.address) || owned.contains(&user.address))
            };
            let Some(user) = batch.users.iter().find(is_free) else { break };
            kept.insert(user.account.object);
        }
        for user in &batch.users {
            let object = user.account.object;
            let mut user = user.clone();
            let before = self.accounts.get(&object).cloned();
            let mut refuse = |address: &SipAddress| {
                let whose = if self.local.contains(address) { "a local" } else { "another" };
                let reason = format!("{whose} account has this address");
                refused.push(Refused { object, address: address.clone(), reason });
            };
            if kept.contains(&object) {
                refuse(&user.address);
                match &before {
                    Some(before) => {
                        user.address = before.address.clone();
                        user.aliases.retain(|alias| *alias != before.address);
                    }
                    None => continue,
                }
            }
            let is_kept = |alias: &SipAddress| {
                let mut keepers = kept.iter().filter_map(|keeper| self.accounts.get(keeper));
                keepers.any(|keeper| keeper.address == *alias && keeper.account.object != object)
            };
            user.aliases.retain(|alias| {
                let is_refused = self.local.contains(alias) || is_kept(alias);
                if is_refused {
                    refuse(alias);
                }
                !is_refused
            });
            if before.as_ref().is_some_and(is_in_use) && !is_in_use(&user) {
                self.cut_off.push(object);
                self.cut_off_at.insert(object, now);
                cut_off += 1;
                let is_disabled = user.account.standing == Standing::Disabled;
                is_by_acts &= is_disabled || self.deleted.contains(&object);
            }
            self.accounts.insert(object, user);
        }
        for (digest, octets) in &batch.photos {
            assert_eq!(*digest, crate::mapping::digest(octets), "a photo goes by its digest");
            self.photos.insert(*digest);
        }
        for change in &batch.objects {
            match change {
                ObjectChange::Put(object) => {
                    self.objects.insert(object.id, (**object).clone());
                }
                ObjectChange::Remove(object) => {
                    self.objects.remove(object);
                }
            }
        }
        if let Some(servers) = &batch.servers {
            self.trusted.clone_from(servers);
            self.servers =
                servers.iter().map(|server| format!("{} {}", server.role.name(), server.host)).collect();
        }
        if let Some(state) = &batch.state {
            self.state = Some(state.clone());
        }
        self.check();
        if let Some((percent, users)) = self.limit {
            let gone = self.cut_off_at.len();
            let most = (of * percent / 100).max(users);
            let most = if of < 3 || is_by_acts { most } else { most.min(of / 2) };
            assert!(cut_off == 0 || gone <= most, "{gone} of {of} were cut off in a day");
        } else {
            self.cut_off_at.clear();
        }
        refused
    }

    /// After every commit: an address has one owner, and photos that are shown are there.
    fn check(&self) {
        let mut owners: BTreeMap<&SipAddress, ObjectId> = BTreeMap::new();
        for (object, account) in &self.accounts {
            for address in account.aliases.iter().chain([&account.address]) {
                let other = owners.insert(address, *object);
                assert!(other.is_none(), "{address} is {object}'s and {other:?}'s");
                assert!(!self.local.contains(address), "{address} is a local account's");
            }
        }
        for object in self.objects.values() {
            assert!(
                object.photo.is_none_or(|photo| self.photos.contains(&photo)),
                "{} has no photo",
                object.id
            );
        }
    }

    fn loaded(&self) -> Vec<Loaded> {
        let accounts = self.accounts.values().cloned().collect();
        let objects = self.objects.values().cloned().collect();
        vec![
            Loaded { accounts, ..Loaded::default() },
            Loaded {
                state: self.state.clone(),
                objects,
                servers: self.trusted.clone(),
                is_last: true,
                ..Loaded::default()
            },
        ]
    }

    pub(super) fn account(&self, number: u8) -> &Account {
        &self.accounts[&id(number)]
    }
}

/// What the home does with the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commit {
    Works,
    /// It is not applied, and says so.
    Fails,
    /// It is applied, and says that it failed.
    WorksAndFails,
}

/// All of them.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) replicator: Replicator,
    pub(super) server: Server,
    pub(super) home: Home,
    pub(super) now: Now,
    pub(super) commit: Commit,
    /// What the driver has yet to tell, drawn from the server as it is then.
    telling: VecDeque<Telling>,
    /// What was said, as text.
    pub(super) ladder: String,
    pub(super) answers: BTreeMap<CommandToken, Answer>,
    commands: u64,
}

#[derive(Clone, Debug)]
enum Telling {
    Now(Event),
    Mark,
    Page { ids: Vec<ObjectId>, is_all: bool, is_last: bool },
    Changes { changed: Vec<ObjectId>, deleted: Vec<ObjectId>, watermark: Watermark, is_last: bool },
}

impl World {
    pub(super) fn new(settings: Settings, server: Server) -> World {
        World {
            replicator: Replicator::new(settings.clone()),
            settings,
            server,
            home: Home::default(),
            now: Now { monotonic: Instant(0), wall: UnixMillis(START_UNIX_MS) },
            commit: Commit::Works,
            telling: VecDeque::new(),
            ladder: String::new(),
            answers: BTreeMap::new(),
            commands: 0,
        }
    }

    /// The process ends and begins again.
    pub(super) fn crash(&mut self) {
        self.replicator = Replicator::new(self.settings.clone());
        self.telling.clear();
    }

    pub(super) fn input(&mut self, input: Input) {
        self.replicator.handle(self.now, input);
        while let Some(output) = self.replicator.poll_output() {
            self.carry_out(output);
        }
    }

    /// One step of the driver, or the timer if nothing is under way. Whether there was anything.
    pub(super) fn step(&mut self) -> bool {
        match self.telling.pop_front() {
            Some(telling) => {
                let event = self.tell(telling);
                self.input(Input::Event(event));
                true
            }
            None => match self.replicator.next_deadline() {
                Some(due) if due <= self.now.monotonic => {
                    self.input(Input::Timer);
                    true
                }
                _ => false,
            },
        }
    }

    /// Until nothing is to be done at this time.
    pub(super) fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 100_000, "it never comes to rest");
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now.monotonic + by;
        self.settle();
        while let Some(due) = self.replicator.next_deadline().filter(|due| *due <= end) {
            self.to(due.max(self.now.monotonic));
            self.settle();
        }
        self.to(end);
        self.settle();
    }

    pub(super) fn to(&mut self, instant: Instant) {
        let by = instant.since(self.now.monotonic);
        self.now = Now { monotonic: self.now.monotonic + by, wall: self.now.wall + by };
    }

    pub(super) fn command(&mut self, command: Command) -> CommandToken {
        self.commands += 1;
        let token = CommandToken(self.commands);
        self.input(Input::Command(token, command));
        token
    }

    /// Gives a command and waits.
    pub(super) fn ask(&mut self, command: Command) -> Answer {
        let token = self.command(command);
        self.settle();
        self.answers.remove(&token).expect("every command is answered")
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Load => {
                for loaded in self.home.loaded() {
                    self.input(Input::Loaded(loaded));
                }
            }
            Output::Task(task) => self.task(task),
            Output::Commit(batch) => self.do_commit(&batch),
            Output::Log(line) => {
                let fields: Vec<String> =
                    line.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let parts = [line.event, &line.reason, &fields.join(" ")];
                let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                writeln!(self.ladder, "log {}", parts.join(" ")).unwrap();
            }
            Output::Progress(_) => {}
            Output::Answer(token, answer) => {
                assert!(self.answers.insert(token, answer).is_none(), "a command is answered once");
            }
        }
    }

    fn do_commit(&mut self, batch: &Batch) {
        self.ladder.push_str("commits\n");
        for user in &batch.users {
            let aliases: Vec<&str> = user.aliases.iter().map(SipAddress::as_str).collect();
            let aliases =
                if aliases.is_empty() { String::new() } else { format!(" (also {})", aliases.join(" ")) };
            let standing = user.account.standing.name();
            let new = if self.home.accounts.contains_key(&user.account.object) { "" } else { "+" };
            writeln!(self.ladder, "  {new}account {} {standing}{aliases}", user.address).unwrap();
        }
        for object in &batch.removed {
            writeln!(self.ladder, "  -account {object}").unwrap();
        }
        for change in &batch.objects {
            match change {
                ObjectChange::Put(object) => {
                    let hidden = if object.is_hidden { " hidden" } else { "" };
                    let kind = format!("{:?}", object.kind).to_lowercase();
                    writeln!(self.ladder, "  object {kind} {:?}{hidden}", object.card.display_name).unwrap();
                }
                ObjectChange::Remove(object) => writeln!(self.ladder, "  -object {object}").unwrap(),
            }
        }
        let commit = std::mem::replace(&mut self.commit, Commit::Works);
        if commit == Commit::Fails {
            return self.input(Input::CommitFailed("the disk is full".to_owned()));
        }
        self.home.now_unix_ms = self.now.wall.0;
        self.home.deleted = self.server.deleted.keys().copied().collect();
        let refused = self.home.apply(batch);
        for refused in &refused {
            writeln!(self.ladder, "  refused {}", refused.address).unwrap();
        }
        match commit {
            Commit::WorksAndFails => self.input(Input::CommitFailed("the answer was lost".to_owned())),
            _ => self.input(Input::Committed { refused }),
        }
    }

    fn task(&mut self, task: Task) {
        assert!(self.telling.is_empty(), "one task at a time");
        if !self.server.is_up {
            let text = format!("{} does not answer", self.server.host);
            self.telling
                .push_back(Telling::Now(Event::Failed(Failure { kind: FailureKind::Unreachable, text })));
            return;
        }
        match task {
            Task::Connect(_) => {
                self.server.visited.insert(self.server.host.clone());
                self.telling.push_back(Telling::Now(Event::Connected(Box::new(self.server.facts()))));
            }
            Task::Mark(_) => {
                writeln!(self.ladder, "reads everything").unwrap();
                self.telling.push_back(Telling::Mark);
            }
            Task::ReadAll(_) => {
                let overlooked = &self.server.overlooked;
                let ids = self.server.things.keys().copied().filter(|id| !overlooked.contains(id));
                let ids: Vec<ObjectId> = ids.collect();
                self.pages(&ids, self.server.page, true);
            }
            Task::ReadEntries { ids, .. } => {
                let names: Vec<String> = ids.iter().map(|id| id.0[15].to_string()).collect();
                writeln!(self.ladder, "reads {}", names.join(" ")).unwrap();
                self.pages(&ids, self.server.page, false);
            }
            Task::ReadChanges { since, .. } => self.changes(&since),
        }
    }

    fn pages(&mut self, ids: &[ObjectId], page: usize, is_all: bool) {
        let pages: Vec<Vec<ObjectId>> = ids.chunks(page).map(<[ObjectId]>::to_vec).collect();
        let count = pages.len();
        for (place, ids) in pages.into_iter().enumerate() {
            self.telling.push_back(Telling::Page { ids, is_all, is_last: place + 1 == count });
        }
        if count == 0 {
            self.telling.push_back(Telling::Page { ids: Vec::new(), is_all, is_last: true });
        }
    }

    fn changes(&mut self, since: &Watermark) {
        let since = match since {
            Watermark::DirSync { cookie, .. } => u64::from_be_bytes(cookie.as_slice().try_into().unwrap()),
            Watermark::Usn { usn, .. } => *usn,
            Watermark::Stamp { .. } => unreachable!("the model has none"),
        };
        let after = |things: &BTreeMap<ObjectId, (Thing, u64)>| {
            things.iter().filter(|(_, (_, usn))| *usn > since).map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let mut changed = after(&self.server.things);
        let deleted = after(&self.server.deleted);
        if self.server.fault == Fault::LosesChanges {
            changed.pop();
        }
        let watermark = self.server.watermark();
        // The last comes first: the order must not matter, nor that something comes twice.
        let mut again = changed.clone();
        again.reverse();
        again.truncate(1);
        let (first, is_last) =
            (Telling::Changes { changed, deleted, watermark: watermark.clone(), is_last: false }, true);
        self.telling.push_back(first);
        self.telling.push_back(Telling::Changes { changed: again, deleted: Vec::new(), watermark, is_last });
    }

    fn tell(&mut self, telling: Telling) -> Event {
        match telling {
            Telling::Now(event) => event,
            Telling::Mark => {
                let mut watermark = self.server.watermark();
                if self.server.fault == Fault::MarksLate {
                    // So late that all that happens while everything is read is taken for read.
                    watermark = match watermark {
                        Watermark::Usn { invocation, .. } => {
                            Watermark::Usn { usn: self.server.usn + 20, invocation }
                        }
                        Watermark::DirSync { invocation, host, usn, .. } => {
                            let cookie = (self.server.usn + 20).to_be_bytes().to_vec();
                            Watermark::DirSync { cookie, invocation, host, usn }
                        }
                        other => other,
                    };
                }
                Event::Marked(watermark)
            }
            Telling::Page { ids, is_all, is_last } => {
                let mut entries: Vec<Entry> =
                    ids.iter().rev().filter_map(|id| self.server.entry(*id)).collect();
                if is_all {
                    // What is computed is asked for by name alone.
                    entries.iter_mut().for_each(|entry| drop(entry.attributes.remove(LOCK_STATE)));
                }
                Event::Entries { entries, is_last }
            }
            Telling::Changes { changed, deleted, watermark, is_last } => {
                Event::Changes { changed, deleted, watermark, is_last }
            }
        }
    }

    /// The connection breaks now, whatever is under way.
    pub(super) fn cut(&mut self) {
        self.telling.clear();
        let text = "the connection broke".to_owned();
        let failure = Failure { kind: FailureKind::Unreachable, text };
        self.input(Input::Event(Event::Failed(failure)));
    }

    /// What was said since the last time.
    pub(super) fn said(&mut self) -> String {
        std::mem::take(&mut self.ladder)
    }

    pub(super) fn names(&self, kind: ObjectKind) -> Vec<&str> {
        let of_kind = self.home.objects.values().filter(|object| object.kind == kind);
        of_kind.map(|object| object.card.display_name.as_str()).collect()
    }
}
