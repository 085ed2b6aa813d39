//! What senders were told of messages that every device refused, so that a resend is told the same.
//!
//! Storage knows for as long as a message is kept that it was withdrawn, but not by which status. The status is
//! remembered here, within bounds and not over a restart; a client that missed its answer asks again within seconds.
//! What is forgotten is answered with [`STATUS_FORGOTTEN`]: a refusal still, for nothing will be delivered.

use std::collections::{BTreeMap, VecDeque};

use directory::UserId;

/// Refusals that are remembered, some 100 octets each: the clients of a large organisation do not miss more at once.
const REFUSALS_MAX: usize = 4096;
/// Another try would bring the same (RFC 3261 §21.4.4), which is all that is known.
const STATUS_FORGOTTEN: u16 = 403;

/// The newest refusals, by recipient and identity of the message.
#[derive(Default)]
pub(crate) struct Refusals {
    statuses: BTreeMap<(UserId, [u8; 16]), u16>,
    order: VecDeque<(UserId, [u8; 16])>,
}

impl Refusals {
    /// The sender is told `status`.
    pub(crate) fn remember(&mut self, recipient: UserId, identity: [u8; 16], status: u16) {
        let key = (recipient, identity);
        if self.statuses.insert(key, status).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REFUSALS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.statuses.remove(&oldest);
        }
    }

    /// What the sender of a withdrawn message was told.
    pub(crate) fn status(&self, recipient: UserId, identity: &[u8; 16]) -> u16 {
        self.statuses.get(&(recipient, *identity)).copied().unwrap_or(STATUS_FORGOTTEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_refused_all_the_same() {
        let mut refusals = Refusals::default();
        let identity = |n: usize| (n as u128).to_be_bytes();
        for n in 0..=REFUSALS_MAX {
            refusals.remember(UserId(1), identity(n), 415);
        }
        assert_eq!(refusals.status(UserId(1), &identity(1)), 415);
        assert_eq!(refusals.status(UserId(1), &identity(0)), STATUS_FORGOTTEN);
        assert_eq!(refusals.status(UserId(2), &identity(1)), STATUS_FORGOTTEN, "another recipient's");
        assert_eq!(refusals.statuses.len(), REFUSALS_MAX);
    }
}
