//! What it takes at scale: a measurement, run by `ACP_SIM_SCALE=30,100,300 cargo test -p acp-core-sync --test sim scale -- --nocapture`.

use std::fmt::Write;

use acp_core_sync::Config;

use crate::{network::Loss, world::World};

/// Slots of each node, of which it changes as many each second.
const SLOTS: u64 = 20;
const CHANGES: u64 = 5;
const SECONDS: u64 = 10;

/// Bytes and datagrams that a node sent each second, on average and at most; how long all took to be equal afterwards.
fn measure(nodes: usize, loss: Loss) -> String {
    let mut world = World::new(9, nodes, Config::default());
    (0..nodes).for_each(|index| (0..SLOTS).for_each(|slot| world.publish(index, slot, 200)));
    world.run_for(12_000);
    world.network.loss = loss;
    let before: Vec<_> = world.nodes.iter().map(|node| node.sent).collect();
    for second in 0..SECONDS {
        for index in 0..nodes {
            (0..CHANGES).for_each(|slot| world.publish(index, (CHANGES * second + slot) % SLOTS, 200));
        }
        world.run_for(1_000);
    }
    let sent = world.nodes.iter().zip(before);
    let sent: Vec<_> =
        sent.map(|(node, before)| (node.sent.bytes - before.bytes, node.sent.datagrams - before.datagrams)).collect();
    let bytes = sent.iter().map(|sent| sent.0).sum::<u64>() / nodes as u64 / SECONDS;
    let datagrams = sent.iter().map(|sent| sent.1).sum::<u64>() as f64 / nodes as f64 / SECONDS as f64;
    let most = sent.iter().map(|sent| sent.0).max().unwrap_or_default() / SECONDS;
    let mut waited = 0;
    while world.difference().is_some() && waited < 60_000 {
        world.run_for(20);
        waited += 20;
    }
    let mut line = String::new();
    write!(
        line,
        "{nodes:5} nodes, {loss:?}: {bytes} bytes/s and {datagrams:.1} datagrams/s a node (most {most} bytes/s), "
    )
    .expect("text");
    write!(line, "equal {waited} ms after the last second").expect("text");
    assert_eq!(world.difference(), None, "{line}");
    line
}

#[test]
fn scale_is_measured() {
    #[expect(clippy::disallowed_methods, reason = "measurements are asked for from outside")]
    let asked = std::env::var("ACP_SIM_SCALE").unwrap_or_else(|_| "5".to_owned());
    for nodes in asked.split(',') {
        let nodes = nodes.parse().expect("numbers of nodes, with commas between them");
        println!("{}", measure(nodes, Loss::None));
        println!("{}", measure(nodes, Loss::Percent(10)));
    }
}
