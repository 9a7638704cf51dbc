//! What the stand-ins say of voters, requests and roles.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use acp_base::{Failure, Uid};
use acp_io_daemon::Router;
use acp_wire_api::{
    Empty, Method, agent,
    hub::{self, JoinOutcome, QuorumStatus, VoterStatus},
};

use super::bench::{Heard, answer, lab, member, name};

/// The request of node `n4`.
pub(super) const REQUEST: Uid = Uid::from_u128(0xa5);

fn noted<M: Method>(router: &mut Router, heard: &Heard, reply: impl Fn(M::Request) -> M::Reply + Send + Sync + 'static)
where
    M::Request: Clone + Send + 'static,
{
    let heard = heard.clone();
    router.once::<M, _, _>(move |call| {
        heard.note::<M>(&call.request);
        answer(reply(call.request))
    });
}

fn done<M: Method<Reply = Empty>>(router: &mut Router, heard: &Heard)
where
    M::Request: Clone + Send + 'static,
{
    noted::<M>(router, heard, |_request| Empty {});
}

fn quorum(leader: &str, degraded: &str) -> QuorumStatus {
    let voter = |number: u128, role: &str, behind| VoterStatus {
        uid: Uid::from_u128(number),
        name: format!("n{number}"),
        role: role.to_owned(),
        behind,
        heard_ms: behind.map(|_known| 2_000),
    };
    QuorumStatus {
        node: name("n1"),
        epoch: "2-0a".into(),
        term: 4,
        leader: Some(name(leader)),
        degraded: degraded.to_owned(),
        applied: 99,
        wanted: 3,
        voters: vec![voter(1, "leader", None), voter(2, "follower", Some(7)), voter(3, "learner", None)],
    }
}

pub(super) fn backup() -> hub::BackupReply {
    hub::BackupReply {
        version: 1,
        cluster: lab().uid,
        name: "lab".into(),
        index: 99,
        hash: "cc".repeat(32),
        time_ms: 1_000,
        image: "aW1hZ2U=".into(),
        authority: "-----BEGIN PRIVATE KEY-----".into(),
    }
}

/// What is noted of a node.
pub(super) fn metadata(number: u128) -> hub::Metadata {
    let zone = hub::MetaValue::Text("a".to_owned());
    let noted = [("rack", hub::MetaValue::Number(12)), ("ssd", hub::MetaValue::Flag(true)), ("zone", zone)];
    let of_second = noted.into_iter().filter(|_| number == 2).map(|(key, value)| (name(key), value));
    hub::Metadata(of_second.collect())
}

/// The nodes as they are, then the end of one; each watch after the first has missed that one more has come.
fn watch_nodes(router: &mut Router, heard: &Heard) {
    let (heard, watches) = (heard.clone(), Arc::new(AtomicU32::new(0)));
    router.stream::<hub::WatchNodes, _, _>(move |call, sink| {
        heard.note::<hub::WatchNodes>(&call.request);
        let is_first = watches.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            let event = |change, number, online| {
                let verdict = if online { hub::Verdict::Online } else { hub::Verdict::Offline };
                hub::NodeEvent {
                    change,
                    node: hub::NodePresence { node: member(number), online, verdict, judged: None, for_ms: None },
                }
            };
            let reply = |current, events| hub::WatchNodesReply {
                revision: 7,
                current,
                events,
                age_ms: 0,
                degraded: String::new(),
            };
            let came = hub::NodeChange::Came;
            if is_first {
                sink.send(reply(true, vec![event(came, 1, true), event(came, 2, true)])).await?;
                sink.send(reply(false, vec![event(hub::NodeChange::Offline, 2, false)])).await?;
                return Err(Failure::unavailable("the hub is ending"));
            }
            sink.send(reply(true, [1, 2, 4].map(|number| event(came, number, number != 2)).to_vec())).await?;
            sink.send(reply(false, vec![event(hub::NodeChange::Went, 4, true)])).await?;
            std::future::pending().await
        }
    });
}

pub(super) fn add_to_hub(router: &mut Router, heard: &Heard) {
    watch_nodes(router, heard);
    done::<hub::SetMetadata>(router, heard);
    router.once::<hub::GetQuorum, _, _>(|_call| answer(quorum("n1", "")));
    noted::<hub::Transfer>(router, heard, |request| {
        quorum(request.to.as_ref().map_or("n2", |to: &acp_base::Name| to.as_str()), "")
    });
    noted::<hub::SetVoters>(router, heard, |_request| quorum("n1", ""));
    let plan = |clash: Option<&str>| hub::UpgradePlan {
        level: 1,
        to: 2,
        clashes: clash.into_iter().map(str::to_owned).collect(),
        effects: vec!["programs that know level 1 alone cannot come back into this cluster".to_owned()],
    };
    let (asks, told) = (AtomicU32::new(0), plan);
    router.once::<hub::PlanUpgrade, _, _>(move |_call| {
        // The first who asks is told of a node that is not upgraded yet.
        let is_first = asks.fetch_add(1, Ordering::Relaxed) == 0;
        answer(told(is_first.then_some("node n2 runs hub of level 1")))
    });
    noted::<hub::Upgrade>(router, heard, move |_request| hub::UpgradePlan { level: 2, ..plan(None) });
    noted::<hub::Recover>(router, heard, |request| {
        quorum("n1", if request.plan { "what n2 had acknowledged is lost" } else { "" })
    });
    noted::<hub::Backup>(router, heard, |_request| backup());
    noted::<hub::Restore>(router, heard, |request| {
        quorum("n1", if request.plan { "lab begins anew at entry 99" } else { "" })
    });
    noted::<hub::PlanRemove>(router, heard, |request| hub::NodePlan {
        effects: vec!["system web goes on as an orphan".to_owned()],
        clashes: if request.name.as_str() == "n1" { vec!["it is the last controller".to_owned()] } else { Vec::new() },
    });
    done::<hub::Rename>(router, heard);
    done::<hub::Readdress>(router, heard);
    done::<hub::Park>(router, heard);
    done::<hub::Unpark>(router, heard);
    done::<hub::Approve>(router, heard);
    done::<hub::Reject>(router, heard);
    done::<hub::SetRole>(router, heard);
    router.once::<hub::ListRequests, _, _>(|_call| {
        let asked = |number: u128, request| hub::JoinAsked {
            request,
            node: Uid::from_u128(number),
            name: name(&format!("n{number}")),
            address: format!("10.0.0.{number}:9932"),
            fingerprint: "dd".repeat(32),
            asked_ms: 1_000,
            until_ms: 2_000,
        };
        answer(hub::ListRequestsReply { requests: vec![asked(4, REQUEST), asked(5, Uid::from_u128(0xb6))] })
    });
    router.once::<hub::ListRoles, _, _>(|_call| {
        let role = hub::Role { name: name("edge"), units: vec![name("api"), name("hub")], nodes: vec![name("n1")] };
        answer(hub::ListRolesReply { roles: vec![role] })
    });
}

pub(super) fn add_to_agent(router: &mut Router, heard: &Heard) {
    noted::<agent::Rejoin>(router, heard, |_request| joined());
    let heard = heard.clone();
    router.stream::<agent::RequestJoin, _, _>(move |call, sink| {
        heard.note::<agent::RequestJoin>(&call.request);
        async move {
            let reply = |outcome, joined| agent::RequestJoinReply {
                outcome,
                request: Some(REQUEST),
                authority: "ee".repeat(32),
                fingerprint: "dd".repeat(32),
                joined,
            };
            sink.send(reply(JoinOutcome::Waiting, None)).await?;
            match call.request.member.as_str() {
                "10.0.0.1" => Ok(reply(JoinOutcome::Admitted, Some(joined()))),
                "10.0.0.2" => Ok(reply(JoinOutcome::AlreadyJoined, Some(joined()))),
                "10.0.0.3" => Ok(reply(JoinOutcome::Rejected, None)),
                "10.0.0.4" => Ok(reply(JoinOutcome::Unanswered, None)),
                "10.0.0.5" => Ok(reply(JoinOutcome::Disabled, None)),
                other => Err(Failure::unavailable(format!("nobody answers at {other}"))),
            }
        }
    });
}

fn joined() -> agent::Joined {
    agent::Joined { cluster: lab(), node: member(1), root_key: true }
}
