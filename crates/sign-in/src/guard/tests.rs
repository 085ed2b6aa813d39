use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const ALICE: UserId = UserId(1);
const BOB: UserId = UserId(2);
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const WINDOW: Duration = Duration::from_secs(1800);

fn at(seconds: u64) -> Instant {
    Instant(seconds * 1_000_000)
}

fn guard() -> Guard {
    Guard::new(Settings::standard(), [7; 32])
}

/// One try from begin to end, and whether the directory was asked.
fn one(
    guard: &mut Guard,
    now: Instant,
    source: IpAddr,
    user: UserId,
    password: &str,
    outcome: Outcome,
) -> bool {
    match guard.begin(now, source, Account::User(user), password) {
        Verdict::Ask(ticket) => {
            guard.settle(now, ticket, outcome);
            true
        }
        _ => false,
    }
}

fn wrong(guard: &mut Guard, now: Instant, source: IpAddr, user: UserId, password: &str) -> bool {
    one(guard, now, source, user, password, Outcome::Wrong)
}

#[test]
fn it_stops_before_the_directory_does_and_says_until_when() {
    let mut guard = guard();
    for (second, password) in [(0, "a"), (10, "b"), (20, "c")] {
        assert!(wrong(&mut guard, at(second), STRANGER, ALICE, password));
    }
    let verdict = guard.begin(at(30), HOME, Account::User(ALICE), "right");
    assert_eq!(verdict, Verdict::Blocked { retry_after: WINDOW - Duration::from_secs(10) }, "also elsewhere");
    assert!(wrong(&mut guard, at(30), STRANGER, BOB, "a"), "another account");
    assert!(wrong(&mut guard, at(20 + 1800), HOME, ALICE, "d"), "the window is over");
}

/// Active Directory's count ends when the window has passed since the last wrong one, not since the first: tries that
/// come slowly enough to fall out of a sliding window still add up there.
#[test]
fn slow_guesses_add_up_as_they_do_in_the_directory() {
    let mut guard = guard();
    for (minute, password) in [(0, "a"), (20, "b"), (40, "c")] {
        assert!(wrong(&mut guard, at(minute * 60), STRANGER, ALICE, password));
    }
    assert!(!wrong(&mut guard, at(60 * 60), STRANGER, ALICE, "d"), "the first was an hour ago");
}

#[test]
fn the_owner_gets_in_while_strangers_guess() {
    let mut guard = guard();
    assert!(one(&mut guard, at(0), HOME, ALICE, "right", Outcome::Right));
    for password in ["a", "b", "c"] {
        assert!(wrong(&mut guard, at(1), STRANGER, ALICE, password));
    }
    assert!(!wrong(&mut guard, at(2), STRANGER, ALICE, "d"));
    assert!(one(&mut guard, at(2), HOME, ALICE, "right", Outcome::Right));
    assert!(wrong(&mut guard, at(3), STRANGER, ALICE, "d"), "a right one ends the count, here and there");
}

#[test]
fn a_known_source_has_one_more_and_not_two() {
    let mut guard = guard();
    assert!(one(&mut guard, at(0), HOME, ALICE, "right", Outcome::Right));
    for password in ["a", "b", "c"] {
        assert!(wrong(&mut guard, at(1), STRANGER, ALICE, password));
    }
    assert!(wrong(&mut guard, at(2), HOME, ALICE, "d"));
    assert!(!wrong(&mut guard, at(2), HOME, ALICE, "e"), "five would lock the account");
}

#[test]
fn an_old_password_that_comes_again_and_again_counts_once() {
    let mut guard = guard();
    assert!(wrong(&mut guard, at(0), HOME, ALICE, "old"));
    for minute in 1..30 {
        let verdict = guard.begin(at(minute * 60), HOME, Account::User(ALICE), "old");
        assert_eq!(verdict, Verdict::KnownWrong);
    }
    assert!(one(&mut guard, at(60), STRANGER, ALICE, "right", Outcome::Right));
    assert_eq!(
        guard.begin(at(61), HOME, Account::User(ALICE), "old"),
        Verdict::KnownWrong,
        "it is old still"
    );
    assert!(wrong(&mut guard, at(1800), HOME, ALICE, "old"), "it may have become right");
    guard.password_changed(ALICE);
    assert!(one(&mut guard, at(1801), HOME, ALICE, "old", Outcome::Right));
}

#[test]
fn many_at_once_are_no_way_around() {
    let mut guard = guard();
    let mut tickets = Vec::new();
    for password in ["a", "b", "c"] {
        match guard.begin(at(0), STRANGER, Account::User(ALICE), password) {
            Verdict::Ask(ticket) => tickets.push(ticket),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(guard.begin(at(0), STRANGER, Account::User(ALICE), "d"), Verdict::Wait);
    guard.settle(at(1), tickets.pop().unwrap(), Outcome::Unjudged);
    match guard.begin(at(1), STRANGER, Account::User(ALICE), "d") {
        Verdict::Ask(ticket) => tickets.push(ticket),
        other => panic!("{other:?}"),
    }
    for ticket in tickets {
        guard.settle(at(2), ticket, Outcome::Wrong);
    }
    assert!(matches!(guard.begin(at(2), STRANGER, Account::User(ALICE), "e"), Verdict::Blocked { .. }));
}

#[test]
fn an_account_that_is_locked_earlier_is_asked_less() {
    let mut guard = guard();
    let ask = |guard: &mut Guard, user, password| match guard.begin(
        at(0),
        STRANGER,
        Account::Followed(user),
        password,
    ) {
        Verdict::Ask(ticket) => Ok(ticket),
        other => Err(other),
    };
    let first = ask(&mut guard, ALICE, "a").unwrap();
    assert_eq!(ask(&mut guard, ALICE, "b"), Err(Verdict::Wait), "it is not known yet how many may be wrong");
    guard.learn(ALICE, 2);
    guard.settle(at(0), first, Outcome::Wrong);
    assert!(matches!(ask(&mut guard, ALICE, "b"), Err(Verdict::Blocked { .. })), "a second would lock it");
    assert!(!one(&mut guard, at(1799), HOME, ALICE, "right", Outcome::Right));
    assert!(one(&mut guard, at(1800), HOME, ALICE, "right", Outcome::Right), "the window is over");
    // Also for a source of hers.
    match guard.begin(at(1801), HOME, Account::Followed(ALICE), "c") {
        Verdict::Ask(ticket) => {
            guard.learn(ALICE, 2);
            guard.settle(at(1801), ticket, Outcome::Wrong);
        }
        other => panic!("{other:?}"),
    }
    assert!(!wrong(&mut guard, at(1801), HOME, ALICE, "d"));

    // As all others, and an account of which nothing could be learnt.
    for (user, learnt) in [(BOB, Some(0)), (UserId(3), None)] {
        for password in ["a", "b", "c"] {
            let ticket = ask(&mut guard, user, password).unwrap();
            if let Some(locks_at) = learnt {
                guard.learn(user, locks_at);
            }
            guard.settle(at(0), ticket, Outcome::Wrong);
        }
        assert!(matches!(ask(&mut guard, user, "d"), Err(Verdict::Blocked { .. })));
    }
    // A policy that is milder than the domain's makes nothing milder here.
    let ticket = ask(&mut guard, UserId(4), "a").unwrap();
    guard.learn(UserId(4), 50);
    guard.settle(at(0), ticket, Outcome::Wrong);
    assert!(
        wrong(&mut guard, at(0), STRANGER, UserId(4), "b")
            && wrong(&mut guard, at(0), STRANGER, UserId(4), "c")
    );
    assert!(!wrong(&mut guard, at(0), STRANGER, UserId(4), "d"));
}

#[test]
fn refusals_of_the_account_count_nothing_and_silence_counts() {
    let mut guard = guard();
    for _ in 0..10 {
        assert!(one(&mut guard, at(0), HOME, ALICE, "expired", Outcome::Unjudged));
    }
    for _ in 0..3 {
        assert!(one(&mut guard, at(0), HOME, ALICE, "x", Outcome::Unanswered), "it is not known to be wrong");
    }
    assert!(!one(&mut guard, at(0), HOME, ALICE, "x", Outcome::Unanswered));
}

#[test]
fn one_password_on_everybody_is_stopped_at_its_source() {
    let mut guard = guard();
    let most = Settings::standard().wrong_passwords_of_source;
    let tried =
        (0..1000).take_while(|n| wrong(&mut guard, at(0), STRANGER, UserId(*n), "Summer2026!")).count();
    assert_eq!(tried, most as usize);
    let leak = WINDOW / most;
    let verdict = guard.begin(at(0), STRANGER, Account::User(UserId(5000)), "x");
    assert_eq!(verdict, Verdict::Blocked { retry_after: leak });
    assert!(wrong(&mut guard, at(0), HOME, UserId(5000), "x"), "another source");
    assert!(wrong(
        &mut guard,
        Instant(u64::try_from(leak.as_micros()).unwrap()),
        STRANGER,
        UserId(5000),
        "y"
    ));
}

#[test]
fn an_ipv6_guesser_cannot_hop_within_its_network() {
    let mut guard = guard();
    let of = |n: u128| IpAddr::V6(std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | n));
    let tried = (0..1000).take_while(|n| wrong(&mut guard, at(0), of(*n), UserId(*n as u64), "x")).count();
    assert_eq!(tried, Settings::standard().wrong_passwords_of_source as usize);
}

/// Whoever guesses cannot tell from being blocked whether there is such a name.
#[test]
fn nobody_is_treated_like_somebody() {
    let mut guard = guard();
    for password in ["a", "b", "c"] {
        match guard.begin(at(0), STRANGER, Account::Nobody("mallory"), password) {
            Verdict::Ask(ticket) => guard.settle(at(0), ticket, Outcome::Wrong),
            other => panic!("{other:?}"),
        }
    }
    let verdict = guard.begin(at(0), STRANGER, Account::Nobody("mallory"), "d");
    assert_eq!(verdict, Verdict::Blocked { retry_after: WINDOW });
}

/// What its owner typed by mistake may be the password of another account, or half of this one's.
#[test]
fn a_blocked_guesser_is_not_told_what_was_wrong_before() {
    let mut guard = guard();
    assert!(one(&mut guard, at(0), HOME, ALICE, "right", Outcome::Right));
    assert!(wrong(&mut guard, at(0), HOME, ALICE, "mistyped"));
    for password in ["a", "b"] {
        assert!(wrong(&mut guard, at(1), STRANGER, ALICE, password));
    }
    for password in ["mistyped", "a", "c"] {
        let verdict = guard.begin(at(2), STRANGER, Account::User(ALICE), password);
        assert!(matches!(verdict, Verdict::Blocked { .. }), "{password}: {verdict:?}");
    }
    let verdict = guard.begin(at(2), HOME, Account::User(ALICE), "mistyped");
    assert_eq!(verdict, Verdict::KnownWrong, "where it may still be guessed, an old password costs nothing");
}

#[test]
fn a_flood_of_names_forgives_nobody_that_is_blocked() {
    let mut guard =
        Guard::new(Settings { wrong_passwords_of_source: u32::MAX, ..Settings::standard() }, [1; 32]);
    let try_name = |guard: &mut Guard, name: &str, password: &str| match guard.begin(
        at(0),
        STRANGER,
        Account::Nobody(name),
        password,
    ) {
        Verdict::Ask(ticket) => {
            guard.settle(at(0), ticket, Outcome::Wrong);
            true
        }
        _ => false,
    };
    for password in ["a", "b", "c"] {
        assert!(try_name(&mut guard, "mallory", password));
        assert!(wrong(&mut guard, at(0), STRANGER, ALICE, password));
    }
    for n in 0..2 * STRANGERS_MAX {
        assert!(try_name(&mut guard, &format!("name{n}"), "a"));
    }
    let (users, strangers, sources) = guard.counted();
    assert!(users == 1 && strangers <= STRANGERS_MAX && sources == 1, "{users} {strangers} {sources}");
    assert!(!try_name(&mut guard, "mallory", "d"));
    assert!(!wrong(&mut guard, at(0), STRANGER, ALICE, "d"));
}

#[test]
fn sources_are_bounded_and_nothing_is_kept_that_is_over() {
    let mut guard = guard();
    for n in 0..SOURCES_MAX as u32 + 10 {
        wrong(&mut guard, at(0), IpAddr::V4(n.into()), UserId(n.into()), "x");
    }
    assert!(guard.counted().2 <= SOURCES_MAX);
    guard.sweep(at(1800));
    assert_eq!(guard.counted(), (0, 0, 0));
}

#[test]
fn settings_can_be_held_below_what_a_domain_locks_at() {
    let below = |threshold| {
        let settings = Settings::standard().below(threshold);
        (settings.wrong_passwords_max, settings.wrong_passwords_of_known)
    };
    assert_eq!([0, 10, 5, 4, 3, 2, 1].map(below), [(3, 1), (3, 1), (3, 1), (3, 0), (2, 0), (1, 0), (1, 0)]);
}

/// What Active Directory does with wrong passwords.
#[derive(Default)]
struct Domain {
    wrong: u32,
    last: Option<Instant>,
}

impl Domain {
    fn ask(&mut self, now: Instant, is_right: bool) {
        if self.last.is_some_and(|last| now.since(last) >= WINDOW) {
            self.wrong = 0;
        }
        if is_right {
            *self = Domain::default();
        } else {
            self.wrong += 1;
            self.last = Some(now);
            assert!(self.wrong < 5, "the account is locked");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin { source: u8, password: u8 },
    Settle { at: usize, is_heard: bool },
    Pass { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4u8, 0..12u8).prop_map(|(source, password)| Step::Begin { source, password }),
        3 => (0..8usize, any::<bool>()).prop_map(|(at, is_heard)| Step::Settle { at, is_heard }),
        1 => (0..1000u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

proptest! {
    /// However tries come, from wherever, many at once, settled in any order and heard of or not: the domain never locks.
    #[test]
    fn no_account_is_ever_locked_through_us(steps in proptest::collection::vec(step(), 1..300)) {
        let (mut guard, mut domain, mut now) = (guard(), Domain::default(), at(0));
        let mut asked: Vec<(Ticket, bool)> = Vec::new();
        for step in steps {
            match step {
                Step::Begin { source, password } => {
                    let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, source));
                    let verdict = guard.begin(now, source, Account::User(ALICE), &password.to_string());
                    if let Verdict::Ask(ticket) = verdict {
                        // The domain counts before we hear of it. Password 0 is right.
                        domain.ask(now, password == 0);
                        asked.push((ticket, password == 0));
                    }
                }
                Step::Settle { at, is_heard } if !asked.is_empty() => {
                    let (ticket, is_right) = asked.remove(at % asked.len());
                    let outcome = match (is_heard, is_right) {
                        (false, _) => Outcome::Unanswered,
                        (true, true) => Outcome::Right,
                        (true, false) => Outcome::Wrong,
                    };
                    guard.settle(now, ticket, outcome);
                }
                Step::Settle { .. } => {}
                Step::Pass { seconds } => now = now + Duration::from_secs(seconds),
            }
        }
    }
}
