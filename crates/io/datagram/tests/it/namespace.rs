//! A network namespace for one test, and nodes in it.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use acp_base::{BootInstant, Uid};
use acp_dev_wait::{seen, wait_for, wait_for_async};
use acp_io_datagram::{Batch, Channel, Endpoint, GroupKey, Identity, KeyRing, Loopback, Opener, Path, Refusal, Sealer};
use nix::sched::{CloneFlags, unshare};

/// How long something may take that the kernel does at once: a loaded machine may not run us for a while.
const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// The port of the nodes: the namespace is theirs alone.
pub(crate) const PORT: u16 = 4_711;

pub(crate) const CLUSTER: Uid = Uid::from_u128(1);

/// Runs `test` on a thread that is alone in a fresh network namespace, where one link has these addresses.
pub(crate) fn in_namespace<F: Future<Output = ()>>(
    addresses: &'static [&'static str],
    test: impl FnOnce() -> F + Send + 'static,
) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a network namespace needs root");
        return;
    }
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        ip(&["link", "set", "lo", "up"]);
        // A pair, since the loopback link has no multicast of IPv6, and a link without carrier may lose it.
        ip(&["link", "add", "n0", "type", "veth", "peer", "name", "n1"]);
        ["n0", "n1"].into_iter().for_each(|link| ip(&["link", "set", link, "up"]));
        ["n0", "n1"].into_iter().for_each(wait_carrier);
        addresses.iter().for_each(|address| ip(&["address", "add", address, "dev", "n0", "nodad"]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    };
    std::thread::spawn(body).join().expect("the test failed, see above");
}

pub(crate) fn ip(arguments: &[&str]) {
    // `nodad` is for IPv6 alone.
    let is_v4 = !arguments.iter().any(|argument| argument.contains(':'));
    let arguments = arguments.iter().filter(|argument| !(is_v4 && **argument == "nodad"));
    let status = Command::new("ip").args(arguments).status().expect("iproute2 is installed");
    assert!(status.success(), "ip has failed, see above");
}

/// Waits until a link carries: the kernel finds that out after both ends are up, and drops what is sent before.
pub(crate) fn wait_carrier(link: &str) {
    let state = || {
        let output = Command::new("ip").args(["-o", "link", "show", link]).output().expect("iproute2 is installed");
        seen(String::from_utf8_lossy(&output.stdout).into_owned(), |shown| shown.contains("state UP"))
    };
    wait_for(link, WAIT_LIMIT, state).expect("both ends are up");
}

/// One node: sockets, a sealer, an opener, and what it has heard.
pub(crate) struct Node {
    pub(crate) uid: Uid,
    pub(crate) endpoint: Endpoint,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    batch: Batch,
    heard: Vec<(Uid, Path, Vec<u8>)>,
}

impl Node {
    /// A node of this cluster at this address, in the group, beside others on the same host.
    pub(crate) fn of(cluster: Uid, number: u128, address: &str) -> Self {
        Self::with(cluster, number, address, Loopback::On)
    }

    pub(crate) fn with(cluster: Uid, number: u128, address: &str, loopback: Loopback) -> Self {
        let identity = Identity { cluster, node: Uid::from_u128(number) };
        let ring = KeyRing::new(GroupKey::new(1, &mut [7; 32]));
        let address: IpAddr = address.parse().expect("an address");
        let mut endpoint = Endpoint::bind(SocketAddr::new(address, PORT)).expect("bound");
        endpoint.join(cluster, loopback).expect("joined");
        Self {
            uid: identity.node,
            endpoint,
            sealer: Sealer::new(identity, 1, &ring).expect("a sealer"),
            opener: Opener::new(identity, ring),
            batch: Batch::new(),
            heard: Vec::new(),
        }
    }

    pub(crate) fn sealed(&mut self, path: Path, text: &str) -> Vec<u8> {
        let mut datagram = Vec::new();
        self.sealer.seal(path, Channel::Sync, text.as_bytes(), &mut datagram).expect("sealed");
        datagram
    }

    pub(crate) fn multicast(&mut self, text: &str) {
        let datagram = self.sealed(Path::Multicast, text);
        self.endpoint.multicast(&datagram).expect("sent");
    }

    pub(crate) fn send(&mut self, to: SocketAddr, text: &str) {
        let datagram = self.sealed(Path::Unicast, text);
        self.endpoint.send(&datagram, to).expect("sent");
    }

    /// Takes what is there, if anything comes within a few milliseconds.
    async fn take(&mut self) {
        let received = tokio::time::timeout(Duration::from_millis(5), self.endpoint.receive(&mut self.batch)).await;
        match received {
            Ok(received) => received.expect("the sockets work"),
            Err(_nothing) => return,
        }
        for arrival in self.batch.arrivals() {
            if let Ok(opened) = self.opener.open(BootInstant::from_millis(1), arrival) {
                self.heard.push((opened.sender, opened.path, opened.payload.to_vec()));
            }
        }
    }

    /// Waits until this is what was heard, in this order, and forgets it.
    pub(crate) async fn wait_heard(&mut self, expected: &[(&Uid, Path, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(uid, path, text)| (**uid, *path, text.as_bytes().to_vec())).collect();
        let look = async || {
            self.take().await;
            seen(self.heard.clone(), |heard| *heard == expected)
        };
        wait_for_async("what was sent", WAIT_LIMIT, look).await.expect("it arrives");
        self.heard.clear();
    }

    /// Waits until so many were refused for this reason.
    pub(crate) async fn wait_refused(&mut self, refusal: Refusal, count: u64) {
        let look = async || {
            self.take().await;
            seen(self.opener.refused(refusal), |refused| *refused == count)
        };
        wait_for_async("a refusal", WAIT_LIMIT, look).await.expect("it is refused");
    }
}
