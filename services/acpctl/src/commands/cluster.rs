//! `acpctl cluster`.

mod backup;
pub(super) mod status;
mod upgrade;

use acp_base::Failure;
use acp_wire_api::{
    Empty,
    agent::{AgentStatus, GetStatus, InitCluster, InitClusterRequest, Joined},
};

use crate::{args::ClusterVerb, error, output::to_value, root_key, session::Session};

/// The service that answers for this node among the others.
pub(super) const AGENT: &str = "agent";
/// The service that answers for the cluster.
pub(super) const HUB: &str = "hub";

pub(super) async fn run(session: &mut Session, verb: ClusterVerb) -> Result<u8, Failure> {
    match verb {
        ClusterVerb::Init { name, address } => {
            let before = session.call::<GetStatus>(AGENT, Empty {}).await?;
            let root_key_hash = root_key_to_enter_with(session, &before)?;
            let request = InitClusterRequest { name, address: address.map(Into::into), root_key_hash };
            let joined = session.call::<InitCluster>(AGENT, request).await?;
            let sentence = format!(
                "node {} at {} is the first of cluster {}",
                joined.node.name, joined.node.address, joined.cluster.name
            );
            entered(session, &before, &joined, &sentence)
        }
        ClusterVerb::Status => status::run(session).await,
        ClusterVerb::Backup { file, force } => backup::make(session, &file, force).await,
        ClusterVerb::Restore { file, plan } => backup::restore(session, &file, plan).await,
        ClusterVerb::Upgrade { plan } => upgrade::run(session, plan).await,
        ClusterVerb::Voters { count } => voters(session, count).await,
    }
}

async fn voters(session: &mut Session, count: u32) -> Result<u8, Failure> {
    let status = session.acp().quorum().set_voters(count).await?;
    let now = status.voters.iter().filter(|voter| voter.role != "learner").count();
    let noun = if count == 1 { "voter" } else { "voters" };
    let sentence =
        format!("the cluster shall have {count} {noun}, and has {now}; see: {}", session.advice("hub status"));
    session.out.done(&sentence, &to_value(&status)?)?;
    Ok(crate::DONE)
}

/// The hash of root's key, with which root of this node will have rights on the others: for root alone, and on the node where
/// this program runs, since the key stays there.
pub(super) fn root_key_to_enter_with(session: &Session, status: &AgentStatus) -> Result<Option<String>, Failure> {
    if let Some(cluster) = &status.cluster {
        let text = format!("node {} is in cluster {} already; see: acpctl cluster status", status.name, cluster.name);
        return Err(Failure::precondition(text));
    }
    root_key_of(session, status)
}

/// The same of a node that may be in a cluster already.
pub(super) fn root_key_of(session: &Session, status: &AgentStatus) -> Result<Option<String>, Failure> {
    if is_root_here(session) { root_key::ensure(status.root_key_path.as_ref()).map(Some) } else { Ok(None) }
}

/// Whether this program may keep root's key of the node that it talks to.
pub(super) fn is_root_here(session: &Session) -> bool {
    !session.is_elsewhere() && rustix::process::geteuid().is_root()
}

/// Says that the node is in a cluster now, and whether its root has rights on the others.
pub(super) fn entered(
    session: &mut Session,
    before: &AgentStatus,
    joined: &Joined,
    sentence: &str,
) -> Result<u8, Failure> {
    session.out.done(sentence, &to_value(joined)?)?;
    if joined.root_key {
        return Ok(crate::DONE);
    }
    error::say("root of this node has no rights on the others: use a key (acpctl key create, --key-file)");
    if is_root_here(session) {
        root_key::forget(before.root_key_path.as_ref())?;
    }
    Ok(crate::DONE)
}
