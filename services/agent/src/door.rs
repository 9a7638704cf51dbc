//! The node's door: whoever dials comes in here, as what the certificate says and for what the class allows.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use acp_io_link::{Accepted, Class, Link, LinkError, serve};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    config::Config,
    dial,
    limits::{JOIN_LIMIT, PAUSE_MIN, REQUEST_MAX},
    member::Member,
    node::Node,
    visitor::Visitor,
};

/// The pause after a failed accept, for example without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens where the configuration says. A host without IPv6 has every address of IPv4.
pub(crate) async fn listen(config: &Config) -> std::io::Result<TcpListener> {
    match TcpListener::bind(config.listen).await {
        Err(_no_ipv6) if config.listen.is_ipv6() && config.listen.ip().is_unspecified() => {
            TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], config.listen.port()))).await
        }
        bound => bound,
    }
}

/// Takes whoever comes, until the membership ends.
pub(crate) async fn run(node: Arc<Node>, member: Arc<Member>, listener: Option<TcpListener>) {
    let listener = match listener {
        Some(listener) => listener,
        None => listen_in_the_end(&node).await,
    };
    loop {
        match listener.accept().await {
            Ok((tcp, from)) => {
                let visit = visit(Arc::clone(&node), Arc::clone(&member), tcp, from);
                node.context.tasks.spawn("visit", visit);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Until the port is free this node dials, and is reached over the link that it keeps to the control plane.
async fn listen_in_the_end(node: &Node) -> TcpListener {
    let mut pause = PAUSE_MIN;
    loop {
        match listen(&node.config).await {
            Ok(listener) => {
                node.troubles.set("door", None);
                return listener;
            }
            Err(error) => {
                let text =
                    format!("cannot listen at {}: {error}; other nodes cannot dial this one", node.config.listen);
                tracing::warn!(%error, listen = %node.config.listen, "cannot listen");
                node.troubles.set("door", Some(text));
            }
        }
        dial::pause(pause).await;
        pause = dial::longer(pause);
    }
}

/// One connection, from the handshake to its end.
async fn visit(node: Arc<Node>, member: Arc<Member>, tcp: TcpStream, from: SocketAddr) {
    let address = from.ip().to_canonical();
    let admitted = tokio::select! {
        () = node.context.drain.cancelled() => return,
        () = member.left.cancelled() => return,
        admitted = member.gate.admit(tcp, address) => admitted,
    };
    match admitted {
        Ok(accepted) => receive(node, member, accepted, &address.to_string()).await,
        Err(error) => node.refused.note(label(&error), &address.to_string(), &sentence(&error), ""),
    }
}

async fn receive(node: Arc<Node>, member: Arc<Member>, accepted: Accepted, address: &str) {
    let Accepted { class, peer, stream } = accepted;
    let uid = peer.as_ref().map(|peer| peer.identity.node);
    let place = match member.peers.enter(uid, class) {
        Ok(place) => place,
        Err(failure) => return node.refused.note("full", address, &failure.message, ""),
    };
    metrics::counter!("acp_agent_visits_total", "class" => dial::word(class)).increment(1);
    let (over, left) = (place.over.clone(), member.left.clone());
    let (tasks, drain) = (node.context.tasks.clone(), node.context.drain.clone());
    let visitor = Arc::new(Visitor::new(node, member, class, peer, address, place));
    let stay = async {
        match class {
            Class::Bulk => visitor.bulk(stream).await,
            Class::Reverse => {
                let Ok(link) = Link::over(stream, &tasks).await else { return };
                visitor.offer(link.clone());
                tokio::select! {
                    () = link.ended() => {}
                    () = drain.cancelled() => {}
                }
            }
            Class::Control | Class::Calls | Class::Renewal | Class::Join => {
                if let Err(error) = serve(stream, Arc::clone(&visitor), tasks, drain).await {
                    tracing::debug!(%error, class = dial::word(class), "a peer's link has ended");
                }
            }
        }
    };
    tokio::select! {
        () = over.cancelled() => visitor.cut(),
        () = left.cancelled() => visitor.cut(),
        () = overstayed(class, &visitor) => {}
        () = stay => {}
    }
}

/// Returns when whoever is no member yet, or was none for a while, has been here too long: with nothing to say, or for longer than
/// an operator is waited for.
async fn overstayed(class: Class, visitor: &Visitor) {
    if !matches!(class, Class::Join | Class::Renewal) {
        return std::future::pending().await;
    }
    let came = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(JOIN_LIMIT).await;
        let is_waiting = class == Class::Join && visitor.is_busy() && came.elapsed() < REQUEST_MAX + JOIN_LIMIT;
        if !is_waiting {
            return;
        }
    }
}

/// The reason under which a refusal is counted.
fn label(error: &LinkError) -> &'static str {
    match error {
        LinkError::Refused(refusal) => refusal.label(),
        LinkError::Unwelcome(_) => "unwelcome",
        LinkError::Protocol => "protocol",
        LinkError::TimedOut(_) => "timeout",
        LinkError::Crowded | LinkError::Full(_) => "crowded",
        LinkError::Unreachable(_)
        | LinkError::Handshake(_)
        | LinkError::Closed
        | LinkError::Oversized(_)
        | LinkError::Garbage
        | LinkError::Denied(_) => "handshake",
    }
}

fn sentence(error: &LinkError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
