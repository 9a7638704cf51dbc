//! Everything dies at once.

use acp_dev_testkit::wait_for;
use anyhow::{Result, ensure};
use serde_json::json;

use crate::world::{LIMIT, World};

pub(crate) fn all_at_once(world: &World) -> Result<()> {
    world.create("survivor")?;
    world.start_system("survivor")?;
    world.node.run(&["volume", "create", "default/kept", "--size", "4MiB"])?;
    let uid = world.show("survivor")?.uid;
    let (index, hash) = world.log_position()?;
    // Acknowledged, and gone with everything else the moment after.
    world.node.run(&["network", "create", "late", "--address", "10.78.0.1/24"])?;
    world.node.kill_everything()?;
    world.node.boot()?;

    let shown = world.show("survivor")?;
    ensure!(shown.uid == uid, "it is another system now");
    let verified = world.call("cluster", "acp.cluster.VerifyLog", json!({}))?;
    ensure!(verified["broken_at"].is_null(), "the log does not verify: {verified}");
    let position = world.log_position()?;
    ensure!(position.0.as_u64() > index.as_u64(), "the log is shorter than {index} {hash}: {position:?}");
    let networks = world.node.json(&["network", "list"])?;
    ensure!(networks.to_string().contains("\"late\""), "an acknowledged network is lost: {networks}");
    wait_for("the volumes to be there", LIMIT, || {
        let volumes = world.node.json(&["volume", "list"]).map_err(|error| format!("{error:#}"))?;
        if volumes.to_string().contains("default/kept") { Ok(()) } else { Err(volumes.to_string()) }
    })?;
    comes_back(world)?;
    world.delete("survivor")?;
    world.node.run(&["--yes", "volume", "delete", "default/kept"])?;
    world.node.run(&["--yes", "network", "delete", "late"]).map(drop)
}

/// The system was meant to run: its node brings it up again, or says that it stands still and lets itself be told.
fn comes_back(world: &World) -> Result<()> {
    world.start_system("survivor")?;
    let address = world.wait_greeting("survivor", 1)?;
    ensure!(world.page(address)?.contains("<h1>survivor</h1>"), "it runs and serves another page");
    world.stop_system("survivor")
}
