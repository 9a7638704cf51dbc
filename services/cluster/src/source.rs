//! Whose log can be followed, and the stream from there.

use std::{fmt, time::Duration};

use acp_base::{Failure, Name};
use acp_io_client::{Client, Replies, ServiceClient};
use acp_wire_api::{
    cluster::{Follow, FollowReply, FollowRequest},
    hub,
};

use crate::{
    intake::Trust,
    peers::{Peers, ranked},
};

/// How long a source may take to be reached and to say its first word before it counts as absent.
const OPEN_MAX: Duration = Duration::from_secs(2);

/// Whose log is followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// This node's own hub.
    Own,
    /// The hub of another controller.
    Hub(Name),
    /// The cluster service of another member.
    Neighbour(Name),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("hub"),
            Self::Hub(node) => write!(f, "hub@{node}"),
            Self::Neighbour(node) => write!(f, "cluster@{node}"),
        }
    }
}

impl Source {
    /// The service to call.
    pub(crate) fn service(&self, client: &Client) -> ServiceClient {
        match self {
            Self::Own => client.own("hub"),
            Self::Hub(node) => client.on(Some(node)).service("hub"),
            Self::Neighbour(node) => client.on(Some(node)).service("cluster"),
        }
    }

    /// Whether it orders entries, too.
    pub(crate) const fn is_hub(&self) -> bool {
        matches!(self, Self::Own | Self::Hub(_))
    }

    /// How far it is believed.
    pub(crate) const fn trust(&self, alone: bool) -> Trust {
        match self {
            Self::Own => Trust::Own { alone },
            Self::Hub(_) => Trust::Controller,
            Self::Neighbour(_) => Trust::Neighbour,
        }
    }

    /// Asks for the log, and waits for the first word.
    pub(crate) async fn open(&self, client: &Client, request: FollowRequest) -> Result<(Stream, FollowReply), Failure> {
        let opening = async {
            let service = self.service(client).deadline(OPEN_MAX);
            let mut stream = match self {
                Self::Own | Self::Hub(_) => Stream::Hub(service.stream::<hub::Follow>(request).await?),
                Self::Neighbour(_) => Stream::Neighbour(service.stream::<Follow>(request).await?),
            };
            let first = stream.next().await?;
            Ok((stream, first))
        };
        match tokio::time::timeout(OPEN_MAX, opening).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(Failure::unavailable(format!("{self} said nothing within {OPEN_MAX:?}"))),
        }
    }
}

/// The hubs that this node asks, the preferred one first: its own if it has a part in the control plane.
pub(crate) fn hubs(peers: &Peers) -> Vec<Source> {
    let own = peers.is_controller.then_some(Source::Own);
    let far = ranked(peers.node, &peers.controllers).into_iter().map(|peer| Source::Hub(peer.name.clone()));
    own.into_iter().chain(far).collect()
}

/// The neighbours that this node asks when no hub answers.
pub(crate) fn neighbours(peers: &Peers) -> Vec<Source> {
    let all: Vec<_> = peers.others.iter().chain(&peers.controllers).cloned().collect();
    ranked(peers.node, &all).into_iter().map(|peer| Source::Neighbour(peer.name.clone())).collect()
}

/// A source's replies.
#[derive(Debug)]
pub(crate) enum Stream {
    Hub(Replies<hub::Follow>),
    Neighbour(Replies<Follow>),
}

impl Stream {
    /// The next reply. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<FollowReply, Failure> {
        let next = match self {
            Self::Hub(replies) => replies.next().await,
            Self::Neighbour(replies) => replies.next().await,
        };
        next.unwrap_or_else(|| Err(Failure::unavailable("the source has ended its stream")))
    }
}
