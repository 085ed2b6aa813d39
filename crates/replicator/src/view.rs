//! What the directory has, as it was read last: entries, where they are, who is in which group.
//!
//! Memory: an entry is kept packed (what is shown of it as JSON, without photo), its names as digests. With 20,000 people this is some
//! 30 MB; `examples/full.rs` measures it.

use std::collections::{BTreeMap, BTreeSet};

use directory::{Object, ObjectId, ObjectKind, PhotoDigest, SipAddress};
use directory_source::{Dn, Entry};
use federation::ServerRole;
use sha2::{Digest, Sha256};

use crate::mapping::{self, Claim, Gates, Mapped};
use crate::report::{FindingKind, Totals};
use crate::settings::{PolicyGroups, Settings};

/// Most entries that are followed. Five times the largest organisation that this server is built for (100,000 people); beyond it memory
/// would go, not service.
pub const ENTRIES_MAX: usize = 500_000;

/// A name of an entry, as the first half of its SHA-256: all names of all entries are kept, and they are long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key([u8; 16]);

impl Key {
    pub(crate) fn of_dn(dn: &Dn) -> Key {
        Key::of(b'd', dn.as_str())
    }

    /// Of an account name.
    pub(crate) fn of_name(name: &str) -> Key {
        Key::of(b'n', &name.to_lowercase())
    }

    /// Of a principal name, `alice@corp.example`.
    pub(crate) fn of_principal(name: &str) -> Key {
        Key::of(b'p', &name.to_lowercase())
    }

    /// Of what stands before the @ of a principal name.
    fn of_user_part(principal: &str) -> Key {
        Key::of(b'u', &principal.rsplit_once('@').map_or(principal, |(user, _)| user).to_lowercase())
    }

    pub(crate) fn of_address(address: &SipAddress) -> Key {
        Key::of(b'a', address.as_str())
    }

    fn of(kind: u8, text: &str) -> Key {
        let digest = Sha256::new_with_prefix([kind]).chain_update(text).finalize();
        Key(*digest.first_chunk().expect("SHA-256 has 32 octets"))
    }
}

/// How one entry names another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    /// For good.
    Id(ObjectId),
    /// Whoever is at a place.
    Place(Key),
    /// Whoever has an account name.
    Name(Key),
}

/// Who goes by which names; several may by one.
#[derive(Debug, Default)]
pub(crate) struct Index(BTreeSet<(Key, ObjectId)>);

impl Index {
    pub(crate) fn insert(&mut self, key: Key, id: ObjectId) {
        self.0.insert((key, id));
    }

    pub(crate) fn remove(&mut self, key: Key, id: ObjectId) {
        self.0.remove(&(key, id));
    }

    /// In order of their ids.
    pub(crate) fn of(&self, key: Key) -> impl Iterator<Item = ObjectId> + '_ {
        self.0.range((key, ObjectId([0; 16]))..=(key, ObjectId([0xff; 16]))).map(|(_, id)| *id)
    }

    /// Whether nobody else goes by that name.
    pub(crate) fn is_only(&self, key: Key, id: ObjectId) -> bool {
        self.of(key).all(|other| other == id)
    }
}

/// What a group of the configuration decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Policy {
    Enabled,
    Federation,
    RemoteAccess,
    Calls,
    Administrators,
    Server(ServerRole),
}

impl Policy {
    fn setting(self) -> String {
        match self {
            Policy::Enabled => "enabled".to_owned(),
            Policy::Federation => "federation".to_owned(),
            Policy::RemoteAccess => "remote_access".to_owned(),
            Policy::Calls => "calls".to_owned(),
            Policy::Administrators => "administrators".to_owned(),
            Policy::Server(role) => format!("servers.{}", role.name()),
        }
    }

    fn bit(self) -> u16 {
        let place = match self {
            Policy::Enabled => 0,
            Policy::Federation => 1,
            Policy::RemoteAccess => 2,
            Policy::Calls => 3,
            Policy::Administrators => 4,
            Policy::Server(role) => {
                5 + ServerRole::ALL.iter().position(|other| *other == role).expect("all roles are in ALL")
            }
        };
        1 << place
    }
}

/// What a policy's groups say of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Yes,
    No,
    /// No group is configured.
    Free,
    /// The group is not there, and never was while we looked.
    Unknown,
}

/// An entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// As the server writes it.
    pub(crate) dn: Box<str>,
    pub(crate) kind: ObjectKind,
    pub(crate) is_account: bool,
    /// [`Mapped::object`].
    body: Box<[u8]>,
    /// With its size in octets.
    pub(crate) photo: Option<(PhotoDigest, u32)>,
    pub(crate) claim: Option<Claim>,
    pub(crate) secondaries: Box<[SipAddress]>,
    pub(crate) foreign: Option<SipAddress>,
    manager: Option<Link>,
    members: Box<[Link]>,
    rid: Option<u32>,
    primary_group: Option<u32>,
    pub(crate) account_name: Box<str>,
    pub(crate) principal: Box<str>,
    pub(crate) gates: Gates,
    place: Option<Key>,
}

impl Item {
    /// What the entry shows, without address, manager and members.
    pub(crate) fn object(&self) -> Object {
        serde_json::from_slice(&self.body).expect("it was packed here")
    }

    /// Whether it names somebody as member or manager, for good.
    pub(crate) fn names(&self, id: ObjectId) -> bool {
        self.manager.iter().chain(&*self.members).any(|link| *link == Link::Id(id))
    }
}

fn pack(object: &Object) -> Box<[u8]> {
    serde_json::to_vec(object).expect("an object is writable as JSON").into()
}

/// What the directory has.
#[derive(Debug)]
pub(crate) struct View {
    items: BTreeMap<ObjectId, Item>,
    /// What of an entry could not be used.
    pub(crate) findings: BTreeMap<ObjectId, Box<[FindingKind]>>,
    places: BTreeMap<Key, ObjectId>,
    /// Account names, principal names, claimed and further addresses.
    index: Index,
    rids: BTreeMap<u32, ObjectId>,
    /// Policies with the groups that decide them.
    policies: Vec<(Policy, Dn)>,
    /// Where a policy's group was found last, so that it may be renamed.
    pub(crate) groups: BTreeMap<String, ObjectId>,
    memberships: BTreeMap<ObjectId, u16>,
    /// Policies whose group is not there; and those of them of which nothing is known.
    missing: u16,
    unknown: u16,
    /// Entries whose wishes may have changed since [`View::settle`].
    touched: BTreeSet<ObjectId>,
    /// Names by which somebody else, or nobody, goes since then.
    turned: BTreeSet<Link>,
    is_graph_changed: bool,
    /// Who was seen since [`View::begin_full`].
    seen: Option<BTreeSet<ObjectId>>,
}

impl View {
    pub(crate) fn new(groups: &PolicyGroups) -> View {
        let PolicyGroups { enabled, federation, remote_access, calls, administrators, servers } = groups;
        let mut policies = Vec::new();
        for (policy, group) in [
            (Policy::Enabled, enabled),
            (Policy::Federation, federation),
            (Policy::RemoteAccess, remote_access),
            (Policy::Calls, calls),
            (Policy::Administrators, administrators),
        ] {
            policies.extend(group.iter().map(|dn| (policy, dn.clone())));
        }
        policies.extend(servers.iter().map(|(role, dn)| (Policy::Server(*role), dn.clone())));
        let unknown = policies.iter().fold(0, |bits, (policy, _)| bits | policy.bit());
        View {
            items: BTreeMap::new(),
            findings: BTreeMap::new(),
            places: BTreeMap::new(),
            index: Index::default(),
            rids: BTreeMap::new(),
            policies,
            groups: BTreeMap::new(),
            memberships: BTreeMap::new(),
            missing: unknown,
            unknown,
            touched: BTreeSet::new(),
            turned: BTreeSet::new(),
            is_graph_changed: true,
            seen: None,
        }
    }

    /// Forgets everything: another domain was accepted.
    pub(crate) fn clear(&mut self, groups: &PolicyGroups) {
        *self = View::new(groups);
    }

    /// Begins to note who is seen.
    pub(crate) fn begin_full(&mut self) {
        self.seen = Some(BTreeSet::new());
    }

    /// Who was not seen since [`View::begin_full`].
    pub(crate) fn unseen(&mut self) -> Vec<ObjectId> {
        let seen = self.seen.take().unwrap_or_default();
        self.items.keys().filter(|id| !seen.contains(id)).copied().collect()
    }

    /// Takes in an entry as it is now. Gives its photo, if it has one.
    pub(crate) fn put(&mut self, settings: &Settings, entry: &Entry) -> Option<(PhotoDigest, Vec<u8>)> {
        let Some(mut mapped) = mapping::read(settings, entry) else {
            self.remove(entry.id);
            return None;
        };
        if let Some(seen) = &mut self.seen {
            seen.insert(entry.id);
        }
        let photo = mapped.object.photo.zip(mapped.photo.take());
        let place = match Dn::parse(&entry.dn) {
            Ok(dn) => Some(Key::of_dn(&dn)),
            Err(_) => {
                mapped.findings.push(FindingKind::Malformed {
                    attribute: "dn".to_owned(),
                    value: entry.dn.chars().take(80).collect(),
                });
                None
            }
        };
        let photo_octets = photo.as_ref().map_or(0, |(_, octets)| octets.len());
        let photo_octets = u32::try_from(photo_octets).expect("photos are bounded");
        self.note_findings(entry.id, std::mem::take(&mut mapped.findings));
        self.put_item(entry.id, item(mapped, &entry.dn, place, photo_octets));
        photo
    }

    fn note_findings(&mut self, id: ObjectId, findings: Vec<FindingKind>) {
        if findings.is_empty() {
            self.findings.remove(&id);
        } else {
            self.findings.insert(id, findings.into());
        }
    }

    fn put_item(&mut self, id: ObjectId, item: Item) {
        let was = self.items.remove(&id);
        if was.as_ref() == Some(&item) {
            self.items.insert(id, item);
            return;
        }
        self.touched.insert(id);
        let is_same_graph = was.as_ref().is_some_and(|was| {
            was.members == item.members
                && was.kind == item.kind
                && was.rid == item.rid
                && was.primary_group == item.primary_group
                && was.place == item.place
                && was.account_name == item.account_name
        });
        if !is_same_graph {
            self.is_graph_changed = true;
            self.turn(id, was.as_ref());
            self.turn(id, Some(&item));
        }
        if let Some(was) = &was {
            self.unindex(id, was);
        }
        self.index(id, &item);
        self.items.insert(id, item);
    }

    pub(crate) fn remove(&mut self, id: ObjectId) {
        self.findings.remove(&id);
        let Some(was) = self.items.remove(&id) else { return };
        self.touched.insert(id);
        self.is_graph_changed = true;
        self.turn(id, Some(&was));
        self.unindex(id, &was);
    }

    fn turn(&mut self, id: ObjectId, item: Option<&Item>) {
        let Some(item) = item else { return };
        self.turned.insert(Link::Id(id));
        self.turned.extend(item.place.map(Link::Place));
        self.turned.insert(Link::Name(Key::of_name(&item.account_name)));
    }

    fn keys(item: &Item) -> Vec<Key> {
        let mut keys = Vec::new();
        if item.is_account && !item.account_name.is_empty() {
            keys.push(Key::of_name(&item.account_name));
        }
        if item.is_account && !item.principal.is_empty() {
            keys.push(Key::of_principal(&item.principal));
            keys.push(Key::of_user_part(&item.principal));
        }
        keys.extend(item.claim.iter().map(|claim| Key::of_address(&claim.address)));
        keys.extend(item.secondaries.iter().map(Key::of_address));
        keys
    }

    fn index(&mut self, id: ObjectId, item: &Item) {
        for key in View::keys(item) {
            self.touched.extend(self.index.of(key));
            self.index.insert(key, id);
        }
        // Whose principal name says what an account name implies.
        self.touched.extend(self.index.of(Key::of_user_part(&item.account_name)));
        if let Some(place) = item.place {
            self.places.insert(place, id);
        }
        if let Some(rid) = item.rid {
            self.rids.insert(rid, id);
        }
    }

    fn unindex(&mut self, id: ObjectId, item: &Item) {
        for key in View::keys(item) {
            self.index.remove(key, id);
            self.touched.extend(self.index.of(key));
        }
        self.touched.extend(self.index.of(Key::of_user_part(&item.account_name)));
        // Somebody else may have come to its place since.
        if let Some(place) = item.place.filter(|place| self.places.get(place) == Some(&id)) {
            self.places.remove(&place);
        }
        if let Some(rid) = item.rid.filter(|rid| self.rids.get(rid) == Some(&id)) {
            self.rids.remove(&rid);
        }
    }

    /// Computes what follows from what was read, and gives everybody whose wishes may be others than before.
    pub(crate) fn settle(&mut self) -> BTreeSet<ObjectId> {
        if !self.turned.is_empty() {
            let turned = std::mem::take(&mut self.turned);
            for (id, item) in &self.items {
                if item.manager.iter().chain(&*item.members).any(|link| turned.contains(link)) {
                    self.touched.insert(*id);
                }
            }
        }
        if std::mem::take(&mut self.is_graph_changed) {
            self.judge_memberships();
        }
        std::mem::take(&mut self.touched)
    }

    fn judge_memberships(&mut self) {
        let mut memberships: BTreeMap<ObjectId, u16> = BTreeMap::new();
        let by_primary_group = self.by_primary_group();
        let unknown_before = self.unknown;
        self.missing = 0;
        for (policy, dn) in &self.policies {
            let bit = policy.bit();
            let at_place = self.places.get(&Key::of_dn(dn)).copied();
            let remembered = self.groups.get(dn.as_str()).copied();
            let is_group =
                |id: &ObjectId| self.items.get(id).is_some_and(|item| item.kind == ObjectKind::Group);
            match at_place.filter(is_group).or(remembered.filter(is_group)) {
                Some(group) => {
                    self.groups.insert(dn.as_str().to_owned(), group);
                    self.unknown &= !bit;
                    for member in self.all_members(group, &by_primary_group) {
                        *memberships.entry(member).or_default() |= bit;
                    }
                }
                None => {
                    self.missing |= bit;
                    for (id, bits) in self.memberships.iter().filter(|(_, bits)| **bits & bit != 0) {
                        *memberships.entry(*id).or_default() |= bits & bit;
                    }
                }
            }
        }
        if self.unknown != unknown_before {
            self.touched.extend(self.items.keys());
        }
        let before = std::mem::replace(&mut self.memberships, memberships);
        let after = &self.memberships;
        let differs = |id: &&ObjectId| before.get(id) != after.get(id);
        self.touched.extend(before.keys().chain(after.keys()).filter(differs));
    }

    fn by_primary_group(&self) -> BTreeMap<ObjectId, Vec<ObjectId>> {
        let mut members: BTreeMap<ObjectId, Vec<ObjectId>> = BTreeMap::new();
        if self.policies.is_empty() {
            return members;
        }
        for (id, item) in &self.items {
            if let Some(group) = item.primary_group.and_then(|rid| self.rids.get(&rid)) {
                members.entry(*group).or_default().push(*id);
            }
        }
        members
    }

    /// Everybody in a group and in the groups in it, each of which is looked into once, however they contain each other.
    fn all_members(
        &self,
        group: ObjectId,
        primary: &BTreeMap<ObjectId, Vec<ObjectId>>,
    ) -> BTreeSet<ObjectId> {
        let mut members = BTreeSet::new();
        let mut looked = BTreeSet::from([group]);
        let mut ahead = vec![group];
        while let Some(group) = ahead.pop() {
            let direct = self.items.get(&group).map_or(&[][..], |item| &item.members);
            let direct = direct.iter().filter_map(|link| self.resolve(*link));
            for member in direct.chain(primary.get(&group).into_iter().flatten().copied()) {
                let Some(item) = self.items.get(&member) else { continue };
                if item.kind != ObjectKind::Group {
                    members.insert(member);
                } else if looked.insert(member) {
                    ahead.push(member);
                }
            }
        }
        members
    }

    /// Who is meant, where it is there.
    pub(crate) fn resolve(&self, link: Link) -> Option<ObjectId> {
        let id = match link {
            Link::Id(id) => id,
            Link::Place(place) => *self.places.get(&place)?,
            Link::Name(name) => {
                let mut named = self.index.of(name);
                let first = named.next()?;
                return if named.next().is_none() { Some(first) } else { None };
            }
        };
        self.items.contains_key(&id).then_some(id)
    }

    pub(crate) fn manager(&self, item: &Item) -> Option<ObjectId> {
        item.manager.and_then(|link| self.resolve(link))
    }

    /// In order.
    pub(crate) fn members(&self, item: &Item) -> Vec<ObjectId> {
        let members: BTreeSet<ObjectId> =
            item.members.iter().filter_map(|link| self.resolve(*link)).collect();
        members.into_iter().collect()
    }

    /// What the policy's group says of somebody.
    pub(crate) fn says(&self, policy: Policy, id: ObjectId) -> Say {
        let bit = policy.bit();
        if !self.policies.iter().any(|(other, _)| *other == policy) {
            Say::Free
        } else if self.unknown & bit != 0 {
            Say::Unknown
        } else if self.memberships.get(&id).is_some_and(|bits| bits & bit != 0) {
            Say::Yes
        } else {
            Say::No
        }
    }

    /// Settings and names of groups that are not there.
    pub(crate) fn missing_groups(&self) -> impl Iterator<Item = (String, &Dn)> {
        let missing = self.policies.iter().filter(|(policy, _)| self.missing & policy.bit() != 0);
        missing.map(|(policy, dn)| (policy.setting(), dn))
    }

    /// Whether a group that lists servers is not there.
    pub(crate) fn is_missing_servers(&self) -> bool {
        let mut servers = self.policies.iter().filter(|(policy, _)| matches!(policy, Policy::Server(_)));
        servers.any(|(policy, _)| self.missing & policy.bit() != 0)
    }

    pub(crate) fn get(&self, id: ObjectId) -> Option<&Item> {
        self.items.get(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.items.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Who has this among its names.
    pub(crate) fn named(&self, key: Key) -> impl Iterator<Item = ObjectId> + '_ {
        self.index.of(key)
    }

    pub(crate) fn is_only_one_named(&self, key: Key, id: ObjectId) -> bool {
        self.index.is_only(key, id)
    }

    /// All but the accounts.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (id, item) in &self.items {
            match item.kind {
                ObjectKind::Person => totals.persons += 1,
                ObjectKind::Contact => totals.contacts += 1,
                ObjectKind::Group => totals.groups += 1,
                ObjectKind::Room => totals.rooms += 1,
                ObjectKind::Equipment => totals.equipment += 1,
                ObjectKind::Server => {
                    let is = |role: &ServerRole| self.says(Policy::Server(*role), *id) == Say::Yes;
                    totals.servers += usize::from(ServerRole::ALL.iter().any(is));
                }
            }
        }
        totals
    }
}

fn item(mapped: Mapped, dn: &str, place: Option<Key>, photo_octets: u32) -> Item {
    Item {
        dn: dn.into(),
        kind: mapped.object.kind,
        is_account: mapped.is_account,
        body: pack(&mapped.object),
        photo: mapped.object.photo.map(|digest| (digest, photo_octets)),
        claim: mapped.claim,
        secondaries: mapped.secondaries.into(),
        foreign: mapped.foreign,
        manager: mapped.manager,
        members: mapped.members.into(),
        rid: mapped.rid,
        primary_group: mapped.primary_group,
        account_name: mapped.account_name.into(),
        principal: mapped.principal.into(),
        gates: mapped.gates,
        place,
    }
}
