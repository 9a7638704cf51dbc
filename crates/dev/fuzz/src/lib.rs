//! Fuzz targets as ordinary tests: a property of a decoder is checked for every input of a committed corpus, and for many
//! inputs made of these by random edits.
//!
//! A target's corpus is the folder `corpus/<target>` beside the `Cargo.toml` of the crate that has the decoder: real
//! messages and what once broke something. Runs are the same each time; `ACP_FUZZ_CASES` and `ACP_FUZZ_SEED` make them
//! longer and others. Deliberately not here: guidance by coverage, which needs instrumented builds. Decoders of text meet
//! deep inputs all the same, because edits begin at messages that are well-formed.
//!
//! **Invariant**: whatever a run reports can be repeated from what it prints.

mod edit;
mod memory;

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

pub use memory::peak_bytes;

use edit::Edit;

/// Inputs made for each target unless `ACP_FUZZ_CASES` says otherwise: all targets together take seconds.
const CASES: u32 = 400;
/// Edits between a committed input and one that is made of it, at most.
const EDITS_MAX: usize = 6;
/// The fewest inputs a corpus has; fewer would be a wrong path.
const CORPUS_MIN: usize = 3;
/// How often a failing input is made smaller at most.
const SHRINK_STEPS_MAX: u32 = 2_000;

/// Checks that the property, which panics where it does not hold, holds for `corpus/<target>` and what is made of it.
/// `crate_dir` is the caller's `env!("CARGO_MANIFEST_DIR")`.
///
/// # Panics
/// With an input for which the property does not hold.
pub fn check(crate_dir: &str, target: &str, property: impl Fn(&[u8])) {
    let folder = Path::new(crate_dir).join("corpus").join(target);
    let corpus = read(&folder);
    for (name, input) in &corpus {
        // Said before, because a property panics with words of its own.
        eprintln!("corpus/{target}/{name}");
        property(input);
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let mut runner = TestRunner::new_with_rng(config(), rng());
    let made = (any::<Index>(), vec(edit::strategy(), 1..=EDITS_MAX))
        .prop_map(|(start, edits)| Made { bytes: apply(&edits, &inputs[start.index(inputs.len())], &inputs) });
    let outcome = runner.run(&made, |made| {
        property(&made.bytes);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{target}: the run ended: {reason}"),
        Err(TestError::Fail(reason, made)) => {
            let text = made.bytes.escape_ascii();
            panic!(
                "{target}: {reason}\nfor the input below; mend the decoder and add it to {}\n{text}",
                folder.display()
            );
        }
    }
}

/// An input, shown as text where it is.
#[derive(Clone)]
struct Made {
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.bytes.escape_ascii())
    }
}

fn apply(edits: &[Edit], start: &[u8], inputs: &[Vec<u8>]) -> Vec<u8> {
    edits.iter().fold(start.to_vec(), |bytes, edit| edit.apply(bytes, inputs))
}

fn read(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut corpus: Vec<_> = entries
        .map(|entry| {
            let entry = entry.expect("the folder can be read");
            (entry.file_name().display().to_string(), fs::read(entry.path()).expect("the corpus is readable"))
        })
        .collect();
    corpus.sort();
    assert!(corpus.len() >= CORPUS_MIN, "{} has {} inputs", folder.display(), corpus.len());
    corpus
}

fn config() -> Config {
    let cases = setting("ACP_FUZZ_CASES").map_or(CASES, |cases| u32::try_from(cases).unwrap_or(u32::MAX));
    Config { cases, failure_persistence: None, max_shrink_iters: SHRINK_STEPS_MAX, ..Config::default() }
}

fn rng() -> TestRng {
    let number = setting("ACP_FUZZ_SEED").unwrap_or_default();
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_error| panic!("{name}={text} is no number")))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const HERE: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn a_defect_behind_a_well_formed_message_is_found_and_shown() {
        let deep = |input: &[u8]| {
            let text = String::from_utf8_lossy(input);
            let is_call = text.starts_with("{\"method\":\"") && text.ends_with('}');
            assert!(!(is_call && text.contains("4294967296")), "too large a number");
        };
        let found = catch_unwind(AssertUnwindSafe(|| super::check(HERE, "sample", deep))).expect_err("it is there");
        let said = found.downcast::<String>().expect("a text");
        assert!(said.contains("corpus/sample\n{\\\"method") && said.contains("4294967296"), "{said}");
    }

    #[test]
    fn what_holds_is_checked_for_all_and_the_same_each_time() {
        let seen = || {
            let inputs = std::cell::RefCell::new(Vec::new());
            super::check(HERE, "sample", |input| inputs.borrow_mut().push(input.to_vec()));
            inputs.into_inner()
        };
        let first = seen();
        assert_eq!(first.len(), 3 + super::CASES as usize);
        assert!(first == seen(), "two runs differ");
    }
}
