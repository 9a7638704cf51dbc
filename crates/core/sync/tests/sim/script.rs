//! A life full of faults, and a quiet time after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use acp_core_sync::Config;

use crate::{
    network::{Loss, Network},
    world::World,
};

/// Worlds that are looked at unless `ACP_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 20;
/// Nodes of the largest of them unless `ACP_SIM_NODES` says otherwise.
const NODES: u64 = 30;
/// One in so many worlds is lived through with several domains as well: those take longer.
const SOME: u64 = 3;
/// Domains of the worlds with most of them.
const DOMAINS: usize = 3;
/// Slots that a node may have.
const SLOTS: u64 = 40;
/// Faults in a life.
const STEPS: u64 = 120;
/// How long after the last fault replicas have to be equal: the rounds in which slots of dead nodes go from hand to hand.
const QUIET_MS: u64 = 60_000;
/// How long they have to stay so.
const EQUAL_MS: u64 = 2_500;

fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test may be made longer from outside")]
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

/// What was seen in a life.
#[derive(Debug)]
pub(crate) struct Life {
    seed: u64,
    nodes: u64,
    domains: usize,
    /// What broke, by invariant; the first time.
    pub(crate) wrong: BTreeMap<&'static str, String>,
    pub(crate) difference: Option<String>,
    pub(crate) stale: u64,
    pub(crate) repeats: u64,
    pub(crate) begun_again: u64,
    pub(crate) gone: u64,
    pub(crate) relayed: u64,
    pub(crate) longest: usize,
}

/// Every life, lived once for all invariants.
pub(crate) fn lives() -> &'static [Life] {
    static LIVES: LazyLock<Vec<Life>> = LazyLock::new(|| match setting("ACP_SIM_SEED") {
        Some(seed) => (1..=DOMAINS).map(|domains| observe(seed, domains)).collect(),
        None => {
            let seeds = 0..setting("ACP_SIM_SEEDS").unwrap_or(SEEDS);
            let domains = |seed: u64| 1..=if seed.is_multiple_of(SOME) { DOMAINS } else { 1 };
            seeds.flat_map(|seed| domains(seed).map(move |domains| observe(seed, domains))).collect()
        }
    });
    &LIVES
}

/// Fails if less than this was seen in all lives together: they were too easy. One life alone need not have it all.
pub(crate) fn expect_faults(least: u64, what: &str, seen: impl Fn(&Life) -> u64) {
    let seen: u64 = lives().iter().map(seen).sum();
    assert!(setting("ACP_SIM_SEED").is_some() || seen > least, "{seen}: hardly anything {what}");
}

/// Fails with every life in which something is wrong.
pub(crate) fn expect_none<'a>(wrong: impl Fn(&'a Life) -> Option<&'a String>) {
    let found: Vec<String> = lives()
        .iter()
        .filter_map(|life| {
            Some(format!("seed {}, {} nodes, {} domains: {}", life.seed, life.nodes, life.domains, wrong(life)?))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn observe(seed: u64, domains: usize) -> Life {
    let most = setting("ACP_SIM_NODES").unwrap_or(NODES);
    // Most worlds are small, because faults are what is looked for; some are as large as asked for.
    let nodes = if seed % 20 == 19 { most } else { 3 * domains as u64 + seed % 6 };
    let world = live(seed, nodes, domains);
    let syncs = || world.nodes.iter().filter_map(|node| node.sync.as_ref());
    Life {
        seed,
        nodes,
        domains,
        difference: world.difference(),
        stale: syncs().map(|sync| sync.counters().stale_incarnation).sum(),
        repeats: syncs().map(|sync| sync.counters().repeats).sum(),
        begun_again: world.begun_again,
        gone: world.nodes.iter().map(|node| node.gone).sum(),
        relayed: world.nodes.iter().map(|node| node.relayed).sum(),
        longest: world.nodes.iter().map(|node| node.sent.longest).max().unwrap_or_default(),
        wrong: world.wrong,
    }
}

/// A life and the quiet after it.
fn live(seed: u64, nodes: u64, domains: usize) -> World {
    let nodes = usize::try_from(nodes).expect("small");
    let mut world = World::with_domains(seed, nodes, domains, Config::default());
    world.network.is_unruly = true;
    for index in 0..world.nodes.len() {
        for slot in 0..10 {
            world.publish(index, slot, 60);
        }
    }
    for _ in 0..STEPS {
        disturb(&mut world);
        let pause = if world.random.once_in(8) { 3_000 } else { 150 };
        let millis = world.random.below(pause);
        world.run_for(millis);
    }
    world.network = Network::calm();
    world.settle_modes();
    let end_us = world.now_us + QUIET_MS * 1_000;
    while world.now_us < end_us && world.difference().is_some() {
        world.run_for(1_000);
    }
    world.run_for(EQUAL_MS);
    world
}

fn disturb(world: &mut World) {
    let up = world.up();
    let index = up[world.random.index(up.len())];
    match world.random.below(24) {
        0..=11 => publish(world, index),
        12..=15 => {
            for _ in 0..1 + world.random.below(10) {
                let slot = world.random.below(SLOTS);
                world.withdraw(index, slot);
            }
        }
        16 if up.len() > 2 => world.crash(index),
        17 | 18 => restart(world),
        19 => part(world),
        20 => (world.network.side, world.network.one_way) = (None, false),
        21 => {
            world.network.loss = [Loss::None, Loss::Percent(10), Loss::Percent(30), Loss::Bursts][world.random.index(4)]
        }
        22 => deafen(world),
        23 if world.random.once_in(4) => world.join(),
        _ => {}
    }
}

fn publish(world: &mut World, index: usize) {
    let changes = if world.random.once_in(6) { 200 } else { 8 };
    for _ in 0..1 + world.random.below(changes) {
        let slot = world.random.below(SLOTS);
        let bytes =
            if world.random.once_in(40) { 1_201 + world.random.below(6_000) } else { 8 + world.random.below(300) };
        world.publish(index, slot, usize::try_from(bytes).expect("small"));
    }
}

/// Somebody who is down comes back; now and then with a disk of long ago.
fn restart(world: &mut World) {
    let down: Vec<usize> = (0..world.nodes.len()).filter(|index| world.nodes[*index].sync.is_none()).collect();
    if down.is_empty() {
        return;
    }
    let index = down[world.random.index(down.len())];
    let is_stale = world.random.once_in(3);
    world.lives += 1;
    let incarnation = &mut world.nodes[index].incarnation;
    // No two lives have the same: the lower digits are this life's own.
    let days = if is_stale { (*incarnation / 1_000_000).saturating_sub(2) } else { *incarnation / 1_000_000 + 1 };
    *incarnation = days * 1_000_000 + world.lives * 5_000;
    world.start(index);
    publish(world, index);
}

fn part(world: &mut World) {
    let count = world.nodes.len();
    let cut_domain = world.random.index(world.domains);
    let side: BTreeSet<usize> = if world.domains > 1 && world.random.once_in(2) {
        (0..count).filter(|index| world.domain(*index) == cut_domain).collect()
    } else {
        (0..count).filter(|_| world.random.once_in(2)).collect()
    };
    world.network.side = Some(side);
    world.network.one_way = world.random.once_in(3);
}

fn deafen(world: &mut World) {
    if world.random.once_in(2) {
        world.network.deaf.clear();
    } else {
        let (a, b) = (world.random.index(world.nodes.len()), world.random.index(world.nodes.len()));
        if a != b {
            world.network.deaf.insert((a.min(b), a.max(b)));
        }
    }
    if world.random.once_in(2) {
        world.settle_modes();
    }
}
