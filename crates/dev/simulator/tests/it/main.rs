//! Many seeds; `ACP_SEED=N` runs that one alone.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use acp_dev_simulator::{Summary, run};

/// Seeds in the gate.
const SEEDS: u64 = 200;

#[test]
fn every_invariant_holds_with_every_seed() {
    if let Ok(seed) = std::env::var("ACP_SEED") {
        let seed = seed.parse().expect("ACP_SEED is a number");
        println!("{:?}", run(seed).expect("every invariant holds"));
        return;
    }
    let next = AtomicU64::new(1);
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let summaries: Result<Vec<Vec<Summary>>, String> = thread::scope(|scope| {
        let work = || {
            let seeds = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed <= SEEDS));
            seeds.map(run).collect::<Result<Vec<_>, _>>()
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let summaries = summaries.expect("every invariant holds").concat();
    assert_eq!(summaries.len() as u64, SEEDS);
    let sum = |of: fn(&Summary) -> u64| summaries.iter().map(of).sum::<u64>();
    let (entries, terms, voters) = (sum(|one| one.entries), sum(|one| one.terms), sum(|one| one.voters));
    let (running, grants, faults) = (sum(|one| one.running), sum(|one| one.grants), sum(|one| one.faults));
    println!(
        "{entries} entries, {terms} terms, {voters} sets of voters, {running} guests seen, {grants} grants, {faults} faults"
    );
    assert!(entries > 40 * SEEDS && terms > SEEDS && voters > 3 * SEEDS, "little happened");
    assert!(running > 300 * SEEDS && grants > 6 * SEEDS && faults > 4 * SEEDS, "little happened");
}

#[test]
fn a_seed_runs_the_same_way_again() {
    let described = |seed| format!("{:?}", run(seed).expect("every invariant holds"));
    assert_eq!(described(7), described(7));
    assert_ne!(described(7), described(8));
}
