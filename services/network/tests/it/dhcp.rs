//! dnsmasq, without root, really serves guests.

use acp_core_netplan::bridge_link;
use acp_dev_wait::{seen, wait_for_async};
use acp_io_daemon::new_uid;
use acp_wire_model::{Kind, Object};
use serde_json::json;
use tokio::process;

use crate::{
    harness::{LIMIT, Node, ip, on_node},
    taps::declare,
};

const MAC: &str = "52:54:00:00:00:09";
/// Writes what udhcpc was given to the file named by the environment.
const SCRIPT: &str =
    "#!/bin/sh\n[ \"$1\" = bound ] && echo \"$ip/$mask $router $dns $hostname\" > \"$LEASE\"\nexit 0\n";

/// A machine on the network: a namespace of its own with a link whose other end is a port of the bridge.
struct Guest {
    keeper: process::Child,
    directory: tempfile::TempDir,
}

impl Guest {
    async fn attached_to(bridge: &str) -> Self {
        let keeper = process::Command::new("unshare").args(["--net", "sleep", "600"]).kill_on_drop(true).spawn();
        let keeper = keeper.expect("util-linux is installed");
        let guest = Self { keeper, directory: tempfile::tempdir().expect("a directory") };
        let ours = std::fs::read_link("/proc/thread-self/ns/net").expect("our namespace");
        let theirs = || std::fs::read_link(guest.namespace()).ok();
        let look = async || seen(theirs(), |theirs| theirs.as_ref().is_some_and(|theirs| *theirs != ours));
        wait_for_async("the guest's namespace", LIMIT, look).await.expect("it is made");
        let pid = guest.pid().to_string();
        ip(&["link", "add", "port", "type", "veth", "peer", "name", "eth0", "address", MAC]);
        ip(&["link", "set", "port", "master", bridge, "up"]);
        ip(&["link", "set", "eth0", "netns", &pid]);
        assert!(guest.run(&["ip", "link", "set", "eth0", "up"]).await);
        std::fs::write(guest.path("script"), SCRIPT).expect("our own directory");
        assert!(guest.run(&["chmod", "+x", &guest.path("script")]).await);
        guest
    }

    fn pid(&self) -> u32 {
        self.keeper.id().expect("it runs")
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    /// Runs a program in the guest's namespace; the daemon under test, on the same thread, goes on meanwhile.
    async fn run(&self, arguments: &[&str]) -> bool {
        let mut command = process::Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace())).args(arguments).env("LEASE", self.path("lease"));
        command.status().await.expect("util-linux is installed").success()
    }

    /// Asks until the answer is as wanted.
    async fn wait_lease(&self, is_wanted: impl Fn(&Option<String>) -> bool) -> Option<String> {
        wait_for_async("the lease", LIMIT, async || seen(self.lease().await, &is_wanted))
            .await
            .expect("it comes or goes")
    }

    /// Asks for an address and answers what it was given: address with prefix length, router, name server, host name.
    async fn lease(&self) -> Option<String> {
        let script = self.path("script");
        let asked =
            self.run(&["busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "2", "-T", "1", "-s", &script]).await;
        asked.then(|| std::fs::read_to_string(self.path("lease")).expect("the script wrote it").trim_end().to_owned())
    }
}

async fn served(node: &Node) -> Guest {
    node.framework.run_programs();
    node.create("lan", "10.77.0.1/24").await.expect("it comes up");
    Guest::attached_to(&bridge_link(node.uid("lan"))).await
}

#[test]
fn a_guest_gets_what_its_spec_says() {
    on_node(|node| async move {
        let guest = served(&node).await;
        declare(&node, "test", false);
        let lease = guest.wait_lease(Option::is_some).await;
        assert_eq!(lease.as_deref(), Some("10.77.0.9/24 10.77.0.1 9.9.9.9 demo"));
    });
}

#[test]
fn a_guest_that_is_no_longer_declared_gets_nothing() {
    on_node(|node| async move {
        let guest = served(&node).await;
        declare(&node, "test", false);
        guest.wait_lease(Option::is_some).await;
        node.framework.age_units();
        node.cluster.remove(node.cluster.find(Kind::System, "demo").expect("it is declared").uid);
        guest.wait_lease(Option::is_none).await;
    });
}

#[test]
fn an_address_goes_to_its_next_owner_at_once() {
    on_node(|node| async move {
        let guest = served(&node).await;
        declare(&node, "test", false);
        guest.wait_lease(Option::is_some).await;
        node.framework.age_units();
        let unit = || node.framework.unit(node.uid("lan")).map(|unit| unit.uid);
        let first = unit();
        node.cluster.remove(node.cluster.find(Kind::System, "demo").expect("it is declared").uid);
        let look = async || seen(unit(), |now| now.is_some() && *now != first);
        wait_for_async("another DHCP server", LIMIT, look).await.expect("it is started");
        let nics = json!([{ "network": "lan", "mac": "52:54:00:00:00:10", "address": "10.77.0.9" }]);
        let spec = json!({ "node": "test", "cpus": 1, "memory_bytes": 67_108_864, "nics": nics });
        let name = "heir".to_owned();
        node.cluster
            .put(Object { kind: Kind::System, name, uid: new_uid(), version: 2, spec, slots: Vec::new() }, false);
        assert!(guest.run(&["ip", "link", "set", "eth0", "address", "52:54:00:00:00:10"]).await);
        let lease = guest.wait_lease(Option::is_some).await;
        assert_eq!(lease.as_deref(), Some("10.77.0.9/24 10.77.0.1 9.9.9.9 heir"));
    });
}
