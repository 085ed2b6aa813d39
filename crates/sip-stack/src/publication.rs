//! Publications of event state: the compositor's table (RFC 3903 §6).
//!
//! [`Publications`] knows which publications each resource has, under which entity tag, and until when. It knows no event
//! package: who may publish is its caller's matter, and what a publication says is the caller's `T`, parsed once and never
//! kept as octets. Whoever owns a publication (a device, a flow) stands in `T` as well.
//!
//! # A publication's life
//!
//! 1. [`Publish::read`] takes the facts out of a PUBLISH. The caller decides on package and permission.
//! 2. [`Publications::handle_publish`] begins, refreshes, modifies or removes a publication, and says what the 200 must say: a new
//!    entity tag each time (RFC 3903 §6 step 7). The body is parsed only when nothing else stands against the request.
//! 3. It ends when it is removed, by the publisher or by the caller ([`Publications::remove`]), or by itself:
//!    [`Publications::poll_ended`] tells those that ran out.
//!
//! A tag is drawn, so that nobody can modify what somebody else published; and never given twice, so that a publisher that missed an
//! answer is told 412 and publishes anew. A [`PublicationId`] names the publication throughout its life.

mod publish;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use node::Instant;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use smallvec::SmallVec;

use crate::dialog::Refusal;
use crate::timer::{TimerId, Timers};

pub use publish::Publish;

/// Names a publication, whatever its tag is by now; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicationId(u64);

/// An entity tag (RFC 3903 §8.2): 128 bits that were drawn. Its text is SIP-ETag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityTag(u128);

impl EntityTag {
    /// `None` for a text that is no tag of ours.
    fn parse(text: &str) -> Option<EntityTag> {
        let tag = EntityTag(u128::from_str_radix(text, 16).ok()?);
        (tag.to_string() == text).then_some(tag)
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Publications altogether; beyond it 503.
    pub publications_max: usize,
    /// Publications of one resource. A further one displaces the one that would run out first: that is what a device left
    /// behind that forgot its tag, again and again, and it harms its own user alone.
    pub per_resource_max: usize,
}

/// What an event package allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Duration where the PUBLISH names none, in seconds.
    pub expires_seconds_default: u32,
    /// Shortest duration but 0, in seconds; below it 423.
    pub expires_seconds_min: u32,
    /// Longest duration, in seconds; more is cut to it.
    pub expires_seconds_max: u32,
}

/// What a 200 to a PUBLISH must say, and what the PUBLISH did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which publication; void after [`Step::Removed`].
    pub id: PublicationId,
    /// SIP-ETag.
    pub tag: EntityTag,
    /// Expires, in seconds.
    pub expires_seconds: u32,
    /// What was done.
    pub step: Step,
}

/// RFC 3903 §4, Table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A publication began.
    Began,
    /// It lives longer; it says what it said.
    Refreshed,
    /// It says something else.
    Modified,
    /// It is gone.
    Removed,
}

/// A publication that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended<T> {
    /// Which; void by now.
    pub id: PublicationId,
    /// Whose it was.
    pub resource: Arc<str>,
    /// What it said.
    pub state: T,
    /// Why.
    pub reason: EndReason,
}

/// Why a publication ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Nobody refreshed it.
    Expired,
    /// See [`Limits::per_resource_max`].
    Displaced,
}

/// What a PUBLISH is told that found the table full: long enough to spread a storm.
const RETRY_AFTER_SECONDS: u32 = 60;
/// Publications of a resource that are listed without an allocation: a person's devices that are on at a time.
const PER_RESOURCE_INLINE: usize = 2;

struct Publication<T> {
    resource: Arc<str>,
    tag: EntityTag,
    expires: Instant,
    timer: TimerId,
    state: T,
}

/// The table. See the module's text.
pub struct Publications<T> {
    limits: Limits,
    rng: ChaCha8Rng,
    next: u64,
    publications: HashMap<PublicationId, Publication<T>, FixedState>,
    by_tag: HashMap<EntityTag, PublicationId, FixedState>,
    /// Oldest first.
    by_resource: HashMap<Arc<str>, SmallVec<[PublicationId; PER_RESOURCE_INLINE]>, FixedState>,
    timers: Timers<PublicationId>,
    ended: VecDeque<Ended<T>>,
}

impl<T> Publications<T> {
    /// An empty table. `seed` draws entity tags.
    pub fn new(seed: [u8; 32], limits: Limits) -> Publications<T> {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let hasher = FixedState::with_seed(rng.random());
        Publications {
            limits,
            rng,
            next: 0,
            publications: HashMap::with_hasher(hasher.clone()),
            by_tag: HashMap::with_hasher(hasher.clone()),
            by_resource: HashMap::with_hasher(hasher),
            timers: Timers::new(),
            ended: VecDeque::new(),
        }
    }

    /// Feeds a PUBLISH that the caller permits (RFC 3903 §6 steps 4 to 7). `parse` gets its body, where there is one and no other
    /// reason to refuse it. What is refused changes nothing.
    pub fn handle_publish<E: From<Refusal>>(
        &mut self,
        now: Instant,
        publish: &Publish<'_>,
        resource: &str,
        policy: &Policy,
        parse: impl FnOnce(&Publish<'_>) -> Result<T, E>,
    ) -> Result<Published, E> {
        let known = match publish.if_match {
            Some(tag) => Some(self.matching(tag, resource)?),
            None => None,
        };
        let (default, min) = (policy.expires_seconds_default, policy.expires_seconds_min);
        let wanted = publish.expires_seconds;
        let expires_seconds = crate::dialog::granted(wanted, default, min, policy.expires_seconds_max)?;
        let expires = now + Duration::from_secs(u64::from(expires_seconds));
        match known {
            Some(id) if expires_seconds == 0 => {
                self.remove(id);
                Ok(Published { id, tag: self.draw(), expires_seconds, step: Step::Removed })
            }
            Some(id) => {
                let state = publish.body.is_some().then(|| parse(publish)).transpose()?;
                let step = if state.is_some() { Step::Modified } else { Step::Refreshed };
                let tag = self.renew(id, expires, state);
                Ok(Published { id, tag, expires_seconds, step })
            }
            None => {
                if publish.body.is_none() {
                    return Err(Refusal::new(400, "a first publication has a body").into());
                }
                self.room_for_one(resource)?;
                let state = parse(publish)?;
                let (id, tag) = self.begin(resource, expires, state);
                if expires_seconds == 0 {
                    // Said and unsaid at once; its tag is spent.
                    self.remove(id);
                    return Ok(Published { id, tag, expires_seconds, step: Step::Removed });
                }
                self.displace_beyond_limit(resource);
                Ok(Published { id, tag, expires_seconds, step: Step::Began })
            }
        }
    }

    /// Lets time pass: ends what ran out.
    pub fn handle_timer(&mut self, now: Instant) {
        while let Some(id) = self.timers.pop(now) {
            self.end(id, EndReason::Expired);
        }
    }

    /// Removes a publication (whose device is gone). A void name removes nothing.
    pub fn remove(&mut self, id: PublicationId) -> Option<T> {
        self.take(id).map(|publication| publication.state)
    }

    /// Removes all publications of a resource (whose user is gone), and says whether there were any.
    pub fn remove_resource(&mut self, resource: &str) -> bool {
        let Some(ids) = self.by_resource.get(resource).cloned() else { return false };
        for id in ids {
            self.take(id);
        }
        true
    }

    /// A resource goes by another name from now on; its publications go on, with their entity tags.
    pub fn rename_resource(&mut self, from: &str, to: &str) {
        let Some(ids) = self.by_resource.remove(from) else { return };
        let resource: Arc<str> = to.into();
        for id in &ids {
            let publication = self.publications.get_mut(id).expect("what is listed is in the table");
            publication.resource = Arc::clone(&resource);
        }
        self.by_resource.entry(resource).or_default().extend(ids);
    }

    /// Takes the next publication that ended by itself.
    pub fn poll_ended(&mut self) -> Option<Ended<T>> {
        self.ended.pop_front()
    }

    /// When `handle_timer` is due. May be earlier than anything happens (see [`Timers::next_deadline`]).
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// What a publication says.
    pub fn get(&self, id: PublicationId) -> Option<&T> {
        self.publications.get(&id).map(|publication| &publication.state)
    }

    /// The same, to be changed: whose a publication is can change when it is refreshed.
    pub fn get_mut(&mut self, id: PublicationId) -> Option<&mut T> {
        self.publications.get_mut(&id).map(|publication| &mut publication.state)
    }

    /// When a publication runs out.
    pub fn expires(&self, id: PublicationId) -> Option<Instant> {
        self.publications.get(&id).map(|publication| publication.expires)
    }

    /// The publications of a resource, oldest first.
    pub fn of_resource(&self, resource: &str) -> impl Iterator<Item = (PublicationId, &T)> {
        let ids = self.by_resource.get(resource).into_iter().flatten();
        ids.map(|id| (*id, &self.publications[id].state))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.publications.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    /// The publication of this resource that has this tag now. A tag of another resource's is unknown, like one that never was.
    fn matching(&self, tag: &str, resource: &str) -> Result<PublicationId, Refusal> {
        let id = EntityTag::parse(tag).and_then(|tag| self.by_tag.get(&tag).copied());
        id.filter(|id| &*self.publications[id].resource == resource)
            .ok_or(Refusal::new(412, "no publication has this entity tag"))
    }

    fn room_for_one(&self, resource: &str) -> Result<(), Refusal> {
        let displaces =
            self.by_resource.get(resource).is_some_and(|ids| ids.len() >= self.limits.per_resource_max);
        if self.publications.len() < self.limits.publications_max || displaces {
            return Ok(());
        }
        let full = Refusal::new(503, "there are too many publications");
        Err(Refusal { retry_after_seconds: Some(RETRY_AFTER_SECONDS), ..full })
    }

    fn begin(&mut self, resource: &str, expires: Instant, state: T) -> (PublicationId, EntityTag) {
        let id = PublicationId(self.next);
        self.next += 1;
        let tag = self.draw();
        let known = self.by_resource.get_key_value(resource).map(|(known, _)| known.clone());
        let resource = known.unwrap_or_else(|| Arc::from(resource));
        let timer = self.timers.insert(expires, id);
        self.by_tag.insert(tag, id);
        self.by_resource.entry(resource.clone()).or_default().push(id);
        self.publications.insert(id, Publication { resource, tag, expires, timer, state });
        (id, tag)
    }

    fn renew(&mut self, id: PublicationId, expires: Instant, state: Option<T>) -> EntityTag {
        let tag = self.draw();
        let publication = self.publications.get_mut(&id).expect("a tag in the table has its publication");
        self.by_tag.remove(&publication.tag);
        self.by_tag.insert(tag, id);
        self.timers.cancel(publication.timer);
        publication.tag = tag;
        publication.expires = expires;
        publication.timer = self.timers.insert(expires, id);
        if let Some(state) = state {
            publication.state = state;
        }
        tag
    }

    fn displace_beyond_limit(&mut self, resource: &str) {
        let Some(ids) = self.by_resource.get(resource) else { return };
        if ids.len() <= self.limits.per_resource_max {
            return;
        }
        // The newest came last, and stays.
        let older = &ids[..ids.len() - 1];
        let first_to_expire = older.iter().copied().min_by_key(|id| self.publications[id].expires);
        if let Some(id) = first_to_expire {
            self.end(id, EndReason::Displaced);
        }
    }

    fn end(&mut self, id: PublicationId, reason: EndReason) {
        if let Some(Publication { resource, state, .. }) = self.take(id) {
            self.ended.push_back(Ended { id, resource, state, reason });
        }
    }

    fn take(&mut self, id: PublicationId) -> Option<Publication<T>> {
        let publication = self.publications.remove(&id)?;
        self.timers.cancel(publication.timer);
        self.by_tag.remove(&publication.tag);
        let ids = self.by_resource.get_mut(&publication.resource).expect("a publication is listed");
        ids.retain(|listed| *listed != id);
        if ids.is_empty() {
            self.by_resource.remove(&publication.resource);
        }
        Some(publication)
    }

    fn draw(&mut self) -> EntityTag {
        EntityTag(self.rng.random())
    }
}
