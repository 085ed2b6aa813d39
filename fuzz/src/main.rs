//! `fuzz TARGET --seconds N [--seed S]`: mutates the corpus until the time is over or an input panics.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fuzz::mutate::{Random, mutate};
use fuzz::targets::{ALL, Target};

const USAGE: &str = "usage: fuzz TARGET [--seconds N] [--seed S], or fuzz list";

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context(USAGE)?;
    if name == "list" {
        ALL.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    let (mut seconds, mut seed) = (60, 1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().context(USAGE)?.parse().context(USAGE)?;
        match option.as_str() {
            "--seconds" => seconds = value,
            "--seed" => seed = value,
            _ => bail!(USAGE),
        }
    }
    let target = ALL.iter().find(|(known, _)| *known == name).context("no such target; see `fuzz list`")?;
    run(target, Duration::from_secs(seconds), seed)
}

fn run(&(name, target): &Target, duration: Duration, seed: u64) -> anyhow::Result<ExitCode> {
    let corpus = fuzz::inputs(name)?.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    if corpus.is_empty() {
        bail!("the corpus of {name} is empty");
    }
    let mut random = Random::new(seed);
    let start = Instant::now();
    let mut count: u64 = 0;
    while start.elapsed() < duration {
        let octets = mutate(&mut random, &corpus);
        count += 1;
        if panic::catch_unwind(AssertUnwindSafe(|| target(&octets))).is_err() {
            let path = fuzz::folder().join("crashes").join(format!("{name}-{:016x}", hash(&octets)));
            std::fs::write(&path, &octets)?;
            println!("{name}: input {count} of seed {seed} panics, kept as {}", path.display());
            return Ok(ExitCode::FAILURE);
        }
    }
    println!("{name}: {count} inputs of seed {seed}, none panics");
    Ok(ExitCode::SUCCESS)
}

/// FNV-1a, for names of files.
fn hash(octets: &[u8]) -> u64 {
    octets
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3))
}
