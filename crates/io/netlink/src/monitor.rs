//! Word that something changed.

use std::io;

use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use rtnetlink::{
    MulticastGroup,
    proto::{
        sys::protocols::NETLINK_ROUTE,
        sys::{AsyncSocket, SocketAddr, TokioSocket},
    },
};

use crate::{message::RouteMessage, netlink::Driver};

/// Says that links or IPv4 addresses of the namespace have changed, by whomever. What changed is for a listing to find
/// out: notices are lost when they come too fast, listings are not.
pub struct Monitor {
    notices: BoxStream<'static, ()>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Monitor")
    }
}

impl Monitor {
    /// Listens in the network namespace of the calling thread.
    pub fn open() -> io::Result<(Self, Driver)> {
        let (mut connection, handle, notices) =
            rtnetlink::proto::new_connection_with_socket::<RouteMessage, TokioSocket>(NETLINK_ROUTE)?;
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr];
        let mask = groups.into_iter().map(|group| 1 << (group as u32 - 1)).sum();
        connection.socket_mut().socket_mut().bind(&SocketAddr::new(0, mask))?;
        // The connection ends when its last handle is gone, so the stream of notices keeps it.
        let notices = notices.map(move |_notice| drop(handle.clone())).boxed();
        Ok((Self { notices }, Driver::new(connection)))
    }

    /// Returns after the next change, taking together all that are known by then. Answers `false` when the connection is
    /// closed. Cancel-safe.
    pub async fn changed(&mut self) -> bool {
        let first = self.notices.next().await;
        while let Some(Some(())) = self.notices.next().now_or_never() {}
        first.is_some()
    }
}
