//! Which source: the preferred one of those that answer, and of those where new entries are ordered if there is one.

use std::{collections::BTreeMap, time::Duration};

use acp_base::Failure;
use acp_io_client::Client;
use acp_wire_api::{
    Empty,
    agent::ListMembers,
    cluster::{ControllerKey, FollowReply, FollowRequest},
};
use tokio::{task::JoinSet, time::Instant};

use super::Opened;
use crate::{
    peers::Peers,
    source::{Source, Stream, hubs, neighbours},
};

/// How long the preferred source is waited for before the next one is asked as well.
const HEAD_START: Duration = Duration::from_millis(300);

/// Neighbours asked in one round: more would only wait together.
const NEIGHBOURS_MAX: usize = 3;

/// How long the agent may take to answer what it knows.
const DIRECTORY_MAX: Duration = Duration::from_secs(2);

/// Every source, the preferred one first, without those that are avoided. This node's own hub is never avoided: there is
/// nothing better to believe.
pub(super) fn all(peers: &Peers, avoided: &BTreeMap<Source, Instant>) -> Vec<Source> {
    let near = neighbours(peers).into_iter().take(NEIGHBOURS_MAX);
    hubs(peers)
        .into_iter()
        .chain(near)
        .filter(|source| *source == Source::Own || !avoided.contains_key(source))
        .collect()
}

/// The first that answers and has a quorum; without such, the first that answers. Hubs are asked before neighbours; each has a head
/// start before the next one.
pub(crate) async fn first(client: &Client, candidates: &[Source], request: &FollowRequest) -> Result<Opened, String> {
    let (hubs, neighbours): (Vec<&Source>, Vec<&Source>) = candidates.iter().partition(|source| source.is_hub());
    let (mut reasons, mut without_quorum) = (Vec::new(), Vec::new());
    for round in [hubs, neighbours] {
        match race(client, &round, request, &mut without_quorum).await {
            Ok(opened) => return Ok(opened),
            Err(why) => reasons.extend(why),
        }
    }
    // In the order of preference, not of their answers.
    let place = |opened: &Opened| candidates.iter().position(|source| *source == opened.source);
    without_quorum.sort_by_key(place);
    if let Some(opened) = without_quorum.into_iter().next() {
        return Ok(opened);
    }
    Err(match reasons.first() {
        Some(reason) => format!("no controller answers: {reason}"),
        None => "no controller is known here".to_owned(),
    })
}

type Attempt = (Source, Result<(Stream, FollowReply), Failure>);

/// Whoever answers and has no quorum is kept aside.
async fn race(
    client: &Client,
    sources: &[&Source],
    request: &FollowRequest,
    without_quorum: &mut Vec<Opened>,
) -> Result<Opened, Vec<String>> {
    let mut attempts: JoinSet<Attempt> = JoinSet::new();
    let mut waiting = sources.iter();
    let mut reasons = Vec::new();
    loop {
        match waiting.next() {
            Some(source) => {
                let (source, client, request) = (Source::clone(source), client.clone(), request.clone());
                attempts.spawn(async move {
                    let opened = source.open(&client, request).await;
                    (source, opened)
                });
            }
            None if attempts.is_empty() => return Err(reasons),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(joined) = attempts.join_next() => match joined {
                Ok((source, Ok((stream, first)))) => {
                    let opened = Opened { source, stream, first };
                    if !opened.is_degraded() {
                        return Ok(opened);
                    }
                    without_quorum.push(opened);
                }
                Ok((source, Err(failure))) => reasons.push(format!("{source}: {}", failure.message)),
                Err(error) => reasons.push(error.to_string()),
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
        }
    }
}

/// The controllers of the directory that the agent has from the control plane; none while it does not answer.
pub(super) async fn directory_keys(client: &Client) -> Vec<ControllerKey> {
    let asked = client.own("agent").deadline(DIRECTORY_MAX).call::<ListMembers>(Empty {}).await;
    let members = asked.map(|reply| reply.nodes).unwrap_or_default();
    let controllers = members.into_iter().filter(|member| member.controller && !member.checkpoint_key.is_empty());
    controllers.map(|member| ControllerKey { uid: member.uid, name: member.name, key: member.checkpoint_key }).collect()
}
