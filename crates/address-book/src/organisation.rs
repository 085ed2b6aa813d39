//! Who reports to whom, and who is in which group: asked for, never part of the download.

use directory::{ObjectId, ObjectKind};

use crate::book::Book;
use crate::entry::Line;
use crate::settings::{Attribute, Audience};

/// Longest chain of managers that is followed; directories hold rings.
pub const MANAGERS_MAX: usize = 32;

/// A page of members, reports or groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// How many there are on all pages, as far as the asker may see them.
    pub total: usize,
    /// Lines of entries, in order of ids.
    pub lines: Vec<Line>,
    /// Continues behind this one.
    pub next: Option<ObjectId>,
}

/// Why there is no listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// The book shows no such entry.
    #[error("there is no such entry")]
    NoEntry,
    /// Policy keeps this from the asker.
    #[error("this is not shown")]
    NotShown,
    /// The group has more members than are told.
    #[error("the group has {members} members, more than the {most} that are told")]
    TooLarge {
        /// How many it has.
        members: usize,
        /// How many are told.
        most: usize,
    },
}

impl Book {
    /// The manager, the manager's manager, and so on, as far as they are in the book; a ring ends where it closes.
    pub fn managers(&self, audience: Audience, id: ObjectId) -> Result<Vec<Line>, ListingError> {
        self.check(audience, id, Attribute::Manager)?;
        let mut seen = vec![id];
        let mut lines = Vec::new();
        let mut next = self.manager_of(id);
        while let Some(manager) = next
            && !seen.contains(&manager)
            && seen.len() <= MANAGERS_MAX
        {
            let Some(line) = self.line(audience, manager) else { break };
            lines.push(line.clone());
            seen.push(manager);
            next = self.manager_of(manager);
        }
        Ok(lines)
    }

    /// Those whose manager an entry is.
    pub fn reports(
        &self,
        audience: Audience,
        id: ObjectId,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Result<Listing, ListingError> {
        self.check(audience, id, Attribute::Manager)?;
        Ok(self.listing(audience, self.reports_of(id).collect(), after, limit))
    }

    /// A group's direct members; groups in it are entries as others are.
    pub fn members(
        &self,
        audience: Audience,
        id: ObjectId,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Result<Listing, ListingError> {
        self.check(audience, id, Attribute::Members)?;
        let members = self.members_of(id);
        let most = self.settings.members_max;
        if members.len() > most {
            return Err(ListingError::TooLarge { members: members.len(), most });
        }
        Ok(self.listing(audience, members.to_vec(), after, limit))
    }

    /// The groups that an entry is a direct member of; those whose members are not told are left out.
    pub fn groups(
        &self,
        audience: Audience,
        id: ObjectId,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Result<Listing, ListingError> {
        self.check(audience, id, Attribute::Members)?;
        let is_told = |group: &ObjectId| self.members_of(*group).len() <= self.settings.members_max;
        Ok(self.listing(audience, self.groups_of(id).filter(is_told).collect(), after, limit))
    }

    fn check(&self, audience: Audience, id: ObjectId, attribute: Attribute) -> Result<(), ListingError> {
        if self.line(audience, id).is_none() {
            return Err(ListingError::NoEntry);
        }
        let is_shown = audience.sees(self.settings.visibility(attribute));
        is_shown.then_some(()).ok_or(ListingError::NotShown)
    }

    fn listing(
        &self,
        audience: Audience,
        mut ids: Vec<ObjectId>,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Listing {
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.line(audience, *id).is_some());
        let total = ids.len();
        let begin = after.map_or(0, |after| ids.partition_point(|id| *id <= after));
        let page = &ids[begin..ids.len().min(begin + limit)];
        Listing {
            total,
            lines: page.iter().filter_map(|id| self.line(audience, *id).cloned()).collect(),
            next: page.last().copied().filter(|_| begin + page.len() < total),
        }
    }
}

/// Kinds as they are written in a query; `None`: there is none of this name.
pub(crate) fn kind_of(name: &str) -> Option<ObjectKind> {
    Some(match name {
        "person" => ObjectKind::Person,
        "contact" => ObjectKind::Contact,
        "group" => ObjectKind::Group,
        "room" => ObjectKind::Room,
        "equipment" => ObjectKind::Equipment,
        "server" => ObjectKind::Server,
        _ => return None,
    })
}
