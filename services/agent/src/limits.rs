//! Every bound of the agent that is not the link's own, with its reason.

use std::time::Duration;

/// Connections that peers have opened to this node, in all: three of each of a thousand members, and some that are dying.
pub(crate) const LINKS_MAX: usize = 4_096;

/// Connections of one class from one peer. One is enough; a peer that was killed dials anew before its old one is missed, and
/// then the oldest goes.
pub(crate) const LINKS_PER_PEER_MAX: usize = 4;

/// Bulk streams from one peer at once: as many migrations and disk copies as a network card is filled with.
pub(crate) const BULKS_PER_PEER_MAX: usize = 16;

/// Bulk streams from all peers at once.
pub(crate) const BULKS_MAX: usize = 64;

/// Connections of newcomers at once; the oldest goes for the newest, since anybody can open one.
pub(crate) const JOINS_MAX: usize = 16;

/// How long a newcomer's or a renewal's connection may last without a conversation: it is two calls.
pub(crate) const JOIN_LIMIT: Duration = Duration::from_secs(30);

/// How long a newcomer may wait for an operator, on one connection or several; the hub's interface says the same.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(3_600);

/// How long entering the cluster's log may take in one call: a snapshot of 100,000 objects and this node's own ones on top.
pub(crate) const ENTER_LIMIT: Duration = Duration::from_secs(60);

/// For how long the call that made this node a member tries again when no controller answers: one that has not read of the new
/// member yet refuses it, and that may be the only one there is.
pub(crate) const ENTER_PATIENCE: Duration = Duration::from_secs(5);

/// How long the cluster service may take to answer a question at its socket.
pub(crate) const CLUSTER_LIMIT: Duration = Duration::from_secs(10);

/// How long the agent waits at its start for the cluster service to say which node this is: it reads its store first.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);

/// Systems that a newcomer names: more than a host runs.
pub(crate) const SYSTEMS_MAX: usize = 10_000;

/// Conversations from one peer at once, over all its links.
pub(crate) const CONVERSATIONS_PER_PEER_MAX: usize = 512;

/// Conversations from all peers at once. Each holds two buffers and a socket.
pub(crate) const CONVERSATIONS_MAX: usize = 2_048;

/// How long a local service's socket may take to answer that it acts for somebody: a service that restarts is waited for.
pub(crate) const SOCKET_LIMIT: Duration = Duration::from_secs(5);

/// How long a call of the agent's own to the hub may take.
pub(crate) const HUB_LIMIT: Duration = Duration::from_secs(10);

/// How long a hub may be silent on a watch before another controller's is asked. It says something at least every two seconds.
pub(crate) const HUB_SILENCE_MAX: Duration = Duration::from_secs(3);

/// How long no controller may have been heard before the node says so: two of them were tried by then.
pub(crate) const HUB_MISSED: Duration = Duration::from_secs(6);

/// How long one of several controllers may take to open a conversation before the next one is asked: three round trips to the
/// other end of the world and a busy host, and several fit into any caller's deadline.
pub(crate) const CONTROLLER_LIMIT: Duration = Duration::from_millis(1_500);

/// How long the direct way may take where there is another one: hubs that look for each other wait for two seconds in all.
pub(crate) const DIRECT_LIMIT: Duration = Duration::from_secs(1);

/// How long a controller that has failed comes after the others.
pub(crate) const SHUN: Duration = Duration::from_secs(10);

/// How long one that has just become a controller comes after the others: the log arrives at its hub within a second or two.
pub(crate) const ARRIVAL_MAX: Duration = Duration::from_secs(3);

/// How often a node whose session is not with the controller that it belongs to, or with one that can do nothing, looks for a
/// better one.
pub(crate) const BETTER_PERIOD: Duration = Duration::from_secs(5);

/// Controllers to which reverse links are kept: as many as there are ever voters, and some that are just being replaced.
pub(crate) const REVERSE_MAX: usize = 8;

/// The largest answer of the hub: a directory of a thousand members and a thousand keys is a tenth of it.
pub(crate) const HUB_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Pauses between attempts to reach a node, or to listen: doubled from the first to the second.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(100);
/// See [`PAUSE_MIN`].
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The pause between two looks whether the control plane has come back, for a caller that waits for it.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// How much earlier than the caller's deadline waiting ends, so that the reason still reaches it.
pub(crate) const ANSWER_MARGIN: Duration = Duration::from_millis(50);

/// A dialled link without conversations is closed after this long; the next call dials again.
pub(crate) const LINK_IDLE_MAX: Duration = Duration::from_secs(600);

/// How often idle links are looked for, and the node's health is looked at.
pub(crate) const TIDY_PERIOD: Duration = Duration::from_secs(1);

/// With the drain, a conversation in which nobody waits for an answer ends when it was quiet for this long.
pub(crate) const QUIET: Duration = Duration::from_millis(100);

/// How long a conversation on which nothing was said yet is kept in the drain: a caller on a busy machine, between its opening and
/// its first call.
pub(crate) const FIRST_WORD: Duration = Duration::from_secs(1);

/// A refusal is logged once for each reason and origin within this window.
pub(crate) const REFUSAL_WINDOW: Duration = Duration::from_secs(600);

/// Reasons and origins remembered; beyond it refusals are counted only.
pub(crate) const REFUSALS_MAX: usize = 1_024;

/// Pauses between attempts to renew the certificate: doubled from the first to the second.
pub(crate) const RENEWAL_PAUSE_MIN: Duration = Duration::from_secs(1);
/// See [`RENEWAL_PAUSE_MIN`].
pub(crate) const RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(300);

/// The longest sleep until a moment of the wall clock, which may be set meanwhile.
pub(crate) const CLOCK_LOOK: Duration = Duration::from_secs(10);

/// The most bytes that are measured each way.
pub(crate) const MEASURE_BYTES_MAX: u64 = 1 << 40;
