//! The self-test over real sockets and the real clock: what its owner does with it.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use acp_base::{BootInstant, Uid, WallTime};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_datagram::{
    Batch, Channel,
    Path::{Multicast, Unicast},
    selftest::{Input, Mode, Now, Output, SelfTest},
};

use crate::namespace::{CLUSTER, Node, in_namespace};

/// One node with its self-test, and where the members are.
pub(crate) struct Tester {
    pub(crate) node: Node,
    pub(crate) test: SelfTest,
    pub(crate) started: std::time::Instant,
    pub(crate) members: BTreeMap<Uid, SocketAddr>,
}

impl Tester {
    pub(crate) fn now(&self) -> Now {
        let millis = u64::try_from(self.started.elapsed().as_millis()).expect("short");
        Now { boot: BootInstant::from_millis(millis), wall: WallTime(1_000_000 + millis) }
    }

    pub(crate) fn give(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.test.step(self.now(), input, &mut out);
        let mut datagram = Vec::new();
        for output in out {
            match output {
                Output::Multicast(payload) => {
                    self.node.sealer.seal(Multicast, Channel::SelfTest, &payload, &mut datagram).expect("sealed");
                    self.node.endpoint.multicast(&datagram).expect("sent");
                }
                Output::Unicast(peer, payload) => {
                    self.node.sealer.seal(Unicast, Channel::SelfTest, &payload, &mut datagram).expect("sealed");
                    self.node.endpoint.send(&datagram, self.members[&peer]).expect("sent");
                }
                Output::Whole(peer, payload) => {
                    self.node.sealer.seal(Unicast, Channel::SelfTest, &payload, &mut datagram).expect("sealed");
                    self.node.endpoint.send_whole(&datagram, self.members[&peer]).expect("sent, or too large");
                }
                Output::Changed { .. } => {}
            }
        }
    }

    /// Takes what has arrived within a millisecond, and ticks if it is time.
    pub(crate) async fn turn(&mut self) {
        let mut batch = Batch::new();
        let arrived = tokio::time::timeout(Duration::from_millis(1), self.node.endpoint.receive(&mut batch)).await;
        if let Ok(received) = arrived {
            received.expect("the sockets work");
        }
        let now = self.now().boot;
        for arrival in batch.arrivals() {
            let opened = self.node.opener.open(now, arrival).map(|opened| {
                assert_eq!(opened.channel, Channel::SelfTest);
                (opened.sender, opened.path, opened.payload.to_vec())
            });
            if let Ok((from, path, payload)) = opened {
                self.give(Input::Message { from, path, payload: &payload });
            }
        }
        self.give(Input::Tick);
    }
}

#[test]
fn three_nodes_find_that_multicast_works_and_how_far_they_are_apart() {
    in_namespace(&["10.77.0.1/24", "10.77.0.2/24", "10.77.0.3/24"], || async {
        let nodes = [1, 2, 3].map(|number| Node::of(CLUSTER, number, &format!("10.77.0.{number}")));
        let members: BTreeMap<_, _> = nodes.iter().map(|node| (node.uid, node.endpoint.address())).collect();
        let uids: Vec<_> = members.keys().copied().collect();
        let started = std::time::Instant::now();
        let mut testers = nodes.map(|node| {
            let test = SelfTest::new(node.uid, BootInstant::default(), Duration::from_millis(20));
            Tester { node, test, started, members: members.clone() }
        });
        testers.iter_mut().for_each(|tester| tester.give(Input::Members(&uids)));
        let look = async || {
            for tester in &mut testers {
                tester.turn().await;
            }
            let reports = testers.iter().flat_map(|tester| tester.test.report(tester.now().boot));
            seen(reports.collect::<Vec<_>>(), |reports| {
                reports.iter().all(|report| report.mode == Mode::Multicast && report.round_trip.is_some())
            })
        };
        let reports = wait_for_async("multicast everywhere", Duration::from_secs(20), look).await.expect("it works");
        assert_eq!(reports.len(), 6);
        for report in reports {
            assert_eq!((report.hears, report.is_heard), (true, true), "{report:?}");
            assert!(report.round_trip.is_some_and(|trip| trip < Duration::from_secs(1)), "{report:?}");
            // One clock for all: no more apart than a turn of all three may take.
            assert!(report.clock_offset_millis.is_some_and(|offset| offset.abs() < 500), "{report:?}");
        }
    });
}
