//! The first node of a new cluster.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use acp_base::{Code, Failure, Uid};
use acp_io_failpoint::point;
use acp_wire_api::{
    agent::{InitClusterRequest, Joined},
    hub::{
        self, Admitted, InitCluster, RenewCertificate, RenewCertificateRequest, WatchDirectory, WatchDirectoryRequest,
    },
};
use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

use super::{Terms, check_hash, listen, must_be_alone, newcomer, settle};
use crate::{dial, limits::HUB_LIMIT, node::Node, socket};

/// Has this node's hub make a cluster with it.
pub(crate) async fn init(node: Arc<Node>, request: InitClusterRequest) -> Result<Joined, Failure> {
    let _changing = node.changing.lock().await;
    must_be_alone(&node).await?;
    check_hash(request.root_key_hash.as_ref())?;
    let (listener, port) = listen(&node).await?;
    let address = match request.address.as_ref().or(node.config.address.as_ref()) {
        Some(text) => with_port(text, port)?,
        None => SocketAddr::new(own_address(node.config.listen.ip())?, port),
    };
    let root_key_hash = request.root_key_hash;
    let ask =
        hub::InitClusterRequest { cluster: request.name, node: newcomer(&node, address, root_key_hash.clone()).await? };
    let mut terms = Terms { me: ask.node.uid, address, root_key_hash, token: None, has_entered: true };
    let id = "init";
    let mut hub = socket::connect(&node, "hub", None).await?;
    let admitted = match hub.call::<InitCluster>(&ask, id, HUB_LIMIT).await {
        Ok(admitted) => admitted,
        Err(refused) if matches!(refused.code, Code::FailedPrecondition | Code::AlreadyExists) => {
            let admitted = again(&node, &ask).await?.ok_or(refused)?;
            if request.address.is_none() {
                terms.address = known_address(&admitted, terms.me).unwrap_or(terms.address);
            }
            admitted
        }
        Err(failure) => return Err(failure),
    };
    point("agent.init.admitted")?;
    settle(&node, admitted, Some(listener), terms).await
}

/// Where the cluster dials this node already.
fn known_address(admitted: &Admitted, me: Uid) -> Option<SocketAddr> {
    admitted.directory.nodes.iter().find(|member| member.uid == me)?.address.parse().ok()
}

/// The cluster whose log this node's hub has already, because this node has made it before and did not come to keep it, or
/// because it was restored here; nothing if the hub has another one, or does not know the node.
async fn again(node: &Node, ask: &hub::InitClusterRequest) -> Result<Option<Admitted>, Failure> {
    let mut hub = socket::connect(node, "hub", None).await?;
    hub.ask::<WatchDirectory>(&WatchDirectoryRequest { known: None, epoch: String::new() }).await?;
    let watched = tokio::time::timeout(HUB_LIMIT, hub.next::<WatchDirectory>()).await;
    let Ok(Ok(Some(directory))) = watched.map(|reply| reply.map(|reply| reply.directory)) else { return Ok(None) };
    let own = node.identity.key.fingerprint().to_string();
    let is_this = |member: &hub::Member| member.uid == ask.node.uid && member.fingerprint == own;
    if directory.cluster.name != ask.cluster || !directory.nodes.iter().any(is_this) {
        return Ok(None);
    }
    let mut hub = socket::connect(node, "hub", None).await?;
    let request = RenewCertificateRequest { signing_request: ask.node.signing_request.clone() };
    let certificate = hub.call::<RenewCertificate>(&request, "init", HUB_LIMIT).await?.certificate;
    Ok(Some(Admitted { certificate, directory }))
}

/// An address with the port at which this node listens, unless another was given.
pub(crate) fn with_port(text: &str, port: u16) -> Result<SocketAddr, Failure> {
    let mut address = dial::parse(text)?;
    if text.parse::<SocketAddr>().is_err() {
        address.set_port(port);
    }
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err(Failure::invalid(format!("{text:?} is no address at which other nodes can dial this one")));
    }
    Ok(address)
}

/// The address that is listened at, if it is one; else the first of the host that others may know it by.
fn own_address(listen: IpAddr) -> Result<IpAddr, Failure> {
    if !listen.is_unspecified() {
        return Ok(listen);
    }
    let failed = |error| Failure::unavailable(format!("the host's addresses cannot be read: {error}"));
    let is_up =
        |flags: InterfaceFlags| flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK);
    let mut found = getifaddrs().map_err(failed)?.filter(|entry| is_up(entry.flags)).filter_map(|entry| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    found.find(|ip| is_dialled(*ip)).ok_or_else(|| {
        Failure::precondition(
            "the host has no address that is neither loopback nor link-local: give one with --address",
        )
    })
}

fn is_dialled(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_gets_the_one_that_is_listened_at() {
        assert_eq!(with_port("10.0.0.1", 7).expect("good").to_string(), "10.0.0.1:7");
        assert_eq!(with_port("10.0.0.1:8", 7).expect("good").to_string(), "10.0.0.1:8");
        for bad in ["0.0.0.0", "::", "10.0.0.1:0", "n1"] {
            assert_eq!(with_port(bad, 7).expect_err(bad).code, Code::InvalidArgument);
        }
        assert!(is_dialled([10, 0, 0, 1].into()));
        assert!(!is_dialled([127, 0, 0, 1].into()) && !is_dialled([169, 254, 0, 1].into()));
        assert!(!is_dialled(IpAddr::V6("fe80::1".parse().expect("an address"))));
    }
}
