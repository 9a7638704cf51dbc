//! The process is killed between any two effects, and whoever asked asks again: nothing is lost that was acknowledged, and
//! nothing is in the way of the second attempt.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use acp_base::{Code, Failure};
use acp_dev_wait::wait_for;
use acp_io_client::{Client, ServiceClient};
use acp_wire_api::{
    Method,
    hub::{self as api, CreateTokenRequest, FoundRequest, InitClusterRequest, JoinRequest, NodeRequest},
};

use crate::{
    node::{LIMIT, directory, secret, valid},
    peer::{Peer, certificate},
};

/// A hub in a process of its own, which is started again when it was killed.
struct Process<'a> {
    directory: &'a Path,
    child: Child,
    deaths: u32,
}

impl<'a> Process<'a> {
    fn start(directory: &'a Path) -> Self {
        fs::create_dir_all(directory.join("failpoints")).expect("made");
        Self { directory, child: Self::spawn(directory), deaths: 0 }
    }

    fn spawn(directory: &Path) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acp-hub"));
        for option in ["--run-dir", "--state-dir", "--log-dir", "--config-dir"] {
            command.arg(option).arg(directory);
        }
        command.args(["--node", "n1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
    }

    fn service(&self) -> ServiceClient {
        Client::new(self.directory).own("hub").deadline(LIMIT)
    }

    /// Calls; when the process is killed meanwhile, it is started again and asked again.
    async fn call<M: Method>(&mut self, request: M::Request) -> Result<M::Reply, Failure>
    where
        M::Request: Clone,
    {
        let failure = match self.service().call::<M>(request.clone()).await {
            Err(failure) if failure.code == Code::Unavailable => failure,
            answered => return answered,
        };
        wait_for("the process to end", LIMIT, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?} after {failure}")),
        })
        .expect("it was killed");
        self.deaths += 1;
        self.child = Self::spawn(self.directory);
        self.service().call::<M>(request).await
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("it can be killed");
    }
}

/// A cluster's youth: it is made, a node joins, and goes.
async fn live(process: &mut Process<'_>) {
    let (first, second) = (Peer::new("n1", 1), Peer { root_key_hash: Some("ab".repeat(32)), ..Peer::new("n2", 2) });
    let found = FoundRequest { node: first.uid, name: valid("n1"), image: None };
    process.call::<api::Found>(found).await.expect("a log");
    let init = InitClusterRequest { cluster: valid("prod"), node: first.presents() };
    let made = process.call::<api::InitCluster>(init).await.expect("a cluster");
    assert_eq!(certificate(&made.certificate).identity.cluster, made.directory.cluster.uid);
    let token = CreateTokenRequest { lifetime_ms: None, uses: Some(1), no_root_key: false };
    let token = process.call::<api::CreateToken>(token).await.expect("a token").text;
    let join = JoinRequest { token: secret(&token), node: second.presents() };
    let joined = process.call::<api::Join>(join).await.expect("it joins");
    assert_eq!((joined.directory.nodes.len(), joined.directory.keys.len()), (2, 1));
    assert_eq!(joined.directory.authority, made.directory.authority);
    match process.call::<api::RemoveNode>(NodeRequest { name: valid("n2") }).await {
        Err(failure) if failure.code == Code::NotFound && process.deaths > 0 => {}
        removed => drop(removed.expect("it is a member")),
    }
    let nodes = process.call::<api::ListNodes>(api::NodeFilter::default()).await.expect("a list").nodes;
    assert_eq!(nodes.iter().map(|node| node.node.name.as_str()).collect::<Vec<_>>(), ["n1"]);
    let directory =
        process.call::<api::WatchDirectory>(api::WatchDirectoryRequest { known: None, epoch: String::new() }).await;
    let directory = directory.expect("there is a cluster").directory.expect("it comes first");
    assert_eq!((directory.revision, directory.removed, directory.keys), (4, vec![second.uid], Vec::new()));
}

#[tokio::test]
async fn killed_at_any_step_it_loses_nothing_and_is_in_nobodys_way() {
    let steps = {
        let directory = directory();
        let mut process = Process::start(directory.path());
        fs::write(directory.path().join("failpoints/trace"), "").expect("written");
        live(&mut process).await;
        fs::read_to_string(directory.path().join("failpoints/trace")).expect("a trace")
    };
    let steps: Vec<&str> = steps.lines().collect();
    assert_eq!(steps.len(), 15, "two for the record, two each for six batches, one for the authority: {steps:?}");
    for (index, step) in steps.iter().enumerate() {
        let pass = steps[..=index].iter().filter(|earlier| *earlier == step).count();
        let directory = directory();
        let mut process = Process::start(directory.path());
        fs::write(directory.path().join("failpoints").join(step), format!("kill {pass}")).expect("written");
        live(&mut process).await;
        assert_eq!(process.deaths, 1, "{step}, the {pass}. time");
    }
}
