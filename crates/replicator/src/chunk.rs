//! A commit: part of a plan, with what will be known when the home has taken it.

use std::collections::BTreeMap;

use directory::{ObjectId, PhotoDigest};
use records::ObjectChange;

use crate::io::{Batch, CHUNK_USERS_MAX};
use crate::known::{Fingerprint, KnownAccount, KnownObject};
use crate::plan::{Plan, Sight};

/// Photos in one commit, in octets: what is in memory twice for a moment.
const CHUNK_PHOTO_OCTETS_MAX: usize = 8 * 1024 * 1024;
/// Photos that are kept from reading an entry to committing it, in octets. What does not fit is read again; so the first reading of
/// a directory full of photos needs no more memory than this.
const PHOTOS_KEPT_OCTETS_MAX: usize = 16 * 1024 * 1024;

/// Part of a plan.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) ids: Vec<ObjectId>,
    pub(crate) batch: Batch,
    pub(crate) accounts: Vec<(ObjectId, Option<KnownAccount>)>,
    pub(crate) objects: BTreeMap<ObjectId, Option<KnownObject>>,
    /// Photos that the home needs and that must be read again, by whose they are.
    pub(crate) wanted: BTreeMap<ObjectId, PhotoDigest>,
    /// Who must be looked at again afterwards.
    pub(crate) unfinished: Vec<ObjectId>,
}

impl Chunk {
    /// The part of the plan from `from` on.
    pub(crate) fn build(sight: &Sight<'_>, plan: &Plan, from: usize, photos: &Photos) -> Chunk {
        let mut chunk = Chunk::default();
        let mut photo_octets = 0;
        for (place, id) in plan.ids.iter().enumerate().skip(from) {
            if place >= plan.together
                && (chunk.ids.len() >= CHUNK_USERS_MAX || photo_octets >= CHUNK_PHOTO_OCTETS_MAX)
            {
                break;
            }
            photo_octets += chunk.add(sight, plan, *id, photos);
        }
        chunk
    }

    /// Gives the octets of its photo.
    fn add(&mut self, sight: &Sight<'_>, plan: &Plan, id: ObjectId, photos: &Photos) -> usize {
        self.ids.push(id);
        if plan.removed.contains(&id) {
            self.batch.removed.push(id);
            self.accounts.push((id, None));
            if sight.known.object(id).is_some() {
                self.batch.objects.push(ObjectChange::Remove(id));
                self.objects.insert(id, None);
            }
            return 0;
        }
        let wish = sight.wish(id, &plan.assigned);
        if let Some(account) = wish.account {
            let is_same = sight
                .known
                .account(id)
                .is_some_and(|known| known.fingerprint == Fingerprint::of_account(&account));
            if !is_same {
                self.accounts.push((id, Some(KnownAccount::new(&account))));
                self.batch.users.push(account);
            }
        }
        let known = sight.known.object(id);
        let Some(object) = wish.object else {
            if known.is_some() {
                self.batch.objects.push(ObjectChange::Remove(id));
                self.objects.insert(id, None);
            }
            return 0;
        };
        let after = KnownObject::new(&object);
        if known.is_some_and(|known| known.fingerprint == after.fingerprint) {
            return 0;
        }
        self.objects.insert(id, Some(after));
        let mut octets = 0;
        if let Some(photo) = object.photo.filter(|photo| !sight.known.has_photo(*photo)) {
            octets = self.add_photo(id, photo, photos);
            if octets == 0 {
                let size = sight.view.get(id).and_then(|item| item.photo).map_or(0, |(_, size)| size);
                octets = usize::try_from(size).expect("a size of ours fits");
            }
        }
        self.batch.objects.push(ObjectChange::Put(Box::new(object)));
        octets
    }

    fn add_photo(&mut self, id: ObjectId, photo: PhotoDigest, photos: &Photos) -> usize {
        if self.batch.photos.iter().any(|(other, _)| *other == photo) {
            return 0;
        }
        match photos.0.get(&photo) {
            Some(octets) => {
                self.batch.photos.push((photo, octets.clone()));
                octets.len()
            }
            None => {
                self.wanted.insert(id, photo);
                0
            }
        }
    }

    /// Leaves an object out: it comes with a later batch.
    pub(crate) fn leave_out(&mut self, id: ObjectId) {
        let is_it = |change: &ObjectChange| match change {
            ObjectChange::Put(object) => object.id == id,
            ObjectChange::Remove(other) => *other == id,
        };
        self.batch.objects.retain(|change| !is_it(change));
        self.objects.remove(&id);
        self.wanted.remove(&id);
        self.unfinished.push(id);
    }
}

/// Photos on their way from reading to committing.
#[derive(Debug, Default)]
pub(crate) struct Photos(BTreeMap<PhotoDigest, Vec<u8>>, usize);

impl Photos {
    /// Keeps it, if there is room.
    pub(crate) fn keep(&mut self, photo: PhotoDigest, octets: Vec<u8>) {
        if self.1 + octets.len() <= PHOTOS_KEPT_OCTETS_MAX && !self.0.contains_key(&photo) {
            self.1 += octets.len();
            self.0.insert(photo, octets);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Photos::default();
    }
}
