//! Lists the systems of all nodes, each once, with its state as its own node says it. A node that does not answer is shown with
//! the reason, and does not keep the others from being shown.
//!
//! `cargo run -p acp-client --example list_systems [RUN_DIR]`

use std::{io::Write as _, time::Duration};

use acp_client::{Connection, Failure, Name, Options, RUN_DIR, model::Object};
use futures_util::future::join_all;

/// How long a node may take: somebody waits for the list.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let run_dir = std::env::args_os().nth(1).unwrap_or_else(|| RUN_DIR.into()).into();
    let acp = Connection::new(Options { run_dir, timeout: PATIENCE, ..Options::default() })?;
    let members = acp.nodes().members().await?.nodes;
    let answers = join_all(members.into_iter().map(|member| systems(&acp, member.name))).await;
    let mut out = std::io::stdout().lock();
    for (node, answer) in answers {
        match answer {
            Ok(systems) => {
                systems.iter().try_for_each(|system| writeln!(out, "{node}  {}  {}", system.name, state(system)))?
            }
            Err(failure) => writeln!(out, "{node}  {failure}")?,
        }
    }
    Ok(())
}

/// Every node knows all systems; the state of each is its own node's to say.
async fn systems(acp: &Connection, node: Name) -> (Name, Result<Vec<Object>, Failure>) {
    let mut answer = acp.on(Some(&node)).systems().list().await;
    if let Ok(systems) = &mut answer {
        systems.retain(|system| system.spec["node"] == node.as_str());
    }
    (node, answer)
}

fn state(system: &Object) -> &str {
    system.meta().and_then(|meta| meta.data["state"].as_str()).unwrap_or("unknown")
}
