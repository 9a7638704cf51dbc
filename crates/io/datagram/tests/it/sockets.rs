//! What is sent arrives where it should, and nowhere else.

use std::net::{SocketAddr, UdpSocket};

use acp_base::Uid;
use acp_io_datagram::{BindError, Endpoint, Loopback, Path, Refusal, SendError, limits::MTU_BYTES};
use nix::sched::{CloneFlags, unshare};

use crate::namespace::{CLUSTER, Node, in_namespace, ip, wait_carrier};

const V4: &[&str] = &["10.77.0.1/24", "10.77.0.2/24", "10.77.0.3/24"];
const V6: &[&str] = &["fd00:77::1/64", "fd00:77::2/64", "fd00:77::3/64"];

fn three(addresses: &[&str]) -> [Node; 3] {
    let bare = |place: usize| addresses[place].split('/').next().expect("an address");
    [0, 1, 2].map(|place| Node::of(CLUSTER, 100 + place as u128, bare(place)))
}

async fn everybody_hears_the_group_and_one_hears_what_is_for_it(addresses: &[&str]) {
    let [mut one, mut two, mut three] = three(addresses);
    one.multicast("to all");
    two.wait_heard(&[(&one.uid, Path::Multicast, "to all")]).await;
    three.wait_heard(&[(&one.uid, Path::Multicast, "to all")]).await;
    one.send(two.endpoint.address(), "to you");
    one.multicast("to all again");
    two.wait_heard(&[(&one.uid, Path::Unicast, "to you"), (&one.uid, Path::Multicast, "to all again")]).await;
    three.wait_heard(&[(&one.uid, Path::Multicast, "to all again")]).await;
    one.wait_refused(Refusal::Own, 2).await;
}

#[test]
fn over_ipv4() {
    in_namespace(V4, || everybody_hears_the_group_and_one_hears_what_is_for_it(V4));
}

#[test]
fn over_ipv6() {
    in_namespace(V6, || everybody_hears_the_group_and_one_hears_what_is_for_it(V6));
}

#[test]
fn strangers_and_what_is_no_datagram_are_counted_and_the_next_one_is_heard() {
    in_namespace(V4, || async {
        let [mut one, mut two, _] = three(V4);
        // Of another cluster, in whose group nobody here is; so its datagrams are sent to the node.
        let mut stranger = Node::of(Uid::from_u128(2), 100, "127.0.0.1");
        stranger.send(two.endpoint.address(), "hello");
        two.wait_refused(Refusal::Cluster, 1).await;
        let (to, sealed) = (two.endpoint.address(), one.sealed(Path::Unicast, "twice"));
        one.endpoint.send(&[0; 20], to).expect("sent");
        one.endpoint.send(&[0; MTU_BYTES + 1], to).expect("sent");
        one.endpoint.send(&[0; 60_000], to).expect("sent");
        one.endpoint.send(&sealed, to).expect("sent");
        one.endpoint.send(&sealed, to).expect("sent");
        one.endpoint.multicast(&sealed).expect("sent");
        two.wait_heard(&[(&one.uid, Path::Unicast, "twice")]).await;
        two.wait_refused(Refusal::Truncated, 1).await;
        two.wait_refused(Refusal::Oversized, 2).await;
        two.wait_refused(Refusal::Replayed, 1).await;
        two.wait_refused(Refusal::Path, 1).await;
        one.send(to, "and now");
        two.wait_heard(&[(&one.uid, Path::Unicast, "and now")]).await;
    });
}

#[test]
fn more_than_a_batch_holds_comes_in_order() {
    in_namespace(V4, || async {
        let [mut one, mut two, _] = three(V4);
        let texts: Vec<String> = (0..150).map(|number| format!("number {number}")).collect();
        texts.iter().for_each(|text| one.send(two.endpoint.address(), text));
        let expected: Vec<_> = texts.iter().map(|text| (&one.uid, Path::Unicast, text.as_str())).collect();
        two.wait_heard(&expected).await;
    });
}

#[test]
fn nobody_listening_and_no_way_end_nothing() {
    in_namespace(V4, || async {
        let [mut one, mut two, _] = three(V4);
        for _ in 0..20 {
            // Nobody is there, and the host says so.
            one.send(SocketAddr::new([10, 77, 0, 3].into(), 9), "anybody");
        }
        let datagram = one.sealed(Path::Unicast, "far away");
        let refused = one.endpoint.send(&datagram, SocketAddr::new([192, 0, 2, 1].into(), 9));
        assert!(matches!(refused, Err(SendError::Unreachable(_))), "{refused:?}");
        two.send(one.endpoint.address(), "still here");
        one.wait_heard(&[(&two.uid, Path::Unicast, "still here")]).await;
    });
}

#[test]
fn an_endpoint_without_group_has_unicast_and_says_what_is_missing() {
    in_namespace(V4, || async {
        let endpoint = Endpoint::bind("10.77.0.1:4711".parse().expect("an address")).expect("bound");
        assert!(matches!(endpoint.multicast(b"x"), Err(SendError::NotJoined)));
        // The kernel counts its own cost, too, and so grants twice of what it allows.
        assert!(endpoint.receive_buffer_bytes().expect("told") >= 2 * 64 * 1024);
        let taken = Endpoint::bind(endpoint.address()).expect_err("taken");
        assert_eq!(
            acp_base::sentence(&taken),
            "10.77.0.1:4711 cannot be listened on: Address already in use (os error 98)"
        );
        let absent = Endpoint::bind("10.99.0.1:4711".parse().expect("an address")).expect_err("no such address");
        assert!(matches!(absent, BindError::Address { .. }), "{absent}");
        ip(&["address", "del", "10.77.0.1/24", "dev", "n0"]);
        let mut endpoint = endpoint;
        let gone = endpoint.join(CLUSTER, Loopback::On).expect_err("its address is gone");
        assert_eq!(gone.to_string(), "no link of this host has the address 10.77.0.1");
    });
}

/// Two hosts with two links between them: the group of one link is not heard on the other one.
#[test]
fn multicast_leaves_by_the_nodes_own_link_and_is_heard_there_alone() {
    in_namespace(&[], || async {
        let here = std::fs::File::open("/proc/thread-self/ns/net").expect("a namespace");
        unshare(CloneFlags::CLONE_NEWNET).expect("root may");
        let there = std::fs::File::open("/proc/thread-self/ns/net").expect("a namespace");
        let enter =
            |namespace: &std::fs::File| nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).expect("entered");
        enter(&here);
        let peer = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&there));
        for (link, peer_link) in [("a0", "a1"), ("b0", "b1")] {
            ip(&["link", "add", link, "type", "veth", "peer", "name", peer_link, "netns", &peer]);
        }
        let raise = |links: [(&str, &str); 2]| {
            for (link, address) in links {
                ip(&["address", "add", address, "dev", link]);
                ip(&["link", "set", link, "up"]);
            }
        };
        raise([("a0", "10.1.0.1/24"), ("b0", "10.2.0.1/24")]);
        enter(&there);
        raise([("a1", "10.1.0.2/24"), ("b1", "10.2.0.2/24")]);
        ["a1", "b1"].into_iter().for_each(wait_carrier);
        enter(&here);
        ["a0", "b0"].into_iter().for_each(wait_carrier);
        let mut one = Node::with(CLUSTER, 101, "10.1.0.1", Loopback::Off);
        enter(&there);
        let mut beside = Node::of(CLUSTER, 102, "10.1.0.2");
        let mut elsewhere = Node::of(CLUSTER, 103, "10.2.0.2");
        one.multicast("on this link");
        beside.wait_heard(&[(&one.uid, Path::Multicast, "on this link")]).await;
        // Its own would have come back before anybody else had it.
        one.wait_heard(&[]).await;
        assert_eq!(one.opener.refused(Refusal::Own), 0);
        enter(&here);
        let other = UdpSocket::bind("10.2.0.1:0").expect("bound");
        other.send_to(b"by the other link", elsewhere.endpoint.address()).expect("sent");
        // What came first by the other link would have been read first.
        elsewhere.wait_refused(Refusal::Truncated, 1).await;
        elsewhere.wait_heard(&[]).await;
    });
}
