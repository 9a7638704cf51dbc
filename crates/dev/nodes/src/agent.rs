//! The stand-in for the agent of `n1`: it finds nodes by their directories and carries bytes from socket to socket.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
};

use acp_base::{Failure, Uid};
use acp_io_daemon::Router;
use acp_io_varlink::Upgraded;
use acp_wire_api::{
    Interface, Method,
    agent::{self, AgentStatus, GetStatus, Hop, ListMembers, ListMembersReply, Open, OpenReply, OpenRequest},
    hub::{Member, Metadata},
};
use tokio::{io::copy_bidirectional, net::UnixStream};

use crate::{Script, locked, name};

type Carried = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What it answers.
pub(crate) fn interfaces() -> Vec<Interface> {
    let mut interface = agent::interface();
    interface.methods.retain(|method| [Open::NAME, GetStatus::NAME, ListMembers::NAME].contains(&method.name));
    vec![interface]
}

pub(crate) fn router(script: &Arc<Mutex<Script>>, folder: &Path, root_key: &Path) -> Router {
    let mut router = Router::new();
    let (script, folder) = (Arc::clone(script), folder.to_owned());
    let asked = Arc::clone(&script);
    router.upgrade::<Open, _, _, _, _>(move |call| open(Arc::clone(&asked), folder.clone(), call.request));
    let root_key_path = root_key.to_string_lossy().into_owned();
    router.once::<GetStatus, _, _>(move |_call| {
        locked(&script).statuses += 1;
        std::future::ready(Ok(status(root_key_path.clone())))
    });
    router.once::<ListMembers, _, _>(|_call| {
        let nodes = (1..=3).map(member).collect();
        std::future::ready(Ok(ListMembersReply { nodes, revision: 3, epoch: "1-0a".into(), age_ms: Some(0) }))
    });
    router
}

fn status(root_key_path: String) -> AgentStatus {
    AgentStatus {
        node: Uid::from_u128(1),
        name: name("n1"),
        cluster: None,
        address: None,
        certificate_until_ms: None,
        revision: 3,
        hub_heard_ms: Some(0),
        root_key_path,
        links: Vec::new(),
    }
}

fn member(number: u8) -> Member {
    Member {
        uid: Uid::from_u128(number.into()),
        name: name(&format!("n{number}")),
        address: format!("192.0.2.{number}:9932"),
        fingerprint: String::new(),
        controller: number == 1,
        checkpoint_key: String::new(),
        parked: false,
        roles: Vec::new(),
        domain: None,
        metadata: Metadata::default(),
        joined_ms: 0,
    }
}

async fn open(
    script: Arc<Mutex<Script>>,
    folder: PathBuf,
    request: OpenRequest,
) -> Result<(OpenReply, impl FnOnce(Upgraded) -> Carried), Failure> {
    let (cut, carried, node) = {
        let mut script = locked(&script);
        script.opens.push(request.clone());
        if let Some(refusal) = script.refusals.pop_front() {
            return Err(refusal);
        }
        let node = request.node.as_ref().map_or_else(|| script.hub.clone(), ToString::to_string);
        (script.cut.clone(), Arc::clone(&script.carried), node)
    };
    let here = node == "n1" && request.key.is_none();
    let far = if here { None } else { Some(dial(&folder, &node, &request).await?) };
    let hop =
        |node: &str, service: &str| Hop { node: node.into(), service: service.into(), how: "link".into(), took_us: 5 };
    let hops = if here { Vec::new() } else { vec![hop("n1", "agent"), hop(&node, &request.service)] };
    let carry = move |mut near: Upgraded| -> Carried {
        Box::pin(async move {
            let Some(mut far) = far else { return };
            tokio::select! {
                () = cut.cancelled() => {}
                _ended = copy_bidirectional(&mut near, &mut far) => {}
            }
            drop((near, far));
            drop(carried);
        })
    };
    Ok((OpenReply { node, here, hops }, carry))
}

async fn dial(folder: &Path, node: &str, request: &OpenRequest) -> Result<UnixStream, Failure> {
    let run = folder.join(node);
    if !run.exists() {
        return Err(Failure::unavailable(format!("node {node} cannot be reached")));
    }
    let socket = match &request.instance {
        Some(instance) => run.join(&request.service).join(instance),
        None => run.join(&request.service),
    };
    let connected = UnixStream::connect(socket.with_extension("sock")).await;
    connected.map_err(|error| Failure::unavailable(format!("{} on {node} is starting: {error}", request.service)))
}
