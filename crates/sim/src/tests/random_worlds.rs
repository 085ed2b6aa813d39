//! Two hundred random worlds, cut into tests so that they run side by side; and some slow ones.

use records::Change;
use sip_message::Method;

use crate::event::{Fact, Party, Payload, What};
use crate::random::{DOMAIN, Mix, run_mix, run_slow_seed};
use crate::{Report, front_ends, run_seed};

/// Worlds of one test.
const WORLDS: u64 = 20;
/// Slow worlds of one test.
const SLOW_WORLDS: u64 = 5;

fn run(part: u64) {
    for seed in part * WORLDS..(part + 1) * WORLDS {
        let report = run_seed(seed);
        assert!(report.violations.is_empty(), "{report}");
    }
}

macro_rules! parts {
    ($($name:ident $part:literal)*) => {
        $(
            #[test]
            fn $name() {
                run($part);
            }
        )*
    };
}

parts! {
    seeds_0_to_19 0
    seeds_20_to_39 1
    seeds_40_to_59 2
    seeds_60_to_79 3
    seeds_80_to_99 4
    seeds_100_to_119 5
    seeds_120_to_139 6
    seeds_140_to_159 7
    seeds_160_to_179 8
    seeds_180_to_199 9
}

/// What each showed once: a choice that came back when the clock was set back, and stayed; a copy that went on to a device's other
/// connection when another copy had been answered. Of the last it was the checker that was wrong: a call's entry in the log waited for a
/// full disk, and the server died before the next try.
#[test]
fn seeds_that_failed_once() {
    for seed in [337, 370, 3130] {
        let report = run_mix(seed, front_ends(DOMAIN), Mix::PLAIN);
        assert!(report.violations.is_empty(), "{report}");
    }
}

/// The same of worlds with more in them. Of three it was the checkers that were wrong: a call that took over another one (RFC 3891) was with
/// whoever that one had been sent on to; and the rest of a list that did not fit into one NOTIFY is told though it is known. The last showed a
/// call that did not end: who had answered it for somebody else hung up over another connection, and was refused.
#[test]
fn mixed_seeds_that_failed_once() {
    for seed in [5057, 5112, 5178, 6552] {
        let report = run_seed(seed);
        assert!(report.violations.is_empty(), "{report}");
    }
}

#[test]
fn a_seed_is_one_world() {
    let traces = [run_seed(1_000).trace, run_seed(1_000).trace, run_seed(1_001).trace];
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}

/// Devices that are away for hours and days.
fn run_slow(part: u64) {
    for seed in part * SLOW_WORLDS..(part + 1) * SLOW_WORLDS {
        let report = run_slow_seed(seed, front_ends(DOMAIN));
        assert!(report.violations.is_empty(), "slow {report}");
    }
}

#[test]
fn slow_seeds_0_to_4() {
    run_slow(0);
}

#[test]
fn slow_seeds_5_to_9() {
    run_slow(1);
}

/// Whether something in a world is as `is_it` says.
fn count(report: &Report, is_it: fn(&What) -> bool) -> usize {
    report.world.events().iter().filter(|event| is_it(&event.what)).count()
}

#[test]
fn mixed_worlds_have_transfers_settings_and_leavers() {
    let reports: Vec<_> = (0..20).map(run_seed).collect();
    let sum = |is_it: fn(&What) -> bool| reports.iter().map(|report| count(report, is_it)).sum::<usize>();
    let transfers =
        sum(|what| matches!(what, What::Fact { fact: Fact::Transferred { status: 200..300, .. }, .. }));
    assert!(transfers > 5, "{transfers} transfers");
    let shown = sum(|what| match what {
        What::Sent { from: Party::Machine(_), payload: Payload::Sip(message), .. } => {
            let body = String::from_utf8_lossy(message.body());
            message.is_request() && message.method() == Method::Notify && body.contains("<dialog ")
        }
        _ => false,
    });
    assert!(shown > 20, "{shown} NOTIFYs of calls");
    let durable = |is_it: fn(&Change) -> bool| {
        let all = reports.iter().flat_map(|report| report.world.events());
        all.filter(|e| matches!(&e.what, What::Durable { change, .. } if is_it(change))).count()
    };
    let settings = durable(|change| matches!(change, Change::SetCallSettings { .. }));
    assert!(settings > 20, "{settings} settings");
    let steps = durable(|change| matches!(change, Change::Replicate(_) | Change::SetUserState { .. }));
    assert!(steps > 20, "{steps} steps");
    let revocations = durable(|change| matches!(change, Change::RevokeTokens { .. }));
    assert!(revocations > 5, "{revocations} revocations");
}

#[test]
fn random_worlds_are_not_empty() {
    let reports: Vec<_> = (0..10).map(run_seed).collect();
    let sum = |count: fn(&crate::Report) -> usize| reports.iter().map(count).sum::<usize>();
    assert!(sum(|r| r.accepted) > 200, "{} messages", sum(|r| r.accepted));
    assert!(sum(|r| r.answered_calls) > 20, "{} calls", sum(|r| r.answered_calls));
    assert!(sum(|r| r.crashes) > 10, "{} crashes", sum(|r| r.crashes));
}
