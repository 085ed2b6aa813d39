//! Messages and calls to measure with.

use directory::{SipAddress, User, UserId};
use records::{CallEnd, Change, Direction, Sequence, StoredCall, StoredMessage};

/// In bytes: a MESSAGE with a line of text, as a device sees it.
pub(crate) const REQUEST_BYTES: usize = 700;

/// Of random users, one behind the other.
pub(crate) struct Changes {
    users: u64,
    next: u64,
    rng: u64,
}

impl Changes {
    pub(crate) fn new(users: u64) -> Changes {
        Changes { users, next: 0, rng: 1 }
    }

    /// Two changes for each.
    pub(crate) fn messages(&mut self, count: u64) -> Vec<Change> {
        let mut batch = Vec::new();
        for _ in 0..count {
            let owner = UserId(self.random() % self.users + 1);
            let identity = [self.random().to_le_bytes(), self.random().to_le_bytes()].concat();
            self.next += 1;
            batch.push(Change::AppendMessage(StoredMessage {
                owner,
                sequence: Sequence(self.next),
                direction: Direction::Received,
                peer: SipAddress::parse("someone.else@contoso.example").expect("an address"),
                identity: identity.try_into().expect("16 octets"),
                received_unix_ms: 1_790_000_000_000 + self.next / 10,
                request: vec![b'x'; REQUEST_BYTES],
            }));
            batch.push(Change::AdvanceTaken { owner, through: Sequence(self.next) });
        }
        batch
    }

    /// Two entries for each.
    pub(crate) fn calls(&mut self, count: u64) -> Vec<Change> {
        let mut batch = Vec::new();
        for _ in 0..count {
            self.next += 1;
            let began_unix_ms = 1_790_000_000_000 + self.next / 10;
            let id = [began_unix_ms.to_be_bytes(), self.random().to_be_bytes()].concat();
            let call = StoredCall {
                owner: UserId(self.random() % self.users + 1),
                id: id.try_into().expect("16 octets"),
                direction: Direction::Received,
                peer: SipAddress::parse("someone.else@contoso.example").expect("an address"),
                began_unix_ms,
                lasted_ms: 60_000,
                end: CallEnd::Answered,
                answered_at: "desk phone".to_owned(),
            };
            let caller = UserId(self.random() % self.users + 1);
            let mut sent = StoredCall { owner: caller, direction: Direction::Sent, ..call.clone() };
            sent.id[15] ^= u8::from(caller == call.owner);
            batch.extend([Change::AppendCall(call), Change::AppendCall(sent)]);
        }
        batch
    }

    /// xorshift64*: the same figures in every run.
    fn random(&mut self) -> u64 {
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 3
    }
}

pub(crate) fn add_user(id: u64) -> Change {
    Change::AddUser {
        user: User {
            display_name: format!("User {id}"),
            ..User::local(
                UserId(id),
                SipAddress::parse(&format!("user{id}@contoso.example")).expect("an address"),
            )
        },
        at_unix_ms: 0,
    }
}
