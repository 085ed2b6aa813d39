//! Corpus and former crashes, as tests.

use fuzz::mutate::{Random, mutate};
use fuzz::targets::ALL;

#[test]
fn corpus_and_crashes() {
    for (name, target) in ALL {
        let inputs = fuzz::inputs(name).expect("a corpus");
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for path in inputs {
            println!("{}", path.display());
            target(&std::fs::read(&path).expect("readable"));
        }
    }
}

/// A few thousand mutations with every run of the tests: enough to notice a target that broke.
#[test]
fn a_short_run() {
    const INPUTS: usize = 2_000;
    for (name, target) in ALL {
        let corpus: Vec<_> = fuzz::inputs(name)
            .expect("a corpus")
            .iter()
            .map(|path| std::fs::read(path).expect("readable"))
            .collect();
        let mut random = Random::new(7);
        for _ in 0..INPUTS {
            target(&mutate(&mut random, &corpus));
        }
    }
}

#[test]
fn same_seed_same_inputs() {
    let corpus = [b"INVITE sip:a@b.example SIP/2.0\r\n\r\n".to_vec(), b"x".to_vec()];
    let inputs = |seed| {
        let mut random = Random::new(seed);
        (0..100).map(|_| mutate(&mut random, &corpus)).collect::<Vec<_>>()
    };
    assert_eq!(inputs(1), inputs(1));
    assert_ne!(inputs(1), inputs(2));
}
