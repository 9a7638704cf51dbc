//! Taps are opened, attached, counted, and vanish.

use acp_io_netlink::{Kind, TapError, open_tap};
use rustix::fs::OFlags;

use crate::namespace::{in_namespace, link, wait_link};

#[test]
fn a_tap_lives_as_long_as_its_descriptor() {
    in_namespace(|netlink| async move {
        let tap = open_tap("acpt00000000070").expect("a tap");
        let flags = rustix::fs::fcntl_getfl(&tap).expect("flags");
        assert!(flags.contains(OFlags::NONBLOCK), "{flags:?}");
        assert!(rustix::io::fcntl_getfd(&tap).expect("flags").contains(rustix::io::FdFlags::CLOEXEC));
        let found = link(&netlink, "acpt00000000070").await.expect("it is listed");
        assert_eq!((found.kind, found.master), (Kind::Tap, None));
        assert!(matches!(open_tap("acpt00000000070"), Err(TapError::Busy(_))));
        drop(tap);
        wait_link(&netlink, "acpt00000000070", |link| link.is_none()).await;
    });
}

#[test]
fn frames_of_a_guest_are_counted_as_received() {
    in_namespace(|netlink| async move {
        netlink.create_bridge("br0", [2, 0, 0, 0, 0, 7]).await.expect("a bridge");
        let bridge = link(&netlink, "br0").await.expect("it is listed").index;
        let tap = open_tap("tap0").expect("a tap");
        let index = link(&netlink, "tap0").await.expect("it is listed").index;
        netlink.set_master(index, bridge).await.expect("attached");
        netlink.set_up(index).await.expect("up");
        netlink.set_up(bridge).await.expect("up");
        let attached = link(&netlink, "tap0").await.expect("it is listed");
        assert_eq!((attached.master, attached.up), (Some(bridge), true));
        let mut frame = vec![0xff; 10 + 60];
        frame[..10].fill(0);
        frame[16..22].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 9]);
        frame[22..24].copy_from_slice(&[0x88, 0xb5]);
        let before = attached.stats.rx_packets;
        assert_eq!(rustix::io::write(&tap, &frame).expect("the tap takes a frame"), frame.len());
        wait_link(&netlink, "tap0", |link| {
            link.is_some_and(|link| link.stats.rx_packets > before && link.stats.rx_bytes >= 60)
        })
        .await;
    });
}
