//! The sockets: one at the node's address, one that hears the cluster's group on the same link.
//!
//! Everything is sent from the first, so that a datagram's source is where its sender is reached. When the node's address
//! changes, the owner drops the endpoint and binds another one.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use acp_base::Uid;
use nix::{ifaddrs::getifaddrs, net::if_::if_nametoindex};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use crate::{
    batch::{Batch, drain},
    group::group_address,
    limits::RECEIVE_BUFFER_BYTES,
    path::Path,
};

/// Why there is no socket. The host's or the configuration's fault; a retry can help once the address is there.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be used.
    #[error("{at} cannot be listened on")]
    Address {
        /// The address.
        at: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No link of this host has the address.
    #[error("no link of this host has the address {0}")]
    NoLink(IpAddr),
    /// The group cannot be joined, or not heard.
    #[error("the group {group} cannot be joined at {at}")]
    Group {
        /// The group.
        group: SocketAddr,
        /// This node's address.
        at: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Why a datagram did not leave. To its sender it is as if the network had lost it.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No group was joined.
    #[error("no multicast group was joined")]
    NotJoined,
    /// The socket's or the link's queue is full.
    #[error("the queue is full")]
    Full(#[source] io::Error),
    /// There is no way to the address, or it has said that nobody listens there.
    #[error("the address is unreachable")]
    Unreachable(#[source] io::Error),
    /// A rule of this host's firewall drops it.
    #[error("this host's firewall refuses it")]
    Denied(#[source] io::Error),
    /// Something else: this node's address is gone, or the link.
    #[error("it cannot be sent")]
    Other(#[source] io::Error),
}

impl SendError {
    fn of(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::WouldBlock => Self::Full(error),
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::ConnectionRefused | Kind::NetworkDown => {
                Self::Unreachable(error)
            }
            Kind::PermissionDenied => Self::Denied(error),
            _ if error.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32) => Self::Full(error),
            _ => Self::Other(error),
        }
    }

    /// The word for metrics.
    const fn name(&self) -> &'static str {
        match self {
            Self::NotJoined => "not-joined",
            Self::Full(_) => "full",
            Self::Unreachable(_) => "unreachable",
            Self::Denied(_) => "denied",
            Self::Other(_) => "other",
        }
    }
}

/// Whether what a node multicasts also comes back to its own host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// It does not: each node has a host of its own.
    Off,
    /// It does: several nodes share a host and its network. Openers refuse what is their own.
    On,
}

/// The sockets of one node at one address.
#[derive(Debug)]
pub struct Endpoint {
    at: SocketAddr,
    unicast: UdpSocket,
    group: Option<(SocketAddr, UdpSocket)>,
}

impl Endpoint {
    /// Binds the node's address, in the network namespace of the calling thread. To be called on a runtime.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn bind(at: SocketAddr) -> Result<Self, BindError> {
        let bound = || {
            let socket = datagram_socket(at)?;
            socket.bind(&at.into())?;
            UdpSocket::from_std(socket.into())
        };
        let failed = |source| BindError::Address { at, source };
        let unicast = bound().map_err(failed)?;
        let at = unicast.local_addr().map_err(failed)?;
        Ok(Self { at, unicast, group: None })
    }

    /// Joins the cluster's group on the link that has the node's address, at the same port, and sends there from now on. An
    /// endpoint without it goes on with unicast alone.
    ///
    /// # Errors
    /// When the link has no multicast.
    pub fn join(&mut self, cluster: Uid, loopback: Loopback) -> Result<SocketAddr, BindError> {
        let at = self.at;
        let group = SocketAddr::new(group_address(cluster, at.ip()), at.port());
        let link = link_of(at.ip())?;
        let joined = || {
            send_by(&SockRef::from(&self.unicast), at.ip(), link, loopback)?;
            UdpSocket::from_std(hear(group, at.ip(), link)?.into())
        };
        let socket = joined().map_err(|source| BindError::Group { group, at, source })?;
        self.group = Some((group, socket));
        Ok(group)
    }

    /// Where this endpoint is reached.
    pub const fn address(&self) -> SocketAddr {
        self.at
    }

    /// How many bytes the kernel keeps for each socket until they are read: twice what it granted, since it counts its own
    /// cost, too.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn receive_buffer_bytes(&self) -> io::Result<usize> {
        SockRef::from(&self.unicast).recv_buffer_size()
    }

    /// Sends a datagram to one node, at once or not at all.
    ///
    /// # Errors
    /// Why it did not leave, which is counted; no error ends the endpoint.
    pub fn send(&self, datagram: &[u8], to: SocketAddr) -> Result<(), SendError> {
        let socket = SockRef::from(&self.unicast);
        let to = to.into();
        let sent = socket.send_to(datagram, &to).or_else(|error| match error.kind() {
            // What the peer's host had said of an earlier datagram; saying it has used it up.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted => socket.send_to(datagram, &to),
            _ => Err(error),
        });
        sent.map(drop).map_err(|error| counted(SendError::of(error)))
    }

    /// Sends a datagram to one node in one piece: where it does not fit it is dropped, by this host or on the way.
    ///
    /// # Errors
    /// As [`Self::send`]. One that does not fit the link is no error: it is not counted, since finding that out is what it is for.
    pub fn send_whole(&self, datagram: &[u8], to: SocketAddr) -> Result<(), SendError> {
        let refused = |error: rustix::io::Errno| counted(SendError::of(error.into()));
        fragment(&self.unicast, to, Fragments::Never).map_err(refused)?;
        let sent = SockRef::from(&self.unicast).send_to(datagram, &to.into());
        fragment(&self.unicast, to, Fragments::AsNeeded).map_err(refused)?;
        match sent {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EMSGSIZE as i32) => {
                Err(counted(SendError::of(error)))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Sends a datagram to the group.
    ///
    /// # Errors
    /// As [`Self::send`], and when no group was joined.
    pub fn multicast(&self, datagram: &[u8]) -> Result<(), SendError> {
        match &self.group {
            Some((group, _)) => self.send(datagram, *group),
            None => Err(counted(SendError::NotJoined)),
        }
    }

    /// Waits until something has arrived and takes what is there, up to what a batch holds, from both sockets. Cancel-safe:
    /// what was not handed out is still there.
    ///
    /// # Errors
    /// When a socket is of no use any more, whatever the other one has: the owner binds another endpoint, after a pause.
    pub async fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.clear();
        loop {
            self.readable().await?;
            drain(&self.unicast, Path::Unicast, batch)?;
            if let Some((_, socket)) = &self.group {
                drain(socket, Path::Multicast, batch)?;
            }
            if !batch.is_empty() {
                return Ok(());
            }
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match &self.group {
            Some((_, socket)) => tokio::select! {
                ready = self.unicast.readable() => ready,
                ready = socket.readable() => ready,
            },
            None => self.unicast.readable().await,
        }
    }
}

/// What becomes of a datagram that is larger than a link carries.
#[derive(Clone, Copy, Debug)]
enum Fragments {
    /// It is dropped, whatever this host believes of the way.
    Never,
    /// As the host does with every datagram.
    AsNeeded,
}

fn fragment(socket: &UdpSocket, to: SocketAddr, fragments: Fragments) -> rustix::io::Result<()> {
    match (to, fragments) {
        (SocketAddr::V4(_), Fragments::Never) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE),
        (SocketAddr::V4(_), Fragments::AsNeeded) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT),
        (SocketAddr::V6(_), Fragments::Never) => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE),
        (SocketAddr::V6(_), Fragments::AsNeeded) => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT),
    }
}

fn counted(error: SendError) -> SendError {
    metrics::counter!("acp_datagrams_unsent_total", "reason" => error.name()).increment(1);
    error
}

fn datagram_socket(like: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(like), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    if like.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Multicast leaves by this link and crosses no router.
fn send_by(socket: &Socket, at: IpAddr, link: u32, loopback: Loopback) -> io::Result<()> {
    let is_looped = loopback == Loopback::On;
    match at {
        IpAddr::V4(at) => {
            socket.set_multicast_if_v4(&at)?;
            socket.set_multicast_ttl_v4(1)?;
            socket.set_multicast_loop_v4(is_looped)
        }
        IpAddr::V6(_) => {
            socket.set_multicast_if_v6(link)?;
            socket.set_multicast_hops_v6(1)?;
            socket.set_multicast_loop_v6(is_looped)
        }
    }
}

/// A socket that hears this group on this link, and nothing else: not other groups that somebody on this host has joined
/// (`IP_MULTICAST_ALL`), nor what is sent to the node alone. Several nodes of a host may hear the same group.
fn hear(group: SocketAddr, at: IpAddr, link: u32) -> io::Result<Socket> {
    let socket = datagram_socket(group)?;
    socket.set_reuse_address(true)?;
    match (group.ip(), at) {
        (IpAddr::V4(address), IpAddr::V4(at)) => {
            socket.set_multicast_all_v4(false)?;
            socket.bind(&group.into())?;
            socket.join_multicast_v4(&address, &at)?;
        }
        (IpAddr::V6(address), _) => {
            socket.set_multicast_all_v6(false)?;
            socket.bind(&group.into())?;
            socket.join_multicast_v6(&address, link)?;
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(socket)
}

/// The number of the link that has this address.
fn link_of(address: IpAddr) -> Result<u32, BindError> {
    let failed = |source| BindError::Address { at: SocketAddr::new(address, 0), source };
    let links = getifaddrs().map_err(|error| failed(error.into()))?;
    let has = |shown: &nix::sys::socket::SockaddrStorage| match address {
        IpAddr::V4(address) => shown.as_sockaddr_in().is_some_and(|shown| shown.ip() == address),
        IpAddr::V6(address) => shown.as_sockaddr_in6().is_some_and(|shown| shown.ip() == address),
    };
    let mut names = links.filter(|link| link.address.as_ref().is_some_and(&has)).map(|link| link.interface_name);
    let name = names.next().ok_or(BindError::NoLink(address))?;
    // A label such as `eth0:1` is no link's name.
    let name = name.split(':').next().unwrap_or_default();
    if_nametoindex(name).map_err(|error| failed(error.into()))
}
