//! Requests to the kernel and their answers.

use std::{fmt, future::Future, io, net::Ipv4Addr, pin::Pin, time::Duration};

use futures_util::StreamExt;
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkMessageBuilder, LinkUnspec,
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::AddressMessage,
        link::{BridgeStpState, LinkMessage},
    },
    proto::{ConnectionHandle, sys::SocketAddr, sys::TokioSocket, sys::protocols::NETLINK_ROUTE},
};
use rustix::io::Errno;
use tokio::time::timeout;

use crate::{decode, link::Link, message::RouteMessage};

/// How long the kernel may take for one request: it answers at once, but may wait for its own lock while another
/// namespace is torn down.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);

/// How often a listing is asked for again when links changed while the kernel was telling them.
const DUMP_ATTEMPTS_MAX: u32 = 5;

/// What moves a connection's bytes. It has to be run on a task of its own and ends when its [`Netlink`]s are gone.
pub struct Driver(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Driver {
    pub(crate) fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// Runs until the connection ends.
    pub async fn run(self) {
        self.0.await;
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

/// Why a request to the kernel failed. Nothing changed, except that a request without an answer may have been performed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused: missing right, name taken, link gone.
    #[error("the kernel refused: {0}")]
    Refused(Errno),
    /// The kernel did not answer in time. A repeat can help.
    #[error("the kernel did not answer within {} s", REQUEST_TIME_MAX.as_secs())]
    TimedOut,
    /// The connection's driver does not run. A defect of ours, or the daemon is ending.
    #[error("the netlink connection is closed")]
    Closed,
    /// Links changed faster than they could be listed. A repeat can help.
    #[error("the links changed while they were listed, {DUMP_ATTEMPTS_MAX} times")]
    Restless,
}

impl NetlinkError {
    /// Whether the kernel refused with this error.
    pub fn is(&self, errno: Errno) -> bool {
        matches!(self, Self::Refused(refused) if *refused == errno)
    }

    /// Whether the link is not there (any more).
    pub fn is_missing(&self) -> bool {
        self.is(Errno::NODEV) || self.is(Errno::NXIO) || self.is(Errno::ADDRNOTAVAIL)
    }
}

/// A connection to the kernel's links.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: ConnectionHandle<RouteMessage>,
}

impl Netlink {
    /// Connects in the network namespace of the calling thread.
    pub fn open() -> io::Result<(Self, Driver)> {
        let (connection, handle, unsolicited) =
            rtnetlink::proto::new_connection_with_socket::<RouteMessage, TokioSocket>(NETLINK_ROUTE)?;
        drop(unsolicited);
        Ok((Self { handle }, Driver::new(connection)))
    }

    /// Every link with its IPv4 addresses and counters, in the order of their indices.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        for message in self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).await? {
            match message {
                RouteMessage::Known(RouteNetlinkMessage::NewLink(message)) => links.push(decode::link(message)),
                RouteMessage::UnknownLink { index, name } => links.push(decode::unknown_link(index, name)),
                RouteMessage::Known(_) | RouteMessage::Unknown => {}
            }
        }
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        for message in self.dump(RouteNetlinkMessage::GetAddress(request)).await? {
            let RouteMessage::Known(RouteNetlinkMessage::NewAddress(message)) = message else { continue };
            let Some((index, address, prefix)) = decode::address(&message) else { continue };
            if let Some(link) = links.iter_mut().find(|link| link.index == index) {
                link.addresses.push((address, prefix));
            }
        }
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Makes a bridge, down, without spanning tree and without multicast snooping: it has no other switch to agree with,
    /// and snooping without a querier would lose guests' multicast.
    pub async fn create_bridge(&self, name: &str, mac: [u8; 6]) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkBridge>::new(name)
            .address(mac.to_vec())
            .stp_state(BridgeStpState::Disabled)
            .mcast_snooping(false)
            .build();
        self.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Sets a link's alias.
    pub async fn set_alias(&self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        self.change(LinkUnspec::new_with_index(index).alias(alias).build()).await
    }

    /// Sets a link up.
    pub async fn set_up(&self, index: u32) -> Result<(), NetlinkError> {
        self.change(LinkUnspec::new_with_index(index).up().build()).await
    }

    /// Makes a link a port of the bridge `master`.
    pub async fn set_master(&self, index: u32, master: u32) -> Result<(), NetlinkError> {
        self.change(LinkUnspec::new_with_index(index).controller(master).build()).await
    }

    /// Deletes a link.
    pub async fn delete(&self, index: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).build();
        self.request(RouteNetlinkMessage::DelLink(message), 0).await
    }

    /// Gives a link an address, together with the route to its subnet.
    pub async fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), NetlinkError> {
        let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix).build();
        self.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Takes an address off a link.
    pub async fn remove_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), NetlinkError> {
        let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix).build();
        self.request(RouteNetlinkMessage::DelAddress(message), 0).await
    }

    async fn change(&self, message: LinkMessage) -> Result<(), NetlinkError> {
        self.request(RouteNetlinkMessage::NewLink(message), 0).await
    }

    async fn request(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags).await.map(drop)
    }

    async fn dump(&self, message: RouteNetlinkMessage) -> Result<Vec<RouteMessage>, NetlinkError> {
        for _attempt in 0..DUMP_ATTEMPTS_MAX {
            match self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP).await {
                Ok((messages, true)) => return Ok(messages),
                Ok((_torn, false)) => {}
                // The kernel is not through with a listing of this connection that nobody waits for any more.
                Err(error) if error.is(Errno::BUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(NetlinkError::Restless)
    }

    /// Sends a request and answers what came back, and whether it is a consistent whole.
    async fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteMessage>, bool), NetlinkError> {
        let mut request = NetlinkMessage::from(RouteMessage::Known(message));
        request.header.flags = flags;
        let kernel = SocketAddr::new(0, 0);
        let mut answers = self.handle.request(request, kernel).map_err(|_closed| NetlinkError::Closed)?;
        let collect = async {
            let (mut messages, mut is_whole) = (Vec::new(), true);
            while let Some(answer) = answers.next().await {
                is_whole &= answer.header.flags & NLM_F_DUMP_INTR == 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => messages.push(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(NetlinkError::Refused(Errno::from_raw_os_error(error.raw_code().abs())));
                    }
                    NetlinkPayload::Overrun(_) => is_whole = false,
                    _ => {}
                }
            }
            Ok((messages, is_whole))
        };
        timeout(REQUEST_TIME_MAX, collect).await.map_err(|_elapsed| NetlinkError::TimedOut)?
    }
}
