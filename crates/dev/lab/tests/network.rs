//! The lab's network without nodes: who hears whom, before and after each disturbance.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use acp_dev_lab::{Lab, Member, Plan};
use anyhow::{Context as _, Result};

/// How long a datagram may take through three namespaces of one machine, and how long is waited for one that must not come.
const ARRIVES: Duration = Duration::from_millis(300);
const PORT: u16 = 4_790;
/// A group that nobody else uses.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 47, 90);

/// A lab that is gone when it is dropped, whatever the test came to.
struct Wired(Option<Lab>);

impl Wired {
    fn new(dir: &Path, nodes: u8, domains: u8) -> Result<Self> {
        let lab = Lab::plan(dir, Plan { nodes, domains, voters: None, bin: dir.to_owned(), second_bin: None })?;
        let wired = Self(Some(lab));
        wired.lab().wire()?;
        Ok(wired)
    }

    fn lab(&self) -> &Lab {
        self.0.as_ref().expect("not taken down yet")
    }

    fn lab_mut(&mut self) -> &mut Lab {
        self.0.as_mut().expect("not taken down yet")
    }
}

impl Drop for Wired {
    fn drop(&mut self) {
        if let Some(lab) = self.0.take() {
            drop(lab.down(false));
        }
    }
}

/// Whether a datagram from one node arrives at another.
fn hears(from: &Member, to: &Member) -> Result<bool> {
    let socket = to.layout.namespace().run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("cannot bind"))?;
    send(from, (to.address(), PORT).into())?;
    received(&socket)
}

fn send(from: &Member, to: SocketAddr) -> Result<()> {
    from.layout.namespace().run(|| {
        let socket = UdpSocket::bind((from.address(), 0))?;
        // What its own rules drop is an error for the sender.
        drop(socket.send_to(b"!", to));
        Ok(())
    })
}

fn received(socket: &UdpSocket) -> Result<bool> {
    socket.set_read_timeout(Some(ARRIVES))?;
    Ok(socket.recv(&mut [0]).is_ok())
}

/// Who hears whom, as `n1>n2` for each pair that does.
fn heard(lab: &Lab) -> Result<Vec<String>> {
    let mut pairs = Vec::new();
    for from in lab.members() {
        for to in lab.members().iter().filter(|to| to.name != from.name) {
            if hears(from, to)? {
                pairs.push(format!("{}>{}", from.name, to.name));
            }
        }
    }
    Ok(pairs)
}

/// How many of 400 datagrams from n1 arrive at n3.
fn share(lab: &Lab) -> Result<usize> {
    let (from, to) = (&lab.members()[0], &lab.members()[2]);
    let socket = to.layout.namespace().run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("cannot bind"))?;
    let mut arrived = 0;
    for _ in 0..400 {
        send(from, (to.address(), PORT).into())?;
    }
    while received(&socket)? {
        arrived += 1;
    }
    Ok(arrived)
}

fn lacks_root() -> bool {
    let lacks = !rustix::process::geteuid().is_root();
    if lacks {
        eprintln!("SKIPPED: network namespaces need root");
    }
    lacks
}

#[test]
fn cuts_losses_and_silence_do_what_they_say_and_heal() {
    if lacks_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut wired = Wired::new(dir.path(), 3, 2).expect("wired");
    let all = ["n1>n2", "n1>n3", "n2>n1", "n2>n3", "n3>n1", "n3>n2"];
    assert_eq!(heard(wired.lab()).expect("tried"), all, "domains are routed");
    wired.lab_mut().cut("n1|n2,n3").expect("cut");
    assert_eq!(heard(wired.lab()).expect("tried"), ["n2>n3", "n3>n2"]);
    wired.lab_mut().heal().expect("healed");
    wired.lab_mut().cut("n1>n2").expect("cut");
    assert_eq!(heard(wired.lab()).expect("tried"), ["n1>n3", "n2>n1", "n2>n3", "n3>n1", "n3>n2"]);
    wired.lab_mut().heal().expect("healed");
    wired.lab_mut().silence("n2".parse().expect("a name")).expect("silenced");
    assert_eq!(heard(wired.lab()).expect("tried"), ["n1>n3", "n3>n1"]);
    wired.lab_mut().heal().expect("healed");
    wired.lab_mut().lose("n3".parse().expect("a name"), "50%".parse().expect("a share")).expect("lost");
    let arrived = share(wired.lab()).expect("tried");
    // Six standard deviations round a half of 400.
    assert!((140..=260).contains(&arrived), "{arrived} of 400 arrived");
    wired.lab_mut().heal().expect("healed");
    assert_eq!(heard(wired.lab()).expect("tried"), all);
}

#[test]
fn a_domain_hears_its_own_multicast_alone() {
    if lacks_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let wired = Wired::new(dir.path(), 3, 2).expect("wired");
    let sockets: Vec<UdpSocket> = wired
        .lab()
        .members()
        .iter()
        .map(|member| {
            let joined = member.layout.namespace().run(|| {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
                socket.join_multicast_v4(&GROUP, &member.address())?;
                Ok(socket)
            });
            joined.expect("joined")
        })
        .collect();
    send(&wired.lab().members()[0], (GROUP, PORT).into()).expect("sent");
    // n1 and n3 are in the first domain, n2 in the second.
    assert!(received(&sockets[2]).expect("read"), "its neighbour hears nothing");
    assert!(!received(&sockets[1]).expect("read"), "the other domain hears it, too");
}

#[test]
fn two_labs_never_meet_and_nothing_is_left() {
    if lacks_root() {
        return;
    }
    let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let first = Wired::new(one.path(), 2, 1).expect("wired");
    let second = Wired::new(other.path(), 2, 1).expect("wired");
    // The same addresses in both: each n1 hears its own n2.
    assert_eq!(heard(first.lab()).expect("tried"), ["n1>n2", "n2>n1"]);
    let (from, to) = (&first.lab().members()[0], &second.lab().members()[1]);
    assert!(!hears(from, to).expect("tried"), "the labs meet");
    let namespaces: Vec<_> = first.lab().members().iter().map(|member| member.layout.namespace()).collect();
    drop((first, second));
    assert!(namespaces.iter().all(|namespace| !namespace.exists()), "a namespace is left");
    assert!(!one.path().join("lab.json").exists() && !other.path().join("lab.json").exists());
}
