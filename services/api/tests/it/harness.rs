//! An API between services that the test plays.

use std::{net::SocketAddr, time::Duration};

use acp_api::Config;
use acp_base::Uid;
use acp_io_daemon::Context;
use acp_wire_api::{
    Scope,
    principal::{Principal, PrincipalKind},
};
use serde_json::Value;

use crate::{
    http::{Answer, Request},
    peers::{Agent, Node},
};

/// How long a condition may take on a loaded machine; most hold within milliseconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Node `test`, whose API is asked, and node `n2`, with their services.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) agent: Agent,
    pub(crate) here: Node,
    pub(crate) there: Node,
    api: Option<Context>,
    pub(crate) address: SocketAddr,
}

/// A key's secret by its digit.
pub(crate) fn secret(digit: char) -> String {
    format!("acpk.{}", String::from(digit).repeat(64))
}

/// The key that may do everything.
pub(crate) fn admin() -> String {
    secret('a')
}

/// The key that may look.
pub(crate) fn reader() -> String {
    secret('1')
}

fn principal(number: u128, name: &str, scope: Scope) -> Principal {
    let (uid, name) = (Some(Uid::from_u128(number)), Some(name.parse().expect("a name")));
    Principal { kind: PrincipalKind::Key, uid, name, scope: Some(scope), via: None, fingerprint: None }
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let agent = Agent::start(folder.path());
        agent.add_key(&admin(), principal(1, "ops", Scope::Admin));
        agent.add_key(&reader(), principal(2, "viewer", Scope::Read));
        let here = Node::start("test", folder.path());
        let there = Node::start("n2", &folder.path().join("n2"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut world = Self { folder, agent, here, there, api: None, address };
        world.start_api().await;
        world
    }

    async fn start_api(&mut self) {
        let context = Context::for_test("api", self.folder.path(), Vec::new());
        std::fs::create_dir_all(&context.paths.state).expect("a state directory");
        let config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)) };
        self.address = acp_api::start(&config, &context).await.expect("it starts");
        self.api = Some(context);
    }

    /// Ends the API and starts it again, as the framework would.
    pub(crate) async fn restart(&mut self) {
        let context = self.api.take().expect("it runs");
        context.drain.cancel();
        assert!(context.tasks.join(LIMIT).await, "tasks outlive the drain");
        self.start_api().await;
    }

    pub(crate) fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.address, method, target)
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.request("GET", target).key(&admin()).send().await
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Answer {
        self.request("POST", target).key(&admin()).body(body.to_string()).send().await
    }
}

/// A problem has every field, and says the same as the status line.
pub(crate) fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let problem = answer.json();
    assert_eq!((problem["status"].as_u64(), problem["code"].as_str()), (Some(status.into()), Some(code)), "{problem}");
    for field in ["type", "title", "detail", "blame", "changed", "retry", "request_id"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem}");
    }
    assert_eq!(problem["request_id"], answer.header("x-request-id"));
    problem
}
