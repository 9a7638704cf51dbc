//! The agent and the cluster service of a node, played: what the cluster makes of the node is what the test says.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use acp_base::{Failure, Name, Uid};
use acp_io_daemon::{Context, Router, Server};
use acp_wire_api::{
    Method,
    agent::{self, WatchNode, WatchNodeReply},
    cluster::{self, Get, GetReply},
};
use acp_wire_model::{Kind, Object};
use tokio::sync::watch;

use crate::harness::Node;

/// Both services. They end with this.
#[derive(Debug)]
pub(crate) struct Peers {
    told: watch::Sender<WatchNodeReply>,
    /// What the node's database calls it.
    called: watch::Sender<String>,
    /// How often the database was asked.
    asked: Arc<AtomicUsize>,
    serving: Vec<(Context, Server)>,
}

impl Peers {
    /// They call the node `n1`, and its roles keep these units from it.
    pub(crate) fn start(node: &Node, withheld: &[&str]) -> Self {
        let told = watch::Sender::new(told("n1", withheld));
        let called = watch::Sender::new("n1".to_owned());
        let asked = Arc::new(AtomicUsize::new(0));
        let serving = vec![
            serve(node, "agent", agent(told.subscribe())),
            serve(node, "cluster", database(called.subscribe(), Arc::clone(&asked))),
        ];
        Self { told, called, asked, serving }
    }

    /// The agent says from now on how the node is called, and what its roles keep from it.
    pub(crate) fn tell(&self, name: &str, withheld: &[&str]) {
        self.told.send_replace(told(name, withheld));
    }

    /// The node's database calls it so from now on.
    pub(crate) fn call(&self, name: &str) {
        self.called.send_replace(name.to_owned());
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.serving.iter().for_each(|(context, _server)| context.drain.cancel());
    }
}

fn told(name: &str, withheld: &[&str]) -> WatchNodeReply {
    let named = |text: &str| text.parse::<Name>().expect("a name");
    WatchNodeReply {
        node: Uid::from_u128(1),
        name: named(name),
        withheld: withheld.iter().map(|unit| named(unit)).collect(),
    }
}

/// In the place of what the framework has bound there, which no daemon answers in these tests.
fn serve(node: &Node, noun: &'static str, router: Router) -> (Context, Server) {
    let mut interface = if noun == "agent" { agent::interface() } else { cluster::interface() };
    interface.methods.retain(|method| [WatchNode::NAME, Get::NAME].contains(&method.name));
    let run = node.path("run");
    drop(fs::remove_file(run.join(format!("{noun}.sock"))));
    let context = Context::for_test(noun, &run, vec![interface]);
    let server = context.serve(router).expect("served");
    (context, server)
}

fn agent(told: watch::Receiver<WatchNodeReply>) -> Router {
    let mut router = Router::new();
    router.stream::<WatchNode, _, _>(move |_call, sink| {
        let mut told = told.clone();
        async move {
            loop {
                let reply = told.borrow_and_update().clone();
                sink.send(reply).await?;
                told.changed().await.map_err(|_ended| Failure::unavailable("the test is over"))?;
            }
        }
    });
    router
}

fn database(called: watch::Receiver<String>, asked: Arc<AtomicUsize>) -> Router {
    let mut router = Router::new();
    router.once::<Get, _, _>(move |call| {
        asked.fetch_add(1, Ordering::Relaxed);
        let object = Object {
            kind: Kind::Node,
            name: called.borrow().clone(),
            uid: call.request.uid.expect("asked by identity"),
            version: 1,
            spec: serde_json::Value::Null,
            slots: Vec::new(),
        };
        std::future::ready(Ok(GetReply { object, index: 1 }))
    });
    router
}
