//! The agent: knows keys, names the principal, carries bytes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use acp_base::{Code, Failure, Uid};
use acp_io_client::Upgraded;
use acp_io_daemon::{Context, Router};
use acp_wire_api::{
    Interface, agent,
    agent::{AuthenticateReply, ListMembersReply, OpenReply, OpenRequest},
    hub::{Member, Metadata},
    principal::Principal,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::UnixStream,
};

use super::part;

/// The agent of node `test`.
#[derive(Clone)]
pub(crate) struct Agent {
    folder: PathBuf,
    keys: Arc<Mutex<BTreeMap<String, Principal>>>,
    opens: Arc<AtomicUsize>,
    context: Context,
}

impl Agent {
    pub(crate) fn start(folder: &Path) -> Self {
        let played = ["Open", "Authenticate", "ListMembers"];
        let interfaces: Vec<Interface> = vec![part(agent::interface(), &played)];
        let context = Context::for_test("agent", folder, interfaces);
        let this =
            Self { folder: folder.to_owned(), keys: Arc::default(), opens: Arc::default(), context: context.clone() };
        let mut router = Router::new();
        let own = this.clone();
        router.once::<agent::Authenticate, _, _>(move |call| {
            std::future::ready(own.principal(&call.request.key).map(|principal| AuthenticateReply { principal }))
        });
        router.once::<agent::ListMembers, _, _>(|_call| std::future::ready(Ok(members())));
        let own = this.clone();
        router.upgrade::<agent::Open, _, _, _, _>(move |call| {
            let own = own.clone();
            async move {
                let (reply, far) = own.open(call.request).await?;
                Ok((reply, move |near: Upgraded| splice(near, far)))
            }
        });
        drop(context.serve(router).expect("the socket is free"));
        context.ready();
        this
    }

    pub(crate) fn add_key(&self, secret: &str, principal: Principal) {
        self.keys().insert(secret.to_owned(), principal);
    }

    pub(crate) fn revoke(&self, secret: &str) {
        self.keys().remove(secret);
    }

    /// Ends it and all its connections.
    pub(crate) async fn end(&self) {
        self.context.drain.cancel();
        assert!(self.context.tasks.join(crate::harness::LIMIT).await, "it ends");
    }

    /// How many conversations were opened so far.
    pub(crate) fn opens(&self) -> usize {
        self.opens.load(Ordering::SeqCst)
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Principal>> {
        self.keys.lock().expect("no test panics while it holds this")
    }

    fn principal(&self, secret: &str) -> Result<Principal, Failure> {
        let known = self.keys().get(secret).cloned();
        known.ok_or_else(|| Failure::new(Code::PermissionDenied, "the key is not known"))
    }

    async fn open(&self, request: OpenRequest) -> Result<(OpenReply, UnixStream), Failure> {
        self.opens.fetch_add(1, Ordering::SeqCst);
        let principal = self.principal(&request.key.expect("the API always shows the caller's key"))?;
        let node = request.node.map_or_else(|| "test".to_owned(), |node| node.to_string());
        let folder = match node.as_str() {
            "test" => self.folder.clone(),
            "n2" => self.folder.join("n2"),
            other => return Err(Failure::not_found(format!("there is no node {other}"))),
        };
        let socket = folder.join(format!("{}.sock", request.service));
        let away = |error: std::io::Error| Failure::unavailable(format!("{}: {error}", request.service));
        let mut stream = UnixStream::connect(&socket).await.map_err(away)?;
        act_for(&mut stream, &principal).await;
        Ok((OpenReply { node, here: false, hops: Vec::new() }, stream))
    }
}

/// Names the principal. The service believes root, as it would believe its agent.
async fn act_for(stream: &mut UnixStream, principal: &Principal) {
    let call = json!({ "method": "acp.daemon.ActFor", "parameters": { "principal": principal } });
    stream.write_all(format!("{call}\0").as_bytes()).await.expect("it is taken");
    let mut reply = Vec::new();
    loop {
        match stream.read_u8().await.expect("a reply") {
            0 => break,
            byte => reply.push(byte),
        }
    }
    let reply: Value = serde_json::from_slice(&reply).expect("JSON");
    assert!(reply.get("error").is_none(), "{reply}");
}

async fn splice(mut near: Upgraded, mut far: UnixStream) {
    // However it ends, both ends are closed.
    drop(copy_bidirectional(&mut near, &mut far).await);
}

fn members() -> ListMembersReply {
    let member = |number: u128, name: &str| Member {
        uid: Uid::from_u128(number),
        name: name.parse().expect("a name"),
        address: format!("10.9.0.{number}:9932"),
        fingerprint: "00".repeat(32),
        controller: number == 1,
        checkpoint_key: String::new(),
        parked: false,
        roles: Vec::new(),
        domain: None,
        metadata: Metadata::default(),
        joined_ms: 1,
    };
    ListMembersReply {
        nodes: vec![member(2, "n2"), member(1, "test")],
        revision: 3,
        epoch: "1-0a".into(),
        age_ms: Some(5),
    }
}
