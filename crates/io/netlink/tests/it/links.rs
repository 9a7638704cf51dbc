//! Links are made, changed, listed and watched.

use std::{net::Ipv4Addr, time::Duration};

use acp_io_netlink::{Kind, Monitor};
use rustix::io::Errno;

use crate::namespace::{in_namespace, link};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

#[test]
fn a_bridge_lives_through_every_change() {
    in_namespace(|netlink| async move {
        netlink.create_bridge("br0", MAC).await.expect("a bridge");
        let bridge = link(&netlink, "br0").await.expect("it is listed");
        assert_eq!(
            (bridge.kind, bridge.mac, bridge.up, bridge.alias, bridge.mtu),
            (Kind::Bridge, Some(MAC), false, None, 1500)
        );
        netlink.set_alias(bridge.index, "acp:test").await.expect("an alias");
        netlink.add_address(bridge.index, ADDRESS, 24).await.expect("an address");
        netlink.set_up(bridge.index).await.expect("up");
        let bridge = link(&netlink, "br0").await.expect("it is listed");
        assert_eq!((bridge.alias.as_deref(), bridge.up), (Some("acp:test"), true));
        assert_eq!(bridge.addresses, [(ADDRESS, 24)]);
        netlink.remove_address(bridge.index, ADDRESS, 24).await.expect("no address");
        netlink.delete(bridge.index).await.expect("gone");
        assert_eq!(link(&netlink, "br0").await, None);
    });
}

#[test]
fn refusals_say_what_the_kernel_said() {
    in_namespace(|netlink| async move {
        netlink.create_bridge("br0", MAC).await.expect("a bridge");
        let taken = netlink.create_bridge("br0", MAC).await.expect_err("the name is taken");
        assert!(taken.is(Errno::EXIST), "{taken}");
        let index = link(&netlink, "br0").await.expect("it is listed").index;
        netlink.add_address(index, ADDRESS, 24).await.expect("an address");
        assert!(netlink.add_address(index, ADDRESS, 24).await.expect_err("it has it").is(Errno::EXIST));
        netlink.delete(index).await.expect("gone");
        assert!(netlink.delete(index).await.expect_err("it is gone").is_missing());
        assert!(netlink.set_up(index).await.expect_err("it is gone").is_missing());
    });
}

#[test]
fn the_loopback_link_is_physical_and_foreign_kinds_keep_their_word() {
    in_namespace(|netlink| async move {
        assert_eq!(link(&netlink, "lo").await.expect("it is listed").kind, Kind::Physical);
        let status =
            std::process::Command::new("ip").args(["link", "add", "v0", "type", "veth", "peer", "name", "v1"]).status();
        assert!(status.expect("iproute2 is installed").success());
        assert_eq!(link(&netlink, "v0").await.expect("it is listed").kind, Kind::Other("veth".to_owned()));
    });
}

#[test]
fn the_monitor_wakes_for_links_and_addresses() {
    in_namespace(|netlink| async move {
        let (mut monitor, driver) = Monitor::open().expect("a monitor");
        let limit = Duration::from_secs(5);
        let test = async {
            netlink.create_bridge("br0", MAC).await.expect("a bridge");
            assert!(tokio::time::timeout(limit, monitor.changed()).await.expect("word of the bridge"));
            let index = link(&netlink, "br0").await.expect("it is listed").index;
            netlink.add_address(index, ADDRESS, 24).await.expect("an address");
            assert!(tokio::time::timeout(limit, monitor.changed()).await.expect("word of the address"));
            netlink.delete(index).await.expect("gone");
            assert!(tokio::time::timeout(limit, monitor.changed()).await.expect("word of the end"));
        };
        tokio::select! {
            () = driver.run() => panic!("the driver ended before the test"),
            () = test => {}
        }
    });
}

#[test]
fn without_its_driver_a_connection_is_closed() {
    in_namespace(|outer| async move {
        let (netlink, driver) = acp_io_netlink::Netlink::open().expect("a netlink socket");
        drop(driver);
        let error = netlink.links().await.expect_err("nobody answers");
        assert!(matches!(error, acp_io_netlink::NetlinkError::Closed), "{error}");
        drop(outer);
    });
}
