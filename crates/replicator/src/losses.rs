//! Whether a plan takes away more than one accident may: the thresholds behind which a round is held.
//!
//! What counts are accounts that could be used and cannot any more, in the last [`WINDOW`] and not in one round alone, because a
//! directory may fall apart in small steps. A lock does not count: it passes, nothing of its owner is taken away, and strangers can
//! cause it. Beside these count, each by itself: people who may do less, who go by another address, objects of the address book that
//! go, accounts that are removed for good, and servers that are trusted no more. All of them are what a right that was lost looks like.
//!
//! An account that somebody disabled or deleted is not what that looks like: the directory tells of the act. Up to the threshold such
//! acts are always done, so that an organisation of one or five loses a leaver as fast as one of five thousand. Whoever merely is
//! missing (not there, out of the group, without an address) counts against half of a small organisation too, and never leaves it
//! without anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use directory::{ObjectId, Standing};

use crate::report::{CutOff, Held, Loss, LossKind};

/// How long who was cut off counts. A day: a slip that goes on through the night is seen in the morning.
pub(crate) const WINDOW: Duration = Duration::from_hours(24);
/// Accounts from which on never more than half may go. Of one or two, one must be able to leave.
const HALF_COUNTS_FROM: usize = 3;

/// Whether an account is somebody's who may use it. A lock passes.
pub(crate) fn is_in_use(standing: Standing) -> bool {
    matches!(standing, Standing::Active | Standing::LockedOut)
}

/// Whether the directory says in so many words that an account may not be used: nothing that is missing says so.
pub(crate) fn is_explicit(standing: Standing) -> bool {
    matches!(standing, Standing::Disabled | Standing::Expired)
}

/// What a plan takes away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    /// Accounts in use that are it no more, and what they become.
    pub(crate) cut_off: BTreeMap<ObjectId, Standing>,
    /// Those of them whose deletion the directory told of: they are not only missing.
    pub(crate) deleted: BTreeSet<ObjectId>,
    /// Accounts in use that may do less.
    pub(crate) permissions: BTreeSet<ObjectId>,
    /// Accounts in use that go by another address.
    pub(crate) addresses: BTreeSet<ObjectId>,
    /// Objects without an account that are no more.
    pub(crate) objects: BTreeSet<ObjectId>,
    /// Accounts that come into use.
    pub(crate) gained: BTreeSet<ObjectId>,
}

impl Losses {
    /// All whose loss may be a right that is missing.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let is_certain =
            |id: &ObjectId, standing: &Standing| is_explicit(*standing) || self.deleted.contains(id);
        let cut_off = self.cut_off.iter().filter(move |(id, standing)| !is_certain(id, standing));
        let cut_off = cut_off.map(|(id, _)| id);
        cut_off.chain(&self.permissions).chain(&self.addresses).chain(&self.objects).copied()
    }

    /// Those whom the directory cuts off in so many words.
    fn explicit(&self) -> BTreeSet<ObjectId> {
        let explicit = self.cut_off.iter().filter(|(_, standing)| is_explicit(**standing));
        explicit.map(|(id, _)| *id).collect()
    }

    /// Those whom an act of somebody's cut off, that the directory tells of. A time that came is none: a clock may have jumped.
    fn is_by_act(&self, id: ObjectId) -> bool {
        self.deleted.contains(&id) || self.cut_off.get(&id) == Some(&Standing::Disabled)
    }
}

/// What there is of which something may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stock {
    /// Accounts in use.
    pub(crate) in_use: usize,
    /// Accounts that were cut off in the last [`WINDOW`] and still are.
    pub(crate) cut_off_before: usize,
    /// Objects of the address book.
    pub(crate) objects: usize,
}

/// How much may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) percent: u8,
    pub(crate) users: usize,
}

/// What else a plan takes away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Further {
    /// Accounts that are removed for good.
    pub(crate) removed: usize,
    /// Servers that are trusted no more, and those that still are.
    pub(crate) servers_lost: usize,
    pub(crate) servers_left: usize,
}

/// How much of a plan may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    Everything,
    /// All but what is removed for good.
    AllButRemovals,
    /// To cut off these, who are not what is suspicious.
    Only(BTreeSet<ObjectId>),
    Nothing,
}

impl Limits {
    /// Of so many, so many may go.
    fn share(self, of: usize) -> usize {
        (of * usize::from(self.percent) / 100).max(self.users)
    }

    /// Of so many accounts, so many of these may go.
    fn accounts(self, of: usize, losses: &Losses, mut ids: impl Iterator<Item = ObjectId>) -> usize {
        let share = self.share(of);
        let is_half_enough = of >= HALF_COUNTS_FROM && !ids.all(|id| losses.is_by_act(id));
        if is_half_enough { share.min(of / 2) } else { share }
    }

    /// How much may be done, and if not all, why.
    pub(crate) fn judge(
        self,
        losses: &Losses,
        further: Further,
        stock: Stock,
        at_unix_ms: u64,
        names: &[CutOff],
    ) -> (Allowed, Option<Held>) {
        let before = stock.cut_off_before;
        let of = stock.in_use + before;
        let threshold = self.accounts(of, losses, losses.cut_off.keys().copied());
        let cut_offs = losses.cut_off.len();
        let explicit = losses.explicit();
        let certain: BTreeSet<ObjectId> = explicit.union(&losses.deleted).copied().collect();
        let is_suspicious = cut_offs > certain.len();
        let left = (stock.in_use + losses.gained.len()).saturating_sub(cut_offs);
        let is_empty = is_suspicious && left == 0;
        let is_many = cut_offs > 0 && before + cut_offs > threshold;
        let mut reasons = Vec::new();
        for (kind, count, threshold) in [
            (LossKind::Permissions, losses.permissions.len(), self.share(stock.in_use)),
            (LossKind::Addresses, losses.addresses.len(), self.share(stock.in_use)),
            (LossKind::Objects, losses.objects.len(), self.share(stock.objects)),
            // One may be taken out of its group, as long as others are left.
            (LossKind::Servers, further.servers_lost, usize::from(further.servers_left > 0)),
        ] {
            if count > threshold {
                reasons.push(Loss { kind, count, threshold });
            }
        }
        let is_held = is_many || is_empty || !reasons.is_empty();
        let removals =
            Loss { kind: LossKind::Removals, count: further.removed, threshold: self.share(stock.in_use) };
        let are_removals_held = removals.count > removals.threshold;
        if are_removals_held {
            reasons.push(removals);
        }
        let may_go = |ids: &BTreeSet<ObjectId>| {
            !ids.is_empty() && before + ids.len() <= self.accounts(of, losses, ids.iter().copied())
        };
        let allowed = match (is_held, are_removals_held) {
            (false, false) => return (Allowed::Everything, None),
            (false, true) => Allowed::AllButRemovals,
            // Where too many were deleted, who was disabled is not kept for it.
            (true, _) => [certain, explicit].into_iter().find(may_go).map_or(Allowed::Nothing, Allowed::Only),
        };
        let held = Held {
            since_unix_ms: at_unix_ms,
            cut_offs: if is_many || is_empty { cut_offs } else { 0 },
            cut_off_before: before,
            threshold,
            is_empty,
            names: names.iter().filter(|name| losses.cut_off.contains_key(&name.object)).cloned().collect(),
            losses: reasons,
        };
        (allowed, Some(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { percent: 10, users: 20 };
    const NOTHING: Further = Further { removed: 0, servers_lost: 0, servers_left: 1 };

    fn ids(count: usize) -> impl Iterator<Item = ObjectId> {
        (0..count).map(|number| ObjectId(u128::try_from(number).unwrap().to_be_bytes()))
    }

    /// So many who are missing, who were deleted, disabled, and whose time is over.
    fn cut_off([missing, deleted, disabled, expired]: [usize; 4]) -> Losses {
        let standings = [
            (missing, Standing::Gone),
            (deleted, Standing::Gone),
            (disabled, Standing::Disabled),
            (expired, Standing::Expired),
        ];
        let standings = standings.iter().flat_map(|(count, standing)| std::iter::repeat_n(*standing, *count));
        let cut_off = ids(missing + deleted + disabled + expired).zip(standings).collect();
        let deleted = ids(missing + deleted).skip(missing).collect();
        Losses { cut_off, deleted, ..Losses::default() }
    }

    #[test]
    fn accounts_may_go_up_to_the_share_and_never_more_than_half_without_an_act() {
        for (losses, in_use, before, expected) in [
            ([20, 0, 0, 0], 100, 0, "all"),
            ([21, 0, 0, 0], 100, 0, "none"),
            ([100, 0, 0, 0], 1000, 0, "all"),
            ([101, 0, 0, 0], 1000, 0, "none"),
            // In small steps.
            ([1, 0, 0, 0], 80, 20, "none"),
            ([1, 0, 0, 0], 81, 19, "all"),
            ([0, 0, 0, 0], 50, 50, "all"),
            // In a small organisation.
            ([5, 0, 0, 0], 10, 0, "all"),
            ([6, 0, 0, 0], 10, 0, "none"),
            ([2, 0, 0, 0], 3, 0, "none"),
            ([1, 0, 0, 0], 3, 0, "all"),
            ([1, 0, 0, 0], 2, 0, "all"),
            ([1, 0, 0, 0], 1, 0, "none"),
            ([0, 0, 1, 0], 1, 0, "all"),
            ([0, 1, 0, 0], 1, 0, "all"),
            ([0, 0, 0, 1], 1, 0, "all"),
            // Acts may take more than half, a clock that jumped may not.
            ([0, 3, 0, 0], 3, 0, "all"),
            ([0, 1, 2, 0], 3, 0, "all"),
            ([0, 0, 0, 2], 3, 0, "none"),
            ([0, 1, 1, 0], 2, 3, "all"),
            // Who is disabled or deleted there goes whatever else is held.
            ([30, 0, 5, 0], 100, 0, "5"),
            ([30, 5, 0, 0], 100, 0, "5"),
            ([30, 10, 10, 0], 100, 0, "20"),
            ([3, 1, 1, 0], 5, 0, "2"),
            // And who is disabled whatever was deleted.
            ([0, 30, 5, 0], 100, 0, "5"),
            ([30, 0, 21, 0], 100, 0, "none"),
            ([0, 0, 21, 0], 100, 0, "none"),
            ([0, 21, 0, 0], 100, 0, "none"),
        ] {
            let stock = Stock { in_use, cut_off_before: before, objects: 1000 };
            let found = match LIMITS.judge(&cut_off(losses), NOTHING, stock, 0, &[]).0 {
                Allowed::Everything => "all".to_owned(),
                Allowed::Only(ids) => ids.len().to_string(),
                Allowed::Nothing => "none".to_owned(),
                Allowed::AllButRemovals => unreachable!("nothing is removed"),
            };
            assert_eq!(found, expected, "{losses:?} of {in_use}, after {before}");
        }
    }

    #[test]
    fn other_losses_count_by_themselves() {
        let stock = Stock { in_use: 100, cut_off_before: 0, objects: 1000 };
        let judge = |losses: &Losses, further| {
            let (allowed, held) = LIMITS.judge(losses, further, stock, 0, &[]);
            (allowed, held.map(|held| held.losses.into_iter().map(|loss| loss.kind).collect::<Vec<_>>()))
        };
        let losses =
            Losses { permissions: ids(21).collect(), addresses: ids(20).collect(), ..Losses::default() };
        assert_eq!(judge(&losses, NOTHING), (Allowed::Nothing, Some(vec![LossKind::Permissions])));
        let losses =
            Losses { addresses: ids(21).collect(), objects: ids(101).collect(), ..Losses::default() };
        let both = Some(vec![LossKind::Addresses, LossKind::Objects]);
        assert_eq!(judge(&losses, NOTHING), (Allowed::Nothing, both));
        let servers = |servers_lost, servers_left| Further { servers_lost, servers_left, ..NOTHING };
        let none = Losses::default();
        assert_eq!(judge(&none, servers(1, 1)), (Allowed::Everything, None));
        assert_eq!(judge(&none, servers(1, 0)).0, Allowed::Nothing);
        assert_eq!(judge(&none, servers(2, 5)).0, Allowed::Nothing);
        let removed = Further { removed: 21, ..NOTHING };
        assert_eq!(judge(&none, removed), (Allowed::AllButRemovals, Some(vec![LossKind::Removals])));
    }
}
