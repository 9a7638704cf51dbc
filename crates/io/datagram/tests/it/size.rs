//! How large a datagram may be, found out over a link whose far end takes less than the near one believes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use acp_base::{BootInstant, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_datagram::selftest::{Input, SelfTest};
use nix::sched::{CloneFlags, unshare};

use crate::{
    namespace::{CLUSTER, Node, PORT, ip, wait_carrier},
    selftest::Tester,
};

/// How long it may take until a way is known: a handful of questions, one a second, on a machine that does something else, too.
const LIMIT: Duration = Duration::from_secs(40);

/// The far end's packets; those of the largest datagrams have 1,428.
const NARROW: &str = "1300";

fn tester(number: u128) -> Tester {
    let node = Node::of(CLUSTER, number, &format!("10.78.0.{number}"));
    let at = |number: u128| SocketAddr::new(format!("10.78.0.{number}").parse().expect("an address"), PORT);
    let members: BTreeMap<Uid, SocketAddr> = [1, 2].map(|number| (Uid::from_u128(number), at(number))).into();
    let test = SelfTest::new(node.uid, BootInstant::default(), Duration::from_millis(20));
    let mut tester = Tester { node, test, started: Instant::now(), members };
    let uids: Vec<Uid> = tester.members.keys().copied().collect();
    tester.give(Input::Members(&uids));
    tester
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn known(tester: &Tester) -> (Option<usize>, Option<u32>) {
    let report = tester.test.report(tester.now().boot).next().expect("one peer");
    (report.datagram_bytes, report.unicast_loss_permille)
}

/// The near node: first on a wide link, then on one that drops large packets without a word, then on a wide one again.
async fn near(set: mpsc::Sender<&'static str>) {
    let mut tester = tester(1);
    for (mtu, wanted) in [("1500", 1_400), (NARROW, 1_232), ("1500", 1_400)] {
        set.send(mtu).expect("the far end listens");
        let look = async || {
            tester.turn().await;
            seen(known(&tester), |(bytes, _loss)| *bytes == Some(wanted))
        };
        let (_, loss) = wait_for_async("the largest datagram", LIMIT, look).await.expect("it is found");
        assert!(loss.is_some_and(|loss| loss < 200), "it is told apart from loss: {loss:?}");
    }
}

#[test]
fn a_link_that_drops_large_packets_silently_is_found_and_told_apart_from_loss() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a network namespace needs root");
        return;
    }
    let (number, numbered) = mpsc::channel();
    let (set, asked) = mpsc::channel::<&'static str>();
    let (linked, stop) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let (at_link, ends) = (Arc::clone(&linked), Arc::clone(&stop));
    let far = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        number.send(nix::unistd::gettid()).expect("the near end listens");
        at_link.wait();
        ip(&["link", "set", "n1", "up"]);
        ip(&["address", "add", "10.78.0.2/24", "dev", "n1"]);
        at_link.wait();
        runtime().block_on(async {
            let mut tester = tester(2);
            while !ends.load(Ordering::Relaxed) {
                if let Ok(mtu) = asked.try_recv() {
                    ip(&["link", "set", "n1", "mtu", mtu]);
                }
                tester.turn().await;
            }
        });
    });
    let near = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        let far = numbered.recv().expect("the far end says it").to_string();
        ip(&["link", "add", "n0", "type", "veth", "peer", "name", "n1"]);
        ip(&["link", "set", "n1", "netns", &far]);
        ip(&["link", "set", "n0", "up"]);
        ip(&["address", "add", "10.78.0.1/24", "dev", "n0"]);
        linked.wait();
        linked.wait();
        wait_carrier("n0");
        runtime().block_on(near(set));
    });
    let near = near.join();
    stop.store(true, Ordering::Relaxed);
    far.join().expect("the far end failed, see above");
    near.expect("the near end failed, see above");
}
