//! Which objects changed: by DirSync where the account may, else by uSNChanged; by stamps where the server is no Active Directory; and by
//! comparing who is there where nothing tells of deletions.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use directory::ObjectId;
use directory_source::{Event, Selection, ServerKind, Watermark};
use tokio::time::Instant;
use tracing::debug;

use crate::census::Census;
use crate::error::Error;
use crate::facts::{highest_usn, sees_deleted};
use crate::reading::{IDS_PER_FILTER, class_filter, take};
use crate::search::{Running, id_attribute, id_filter, id_of, subtree, synced};
use crate::source::{Events, Session, Stopped};
use crate::stamps::{Stamps, bound, not_after};
use crate::wire::{Control, DirSyncFlags, Filter, Outcome, RawEntry, ResultCode};

/// Octets that we ask for in one portion of DirSync; the server divides as it likes.
const PORTION_OCTETS: u32 = 1024 * 1024;
/// Portions in a row that bring nothing and do not move the cookie.
const IDLE_PORTIONS_MAX: usize = 16;

/// How often the server is asked anew whether it tells of deletions: an administrator may have taken the right away.
const RIGHT_ASKED_EVERY: Duration = Duration::from_mins(5);

/// What is remembered between two looks.
#[derive(Default)]
pub(crate) struct Following {
    /// When the server was asked last whether it tells of deletions.
    right_asked: Option<Instant>,
    /// How DirSync is asked here, once that is known.
    flags: Option<DirSyncFlags>,
    /// When a look from this watermark began, the server's last change had this number.
    quiet: Option<(Watermark, u64)>,
    census: Census,
    stamps: Stamps,
}

/// What one portion told.
#[derive(Default)]
struct Told {
    changed: Vec<ObjectId>,
    deleted: Vec<ObjectId>,
}

impl Following {
    /// The present end of the changes.
    pub(crate) async fn mark(
        &mut self,
        session: &mut Session,
        selection: &Selection,
    ) -> Result<Watermark, Error> {
        self.quiet = None;
        match session.known.facts.kind {
            ServerKind::ActiveDirectory => {
                // Asked first: what comes meanwhile is read, whatever number it has.
                let usn = highest_usn(&mut session.connection).await?;
                Ok(match self.mark_dirsync(session).await? {
                    Some(Watermark::DirSync { cookie, .. }) => session.cookie_watermark(cookie, Some(usn)),
                    _ => Watermark::Usn { usn, invocation: invocation(session) },
                })
            }
            ServerKind::Ldap => {
                self.stamps = Stamps::default();
                let (newest, _) = session.stamps(class_filter(selection)).await?;
                Ok(session.stamp_watermark(newest.unwrap_or_default()))
            }
        }
    }

    /// Goes to the end with a filter that nothing matches. `None` where the account may not.
    async fn mark_dirsync(&mut self, session: &mut Session) -> Result<Option<Watermark>, Error> {
        if !session.known.has_dirsync {
            return Ok(None);
        }
        for flags in [
            DirSyncFlags::INCREMENTAL_VALUES,
            DirSyncFlags::INCREMENTAL_VALUES.with(DirSyncFlags::OBJECT_SECURITY),
        ] {
            let mut portions = Portions::new(flags, Vec::new());
            let nothing = Filter::equal("objectGUID", [0; 16]);
            let end = loop {
                match portions.next(session, nothing.clone(), &[], |_| {}).await {
                    Ok(true) => {}
                    Ok(false) => break Some(portions.cookie),
                    Err(Error::Refused { outcome, .. }) if !is_passing(&outcome) => {
                        debug!(%outcome, ?flags, "DirSync is refused");
                        break None;
                    }
                    Err(error) => return Err(error),
                }
            };
            if let Some(cookie) = end {
                self.flags = Some(flags);
                return Ok(Some(session.cookie_watermark(cookie, None)));
            }
        }
        Ok(None)
    }

    /// Everybody was read.
    pub(crate) fn count(&mut self, session: &Session, everybody: BTreeSet<ObjectId>) {
        if !session.known.sees_deleted {
            self.census.count(everybody, session.connection.host(), Instant::now());
        }
    }

    /// Somebody was read.
    pub(crate) fn add(&mut self, id: ObjectId) {
        self.census.add(id);
    }

    /// The connection is given up.
    pub(crate) fn forget_session(&mut self) {
        self.right_asked = None;
        self.quiet = None;
        self.flags = None;
    }

    /// Tells what changed.
    pub(crate) async fn read_changes(
        &mut self,
        session: &mut Session,
        since: Watermark,
        selection: &Selection,
        events: Events<'_>,
    ) -> Result<(), Stopped> {
        let kind = session.known.facts.kind;
        self.ask_for_right(session).await?;
        if self.census.is_missing(session.known.sees_deleted) {
            // Whoever was deleted before the first count would never be missed.
            let host = session.connection.host().to_owned();
            let why =
                "deletions do not show any more: everything is read, and counted from then on".to_owned();
            return Err(Error::WatermarkRefused { host, why }.into());
        }
        let (mut told, watermark) = match since {
            Watermark::DirSync { .. } | Watermark::Usn { .. } if kind == ServerKind::ActiveDirectory => {
                let usn = highest_usn(&mut session.connection).await?;
                if self
                    .quiet
                    .as_ref()
                    .is_some_and(|(watermark, number)| *watermark == since && *number == usn)
                    && !self.census.is_due(Instant::now())
                {
                    (Told::default(), since)
                } else {
                    let (told, watermark) = match since {
                        Watermark::DirSync { cookie, invocation: of, usn: before, .. } => {
                            // A number is one of the server that gave it.
                            let before = before.filter(|_| of == invocation(session));
                            self.dirsync(session, cookie, (before, usn), selection, events).await?
                        }
                        Watermark::Usn { usn: since, .. } => session.since_usn(since, usn, selection).await?,
                        Watermark::Stamp { .. } => unreachable!("it is one of the two"),
                    };
                    self.quiet = Some((watermark.clone(), usn));
                    (told, watermark)
                }
            }
            Watermark::Stamp { text, .. } if kind == ServerKind::Ldap => {
                self.since_stamp(session, &text, selection).await?
            }
            _ => {
                let host = session.connection.host().to_owned();
                return Err(Error::WatermarkRefused {
                    host,
                    why: "it is of another kind of server".to_owned(),
                }
                .into());
            }
        };
        session.look_below(&mut told.changed, selection).await?;
        if self.census.is_due(Instant::now()) {
            let (came, gone) = self.take_census(session, selection).await?;
            told.changed.extend(came);
            // Not found is not deleted: a right may be missing. Reading them shows what they are.
            told.changed.extend(gone);
        }
        Ok(told.send(watermark, true, events).await?)
    }

    async fn ask_for_right(&mut self, session: &mut Session) -> Result<(), Error> {
        let now = Instant::now();
        // It was asked when the session began.
        let last = *self.right_asked.get_or_insert(now);
        if session.known.facts.kind == ServerKind::ActiveDirectory
            && now.duration_since(last) >= RIGHT_ASKED_EVERY
        {
            self.right_asked = Some(now);
            let root = session.known.root.clone();
            session.known.sees_deleted = sees_deleted(&mut session.connection, &root).await?;
        }
        Ok(())
    }

    async fn dirsync(
        &mut self,
        session: &mut Session,
        cookie: Vec<u8>,
        (before, now): (Option<u64>, u64),
        selection: &Selection,
        events: Events<'_>,
    ) -> Result<(Told, Watermark), Stopped> {
        if self.flags.is_none() {
            // The account's rights may have changed since the cookie was given.
            self.mark_dirsync(session).await?;
        }
        let Some(flags) = self.flags else {
            let host = session.connection.host().to_owned();
            return Err(Error::WatermarkRefused {
                host,
                why: "the account may no longer use DirSync".to_owned(),
            }
            .into());
        };
        // Renaming and moving change `name`.
        let mut attributes = selection.attributes.clone();
        attributes.extend(["name", "isDeleted"].map(str::to_owned));
        let filter = with_containers(selection);
        let mut portions = Portions::new(flags, cookie);
        // Numbers are given for much that does not show; one that something showed with is what another server must have, too.
        let mut usn = before;
        loop {
            let mut told = Told::default();
            let portion = portions.next(session, filter.clone(), &attributes, |entry| told.take(&entry));
            let has_more = match portion.await {
                Ok(has_more) => has_more,
                Err(Error::Refused { host, outcome, .. }) if !is_passing(&outcome) => {
                    return Err(Error::WatermarkRefused { host, why: outcome.to_string() }.into());
                }
                Err(error) => return Err(error.into()),
            };
            if !told.changed.is_empty() || !told.deleted.is_empty() {
                usn = Some(now);
            }
            let watermark = session.cookie_watermark(portions.cookie.clone(), usn);
            if !has_more {
                return Ok((told, watermark));
            }
            session.look_below(&mut told.changed, selection).await?;
            told.send(watermark, false, events).await?;
        }
    }

    async fn since_stamp(
        &mut self,
        session: &mut Session,
        text: &str,
        selection: &Selection,
    ) -> Result<(Told, Watermark), Error> {
        let attribute = session.known.stamp.attribute();
        let mut filter = with_containers(selection);
        // There is none before anything was there.
        if !text.is_empty() {
            let bound = bound(text).ok_or_else(|| Error::WatermarkRefused {
                host: session.connection.host().to_owned(),
                why: format!("{text} is no {attribute}"),
            })?;
            self.stamps.forget_before(&bound);
            filter = Filter::And(vec![Filter::at_least(attribute, bound), filter]);
        }
        let (newest, all) = session.stamps(filter).await?;
        let is_news = |(id, stamp): (ObjectId, String)| self.stamps.is_news(id, &stamp).then_some(id);
        let changed = all.into_iter().filter_map(is_news).collect();
        // Stamps only grow: whoever had the newest may be gone.
        let newest = newest.filter(|newest| newest.as_str() > text).unwrap_or_else(|| text.to_owned());
        Ok((Told { changed, deleted: Vec::new() }, session.stamp_watermark(newest)))
    }

    async fn take_census(
        &mut self,
        session: &mut Session,
        selection: &Selection,
    ) -> Result<(Vec<ObjectId>, Vec<ObjectId>), Error> {
        let kind = session.known.facts.kind;
        let attributes = vec![id_attribute(kind).to_owned()];
        let search = subtree(&session.known.facts.base, class_filter(selection), attributes);
        let mut everybody = BTreeSet::new();
        session.list("counting", search, Vec::new(), |entry| everybody.extend(id_of(kind, &entry))).await?;
        Ok(self.census.compare(everybody, session.connection.host(), Instant::now()))
    }
}

impl Session {
    /// What changed after this number, up to that one.
    async fn since_usn(
        &mut self,
        since: u64,
        highest: u64,
        selection: &Selection,
    ) -> Result<(Told, Watermark), Error> {
        if highest < since {
            let host = self.connection.host().to_owned();
            return Err(Error::WatermarkRefused { host, why: format!("its last change is {highest}") });
        }
        let mut told = Told::default();
        let end = Watermark::Usn { usn: highest, invocation: invocation(self) };
        if highest == since {
            return Ok((told, end));
        }
        let later = Filter::at_least("uSNChanged", (since + 1).to_string());
        let filter = Filter::And(vec![later, with_containers(selection)]);
        let attributes = ["objectGUID", "isDeleted"].map(str::to_owned).to_vec();
        // Deleted objects lie beside what is read, below the head.
        let search = subtree(&self.known.root, filter, attributes);
        let controls = match self.known.sees_deleted {
            true => vec![Control::show_deleted()],
            false => Vec::new(),
        };
        self.list("looking for changes", search, controls, |entry| told.take(&entry)).await?;
        Ok((told, end))
    }

    /// Puts in the place of containers that changed everybody below: who is in one that was renamed or moved has another name, and shows
    /// no change.
    async fn look_below(&mut self, changed: &mut Vec<ObjectId>, selection: &Selection) -> Result<(), Error> {
        let kind = self.known.facts.kind;
        let mut containers = Vec::new();
        for group in changed.chunks(IDS_PER_FILTER) {
            let ids = Filter::Or(group.iter().map(|id| id_filter(kind, *id)).collect());
            let filter = Filter::And(vec![of_containers(), ids]);
            let search = subtree(&self.known.root, filter, vec![id_attribute(kind).to_owned()]);
            let each = |entry: RawEntry| containers.extend(id_of(kind, &entry).map(|id| (id, entry.dn)));
            self.list("looking for containers that changed", search, Vec::new(), each).await?;
        }
        if containers.is_empty() {
            return Ok(());
        }
        let mut below: BTreeSet<ObjectId> = changed.drain(..).collect();
        for (id, dn) in containers {
            below.remove(&id);
            let search = subtree(&dn, class_filter(selection), vec![id_attribute(kind).to_owned()]);
            let each = |entry: RawEntry| below.extend(id_of(kind, &entry));
            match self.list("looking below a container that changed", search, Vec::new(), each).await {
                // It was moved again, which shows next time.
                Err(Error::Refused { outcome, .. }) if outcome.code == ResultCode::NO_SUCH_OBJECT => {}
                done => done?,
            }
        }
        changed.extend(below);
        Ok(())
    }

    /// The stamps of all that match, and the newest of them.
    async fn stamps(&mut self, filter: Filter) -> Result<(Option<String>, Vec<(ObjectId, String)>), Error> {
        let attribute = self.known.stamp.attribute();
        let attributes = vec!["entryUUID".to_owned(), attribute.to_owned()];
        let search = subtree(&self.known.facts.base, filter, attributes);
        let mut all = Vec::new();
        let each = |entry: RawEntry| {
            if let (Some(id), Some(stamp)) = (id_of(ServerKind::Ldap, &entry), entry.text(attribute)) {
                all.push((id, stamp.to_owned()));
            }
        };
        self.list("looking for changes", search, Vec::new(), each).await?;
        // One stamp of the future would hide everything that comes before that time.
        let now = jiff::Timestamp::now();
        let newest = all.iter().map(|(_, stamp)| not_after(stamp, now)).max().map(Cow::into_owned);
        Ok((newest, all))
    }

    fn stamp_watermark(&self, text: String) -> Watermark {
        Watermark::Stamp {
            attribute: self.known.stamp.attribute().to_ascii_lowercase(),
            text,
            host: self.known.facts.host.clone(),
        }
    }

    fn cookie_watermark(&self, cookie: Vec<u8>, usn: Option<u64>) -> Watermark {
        let host = self.known.facts.host.clone();
        Watermark::DirSync { cookie, invocation: invocation(self), host, usn }
    }
}

/// What people are in.
fn of_containers() -> Filter {
    Filter::Or(["container", "organizationalUnit"].map(|class| Filter::equal("objectClass", class)).to_vec())
}

/// What changes are looked for.
fn with_containers(selection: &Selection) -> Filter {
    Filter::Or(vec![class_filter(selection), of_containers()])
}

fn invocation(session: &Session) -> ObjectId {
    session.known.facts.invocation.expect("Active Directory is not connected to without it")
}

/// Whether a refusal says nothing about what was asked.
fn is_passing(outcome: &Outcome) -> bool {
    matches!(outcome.code, ResultCode::BUSY | ResultCode::UNAVAILABLE | ResultCode::TIME_LIMIT_EXCEEDED)
}

impl Told {
    fn take(&mut self, entry: &RawEntry) {
        let Some(id) = id_of(ServerKind::ActiveDirectory, entry) else { return };
        match entry.text("isDeleted") {
            Some(text) if text.eq_ignore_ascii_case("true") => self.deleted.push(id),
            _ => self.changed.push(id),
        }
    }

    async fn send(
        self,
        watermark: Watermark,
        is_last: bool,
        events: Events<'_>,
    ) -> Result<(), crate::source::Gone> {
        let Told { changed, deleted } = self;
        events.send(Event::Changes { changed, deleted, watermark, is_last }).await
    }
}

/// Portions of DirSync one after the other.
struct Portions {
    flags: DirSyncFlags,
    cookie: Vec<u8>,
    idle: usize,
}

impl Portions {
    fn new(flags: DirSyncFlags, cookie: Vec<u8>) -> Portions {
        Portions { flags, cookie, idle: 0 }
    }

    /// Reads one, and moves the cookie behind it. Whether there is more.
    async fn next(
        &mut self,
        session: &mut Session,
        filter: Filter,
        attributes: &[String],
        each: impl FnMut(RawEntry),
    ) -> Result<bool, Error> {
        // The base must be the head, whatever is read of it.
        let search = subtree(&session.known.root, filter, attributes.to_vec());
        let control = Control::dirsync(self.flags, PORTION_OCTETS, &self.cookie);
        let mut running =
            Running::begin(&mut session.connection, "reading changes by DirSync", &search, &[control])
                .await?;
        let (entries, controls) = take(&mut running, each).await?;
        let synced = synced(&session.connection, &controls)?;
        let is_idle = entries == 0 && synced.cookie == self.cookie;
        self.idle = if is_idle { self.idle + 1 } else { 0 };
        if self.idle > IDLE_PORTIONS_MAX {
            return Err(session.connection.broken("DirSync goes round in circles"));
        }
        self.cookie = synced.cookie;
        Ok(synced.has_more)
    }
}
