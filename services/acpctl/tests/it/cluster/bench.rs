//! A node whose agent and hub are stand-ins that note what they are told.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
};

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::Router;
use acp_wire_api::{Empty, Method, Scope, agent, hub};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::control;
use crate::node::{LIMIT, Node, Run};

pub(super) const TOKEN: &str = "acpt.00ff.77aa";
const AGENT: &[&str] = &[
    agent::GetStatus::NAME,
    agent::InitCluster::NAME,
    agent::JoinCluster::NAME,
    agent::Rejoin::NAME,
    agent::RequestJoin::NAME,
    agent::PlanJoin::NAME,
    agent::LeaveCluster::NAME,
    agent::ListMembers::NAME,
    agent::Open::NAME,
];
const HUB: &[&str] = &[
    hub::GetStatus::NAME,
    hub::GetQuorum::NAME,
    hub::Transfer::NAME,
    hub::SetVoters::NAME,
    hub::PlanUpgrade::NAME,
    hub::Upgrade::NAME,
    hub::Recover::NAME,
    hub::Backup::NAME,
    hub::Restore::NAME,
    hub::PlanRemove::NAME,
    hub::Rename::NAME,
    hub::Readdress::NAME,
    hub::Park::NAME,
    hub::Unpark::NAME,
    hub::ListRequests::NAME,
    hub::Approve::NAME,
    hub::Reject::NAME,
    hub::ListRoles::NAME,
    hub::SetRole::NAME,
    hub::ListNodes::NAME,
    hub::WatchNodes::NAME,
    hub::SetMetadata::NAME,
    hub::RemoveNode::NAME,
    hub::CreateToken::NAME,
    hub::ListTokens::NAME,
    hub::RevokeToken::NAME,
    hub::CreateKey::NAME,
    hub::ListKeys::NAME,
    hub::RevokeKey::NAME,
];

/// What the stand-in agent and hub were told, in order, as JSON of the requests.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<(&'static str, Value)>>>);

impl Heard {
    pub(super) fn note<M: Method>(&self, request: &M::Request) {
        let request = serde_json::to_value(request).expect("JSON");
        self.0.lock().expect("no panic").push((M::NAME, request));
    }

    pub(super) fn take(&self) -> Vec<(&'static str, Value)> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

/// How the stand-ins answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cluster {
    None,
    Here,
    /// There is one, and its control plane does not answer.
    Lost,
}

pub(super) struct Bench {
    pub(super) node: Node,
    pub(super) heard: Heard,
}

impl Bench {
    pub(super) fn new(cluster: Cluster, takes_root_key: bool) -> Self {
        let mut node = Node::new();
        let heard = Heard::default();
        let root_key = node.folder().join("root.key");
        node.add_cluster(Vec::new());
        let agent = agent_router(&heard, cluster, takes_root_key, root_key);
        node.add("agent", agent::interface(), AGENT, agent);
        node.add("hub", hub::interface(), HUB, hub_router(&heard));
        Self { node, heard }
    }

    pub(super) fn root_key(&self) -> PathBuf {
        self.node.folder().join("root.key")
    }

    pub(super) async fn run(&self, line: &str) -> Run {
        self.node.run(line).await
    }

    /// With this on the standard input.
    pub(super) async fn run_fed(&self, line: &str, input: &str) -> Run {
        let mut command = self.node.command(line);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("acpctl runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).await.expect("taken");
        drop(stdin);
        Run::of(timeout(LIMIT, child.wait_with_output()).await.expect("acpctl ends").expect("acpctl ran"))
    }
}

pub(super) fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a name")
}

pub(super) fn lab() -> hub::Cluster {
    hub::Cluster { uid: Uid::from_u128(9), name: name("lab") }
}

pub(super) fn member(number: u128) -> hub::Member {
    hub::Member {
        uid: Uid::from_u128(number),
        name: name(&format!("n{number}")),
        address: format!("10.0.0.{number}:9932"),
        fingerprint: "aa".repeat(32),
        controller: number == 1,
        checkpoint_key: String::new(),
        parked: number == 3,
        roles: if number == 1 { vec![name("edge"), name("core")] } else { Vec::new() },
        metadata: control::metadata(number),
        domain: None,
        joined_ms: 1_000,
    }
}

pub(super) fn answer<T>(reply: T) -> std::future::Ready<Result<T, Failure>> {
    std::future::ready(Ok(reply))
}

fn status(cluster: Cluster, root_key: &Path) -> agent::AgentStatus {
    let is_in = cluster != Cluster::None;
    let link = agent::LinkStatus {
        node: Uid::from_u128(2),
        name: "n2".into(),
        class: "calls".into(),
        dialled: true,
        conversations: 3,
        for_ms: 1_500,
    };
    agent::AgentStatus {
        node: Uid::from_u128(1),
        name: name("n1"),
        cluster: is_in.then(lab),
        address: is_in.then(|| "10.0.0.1:9932".to_owned()),
        certificate_until_ms: is_in.then_some(u64::MAX / 2),
        revision: if is_in { 7 } else { 0 },
        hub_heard_ms: match cluster {
            Cluster::None => None,
            Cluster::Here => Some(1_200),
            Cluster::Lost => Some(65_000),
        },
        root_key_path: root_key.display().to_string(),
        links: if is_in { vec![link] } else { Vec::new() },
    }
}

fn agent_router(heard: &Heard, cluster: Cluster, takes_root_key: bool, root_key: PathBuf) -> Router {
    let mut router = Router::new();
    let path = root_key.clone();
    router.once::<agent::GetStatus, _, _>(move |_call| answer(status(cluster, &path)));
    let joined = move |hash: Option<&String>, root_key: &Path| {
        // Whoever is told the hash may rely on the key.
        assert_eq!(hash.is_some(), root_key.exists(), "the key is kept before its hash is told");
        agent::Joined { cluster: lab(), node: member(1), root_key: takes_root_key && hash.is_some() }
    };
    let (noted, path) = (heard.clone(), root_key.clone());
    router.once::<agent::InitCluster, _, _>(move |call| {
        noted.note::<agent::InitCluster>(&call.request);
        answer(joined(call.request.root_key_hash.as_ref(), &path))
    });
    let (noted, path) = (heard.clone(), root_key);
    router.once::<agent::JoinCluster, _, _>(move |call| {
        noted.note::<agent::JoinCluster>(&call.request);
        answer(joined(call.request.root_key_hash.as_ref(), &path))
    });
    let noted = heard.clone();
    router.once::<agent::PlanJoin, _, _>(move |call| {
        noted.note::<agent::PlanJoin>(&call.request);
        let clashes = if call.request.address.is_some() { vec!["n1 is taken".to_owned()] } else { Vec::new() };
        answer(hub::JoinPlan { cluster: lab(), nodes: 3, clashes, root_key: takes_root_key })
    });
    control::add_to_agent(&mut router, heard);
    let noted = heard.clone();
    router.once::<agent::LeaveCluster, _, _>(move |call| {
        noted.note::<agent::LeaveCluster>(&call.request);
        answer(Empty {})
    });
    router.once::<agent::ListMembers, _, _>(move |_call| {
        let revision = if cluster == Cluster::None { 0 } else { 7 };
        answer(agent::ListMembersReply {
            nodes: vec![member(1), member(2)],
            revision,
            epoch: "1-0a".into(),
            age_ms: Some(65_000),
        })
    });
    router.upgrade::<agent::Open, _, _, _, _>(move |_call| {
        let reply = match cluster {
            Cluster::Here => Ok((agent::OpenReply { node: "n1".into(), here: true, hops: Vec::new() }, end)),
            Cluster::Lost => Err(Failure::new(Code::DeadlineExceeded, "the control plane on n2 is not reached")),
            Cluster::None => Err(Failure::precondition("there is no cluster here")),
        };
        std::future::ready(reply)
    });
    router
}

/// Nothing is carried.
async fn end(_io: acp_io_client::Upgraded) {}

fn hub_router(heard: &Heard) -> Router {
    let mut router = Router::new();
    control::add_to_hub(&mut router, heard);
    router.once::<hub::GetStatus, _, _>(|_call| {
        let (degraded, leader) = (String::new(), Some(name("n1")));
        answer(hub::HubStatus { cluster: Some(lab()), revision: 7, nodes: 3, online: 1, degraded, leader, voters: 3 })
    });
    let noted = heard.clone();
    router.once::<hub::ListNodes, _, _>(move |call| {
        if call.request != hub::NodeFilter::default() {
            noted.note::<hub::ListNodes>(&call.request);
        }
        let presence = |number, verdict: hub::Verdict, for_ms| {
            let online = verdict == hub::Verdict::Online;
            let evidence = "no session for 9000 ms; down say n1, n3 for 9000 ms; confirmation failed".to_owned();
            let down = hub::Judgement { standing: hub::Standing::Down, for_ms: 8_000, evidence };
            let judged = (verdict == hub::Verdict::Offline).then_some(down);
            hub::NodePresence { node: member(number), online, verdict, judged, for_ms }
        };
        let nodes = vec![
            presence(1, hub::Verdict::Online, Some(5_000)),
            presence(2, hub::Verdict::Offline, None),
            presence(3, hub::Verdict::Parked, None),
        ];
        answer(hub::ListNodesReply { revision: 7, nodes, age_ms: 0, degraded: String::new() })
    });
    let token = |request: &hub::CreateTokenRequest| hub::Token {
        uid: Uid::from_u128(5),
        expires_ms: u64::MAX / 2,
        uses_left: request.uses.unwrap_or(1),
        no_root_key: request.no_root_key,
    };
    let noted = heard.clone();
    router.once::<hub::CreateToken, _, _>(move |call| {
        noted.note::<hub::CreateToken>(&call.request);
        answer(hub::CreateTokenReply { token: token(&call.request), text: TOKEN.to_owned() })
    });
    router.once::<hub::ListTokens, _, _>(move |_call| {
        let request = hub::CreateTokenRequest { lifetime_ms: None, uses: Some(4), no_root_key: true };
        answer(hub::ListTokensReply { tokens: vec![token(&request)] })
    });
    let key = |name: &str, scope| hub::Key {
        uid: Uid::from_u128(6),
        name: name.to_owned(),
        hash: "bb".repeat(32),
        scope,
        created_ms: 1_000,
        expires_ms: Some(2_000),
    };
    let noted = heard.clone();
    router.once::<hub::CreateKey, _, _>(move |call| {
        noted.note::<hub::CreateKey>(&call.request);
        let key = key(call.request.name.as_str(), call.request.scope);
        answer(hub::CreateKeyReply { key, secret: "acpk.77".to_owned() })
    });
    router.once::<hub::ListKeys, _, _>(move |_call| {
        answer(hub::ListKeysReply { keys: vec![key("root@n1", Scope::Admin)] })
    });
    let noted = heard.clone();
    router.once::<hub::RevokeKey, _, _>(move |call| {
        noted.note::<hub::RevokeKey>(&call.request);
        answer(Empty {})
    });
    let noted = heard.clone();
    router.once::<hub::RevokeToken, _, _>(move |call| {
        noted.note::<hub::RevokeToken>(&call.request);
        answer(Empty {})
    });
    let noted = heard.clone();
    router.once::<hub::RemoveNode, _, _>(move |call| {
        noted.note::<hub::RemoveNode>(&call.request);
        answer(Empty {})
    });
    router
}
