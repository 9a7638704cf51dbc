//! What a domain of so many nodes costs each of them, while all change as much.
//!
//! Deliberately not here: processor's time of whoever runs the world, which is all nodes at once.

use std::{collections::BTreeSet, time::Duration};

use acp_core_sync::Config;
use rustix::time::{ClockId, clock_gettime};

use crate::{
    network::Loss,
    world::{Received, World},
};

/// Slots of each node, all of which it changes each second.
pub const SLOTS: u64 = 5;

/// Bytes of a slot's value: a state with a few fields.
pub const VALUE_BYTES: usize = 150;

/// How long nodes that have just started come to know each other: they ask their neighbours for 8 s.
const WARM_MS: u64 = 10_000;

/// For how long is measured.
const SECONDS: u64 = 4;

/// How often it is looked whether all hold the same, and for how long at most.
const LOOK_MS: u64 = 20;
const EQUAL_MAX_MS: u64 = 60_000;

/// Nodes whose replicas are compared with what everybody says: all where there are few, some of many.
const COMPARED: usize = 32;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Bytes that a node sent each second, on average; a copy by multicast counts once.
    pub bytes: f64,
    /// Datagrams that a node sent each second, on average.
    pub datagrams: f64,
    /// After how many milliseconds all held what was said last.
    pub equal_ms: u64,
    /// Slots that a node holds of the others, and bytes of their values.
    pub held: (usize, usize),
    /// Processor's time of one node for a second's datagrams of the others: decoded and applied.
    pub receive: Duration,
    /// What this node received meanwhile, each with its sender.
    pub received: Received,
}

/// A domain whose nodes have come to know each other.
pub fn domain(nodes: usize) -> World {
    let mut world = World::new(9, nodes, Config::default());
    (0..nodes).for_each(|index| (0..SLOTS).for_each(|slot| world.publish(index, slot, VALUE_BYTES)));
    world.run_for(WARM_MS);
    settle(&mut world);
    world
}

/// Measures it under a loss of so many percent.
///
/// # Errors
/// What the nodes do not come to hold alike.
pub fn measure(world: &mut World, loss_percent: u64) -> Result<Cost, String> {
    world.network.loss = if loss_percent == 0 { Loss::None } else { Loss::Percent(loss_percent) };
    let nodes = world.nodes.len();
    let before: Vec<_> = world.nodes.iter().map(|node| node.sent).collect();
    world.tap(0);
    for _second in 0..SECONDS {
        // Each at a time of its own, as nodes do.
        for part in 0..20 {
            for index in (part..nodes).step_by(20) {
                (0..SLOTS).for_each(|slot| world.publish(index, slot, VALUE_BYTES));
            }
            world.run_for(1_000 / 20);
        }
    }
    let (received, spent) = world.untap();
    let sent = world.nodes.iter().zip(before);
    let (bytes, datagrams) = sent.fold((0, 0), |(bytes, datagrams), (node, before)| {
        (bytes + node.sent.bytes - before.bytes, datagrams + node.sent.datagrams - before.datagrams)
    });
    let each = (nodes as u64 * SECONDS) as f64;
    let equal_ms = settle(world);
    if let Some(difference) = world.difference_of(&compared(nodes)) {
        return Err(format!("{nodes} nodes at {loss_percent} % loss: {difference}"));
    }
    let held = world.nodes[0].sync.as_ref().map(acp_core_sync::Sync::used).unwrap_or_default();
    Ok(Cost {
        bytes: bytes as f64 / each,
        datagrams: datagrams as f64 / each,
        equal_ms,
        held,
        receive: spent / u32::try_from(SECONDS).unwrap_or(1),
        received,
    })
}

/// Lets time pass until all hold the same; answers how many milliseconds.
fn settle(world: &mut World) -> u64 {
    let compared = compared(world.nodes.len());
    let mut waited = 0;
    while waited < EQUAL_MAX_MS && world.difference_of(&compared).is_some() {
        world.run_for(LOOK_MS);
        waited += LOOK_MS;
    }
    waited
}

fn compared(nodes: usize) -> BTreeSet<usize> {
    (0..nodes).step_by(nodes.div_ceil(COMPARED).max(1)).collect()
}

/// Adds the processor's time that one node's work takes.
pub(crate) fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let began = thread_time();
    let done = work();
    *spent += thread_time().saturating_sub(began);
    done
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use acp_base::Uid;

    use super::*;

    #[test]
    fn a_domain_is_measured_with_and_without_loss() {
        let mut world = domain(8);
        let calm = measure(&mut world, 0).expect("they come to hold the same");
        // Each node's changes take one datagram a second, beside its digests.
        assert!((1.0..20.0).contains(&calm.datagrams) && calm.bytes > SLOTS as f64 * VALUE_BYTES as f64, "{calm:?}");
        assert_eq!(calm.held.0, 7 * usize::try_from(SLOTS).expect("small"));
        let heard: BTreeSet<Uid> = calm.received.iter().map(|(from, _)| *from).collect();
        assert_eq!(heard.len(), 7, "of every other node");
        let lossy = measure(&mut world, 10).expect("they come to hold the same");
        // What is lost is sent again.
        assert!(lossy.bytes > calm.bytes, "{lossy:?} after {calm:?}");
    }
}
