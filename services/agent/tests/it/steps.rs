//! The agent's own program, killed between two steps of a change of membership: the same call again comes to its end.

use std::{
    path::Path,
    process::{Child, Command},
};

use acp_base::{Failure, Name};
use acp_dev_wait::wait_for_async;
use acp_io_client::{Client, ServiceClient};
use acp_wire_api::{
    Empty,
    agent::{self as api, JoinClusterRequest, LeaveClusterRequest},
};

use crate::{
    database::Database,
    world::{LIMIT, address, cluster},
};

struct Program {
    directory: tempfile::TempDir,
    database: Database,
    child: Child,
}

impl Program {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        std::fs::create_dir_all(path.join("failpoints")).expect("made");
        std::fs::create_dir_all(path.join("state/agent")).expect("made");
        std::fs::write(path.join("agent.toml"), format!("listen = \"{}:9932\"", address())).expect("written");
        let database = Database::start(path);
        let child = spawn(path);
        Self { directory, database, child }
    }

    fn arm(&self, point: &str) {
        std::fs::write(self.directory.path().join("failpoints").join(point), "kill").expect("written");
    }

    /// Waits until it was killed, and starts it again.
    fn again(&mut self, point: &str) {
        let status = self.child.wait().expect("it ends");
        assert!(
            !status.success() && self.directory.path().join(format!("failpoints/{point}.fired")).exists(),
            "{point}"
        );
        self.child = spawn(self.directory.path());
    }

    fn agent(&self) -> ServiceClient {
        Client::new(self.directory.path()).own("agent").deadline(LIMIT)
    }

    async fn join(&self, member: &str, token: &str) -> Result<Name, Failure> {
        let (member, token) = (member.to_owned(), token.to_owned());
        let request = JoinClusterRequest { member, token, address: None, root_key_hash: None };
        self.agent().call::<api::JoinCluster>(request).await.map(|joined| joined.node.name)
    }

    async fn is_member(&self) -> bool {
        self.agent().call::<api::GetStatus>(Empty {}).await.expect("a status").cluster.is_some()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(path: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_acp-agent"))
        .arg("--run-dir")
        .arg(path)
        .arg("--state-dir")
        .arg(path.join("state"))
        .arg("--config-dir")
        .arg(path)
        .args(["--node", "n2", "--log-level", "warn"])
        .spawn()
        .expect("started")
}

#[tokio::test]
async fn a_join_and_a_leave_that_were_killed_at_any_step_are_repeated() {
    let (n1, _others) = cluster(&[]).await;
    let (member, token) = (n1.ip.to_string(), n1.hub.token());
    let mut program = Program::start();
    for point in ["agent.join.admitted", "agent.member.before-write", "agent.member.written"] {
        program.arm(point);
        program.join(&member, &token).await.expect_err("it is killed");
        program.again(point);
    }
    assert_eq!(program.join(&member, &token).await.expect("the same token again").as_str(), "n2");
    assert_eq!(program.database.lock().entered.len(), 1, "the database entered once the node was a member");
    let before = program.database.lock().node_uid;
    let leave = LeaveClusterRequest { force: false };
    for point in ["agent.leave.told", "agent.member.before-remove"] {
        program.arm(point);
        program.agent().call::<api::LeaveCluster>(leave.clone()).await.expect_err("it is killed");
        program.again(point);
        assert!(program.is_member().await, "it has not forgotten yet");
        assert_eq!(program.database.lock().parted, 0, "membership comes first");
    }
    let point = "agent.leave.parted";
    program.arm(point);
    program.agent().call::<api::LeaveCluster>(leave).await.expect_err("it is killed");
    program.again(point);
    assert!(!program.is_member().await);
    let is_gone = || {
        let left = ["member.json", "left.json"].map(|name| program.directory.path().join("state/agent").join(name));
        if left.iter().any(|path| path.exists()) { Err("it is there") } else { Ok(()) }
    };
    wait_for_async("nothing to be left", LIMIT, async || is_gone()).await.expect("nothing is");
    let database = program.database.lock();
    assert!(database.parted == 1 && database.node_uid != before, "it parted once, under another id from then on");
}

#[tokio::test]
async fn a_node_that_left_and_was_killed_parts_by_itself() {
    let (n1, _others) = cluster(&[]).await;
    let mut program = Program::start();
    program.join(&n1.ip.to_string(), &n1.hub.token()).await.expect("joined");
    // As if it had been killed between the two: the membership is forgotten, the database is as it was.
    program.child.kill().expect("killed");
    program.child.wait().expect("it ends");
    let state = program.directory.path().join("state/agent");
    std::fs::rename(state.join("member.json"), state.join("left.json")).expect("forgotten");
    program.child = spawn(program.directory.path());
    let is_gone = || if state.join("left.json").exists() { Err("it is there") } else { Ok(()) };
    wait_for_async("the database to part", LIMIT, async || is_gone()).await.expect("it does");
    assert_eq!(program.database.lock().parted, 1);
    program.join(&n1.ip.to_string(), &n1.hub.token()).await.expect("it can join again");
}

#[tokio::test]
async fn a_member_that_was_killed_before_its_database_had_entered_sees_to_it_by_itself() {
    let (n1, _others) = cluster(&[]).await;
    for (point, times) in [("agent.enter.before", 1), ("agent.enter.done", 2)] {
        let mut program = Program::start();
        program.arm(point);
        program.join(&n1.ip.to_string(), &n1.hub.token()).await.expect_err("it is killed");
        program.again(point);
        let look = || {
            let entered = program.database.lock().entered.len();
            if entered == times { Ok(()) } else { Err(format!("{entered} times")) }
        };
        wait_for_async("the database to enter", LIMIT, async || look()).await.expect("it does");
        assert!(program.is_member().await);
    }
}
