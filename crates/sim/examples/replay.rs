//! Replays a random world: `cargo run -p sim --example replay -- SEED [--federated | --slow | --plain] [--ladder] [--about TEXT] [--device NAME] [--notices NAME] [--between NAMES] [--raw TEXT]`.
//!
//! `--federated` runs the world of several organisations of that seed instead of that of one home, `--slow` the one in
//! which devices are away for days, `--plain` the one without transfers, call settings and leavers.
//!
//! `--ladder` prints everything that crossed the world, `--about TEXT` only messages that contain the text (a user, a
//! Call-ID, a mark such as `mark:alice>bob#3.`) among all faults, `--device NAME` only what one device sent and got, `--notices NAME` what presence it was
//! notified of, `--between NAMES` what passed among these machines and devices (with commas between them), `--raw TEXT` every message that contains the text as it is. With two seeds, all from the first to the second
//! are run, and only those that fail are told of at length.

use std::process::ExitCode;

use sim::federated::{honest, random};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seeds: Vec<u64> = arguments.iter().map_while(|a| a.parse().ok()).collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
    let has = |name: &str| arguments.iter().any(|a| a == name);
    let (about, device) = (value("--about"), value("--device"));
    let (first, last) = match seeds[..] {
        [one] => (one, one),
        [first, last] => (first, last),
        _ => {
            eprintln!(
                "usage: replay SEED [LAST-SEED] [--federated | --slow | --plain] [--ladder] [--about TEXT] [--device NAME] [--notices NAME] [--between NAMES] [--raw TEXT]"
            );
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    for seed in first..=last {
        let (text, is_sound, world) = if has("--federated") {
            let outcome = random::run_seed(seed, honest);
            (outcome.to_string(), outcome.violations.is_empty(), outcome.federated.world)
        } else {
            let of_seed = sim::random::Mix::of(seed);
            let mix = if has("--plain") { sim::random::Mix::PLAIN } else { of_seed };
            let mix = sim::random::Mix { slow: has("--slow"), ..mix };
            let report = sim::random::run_mix(seed, sim::front_ends(sim::random::DOMAIN), mix);
            (report.to_string(), report.violations.is_empty(), report.world)
        };
        if has("--ladder") {
            print!("{}", world.ladder(0));
        }
        if let Some(text) = about {
            print!("{}", world.ladder_about(text));
        }
        if let Some(name) = device {
            print!("{}", world.ladder_of(name));
        }
        if let Some(names) = value("--between") {
            print!("{}", world.ladder_between(0, &names.split(',').collect::<Vec<_>>()));
        }
        if let Some(text) = value("--raw") {
            print!("{}", world.raw_about(text));
        }
        if let Some(name) = value("--notices") {
            print!("{}", world.notices_to(name));
        }
        if !is_sound || first == last {
            print!("{text}");
        }
        failed += u64::from(!is_sound);
    }
    println!("{failed} of {} seeds failed", last - first + 1);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
