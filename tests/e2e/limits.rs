//! What a node cannot give.

use acp_dev_testkit::process;
use anyhow::{Result, ensure};

use crate::world::{LIMIT, World};

pub(crate) fn lack_of_memory(world: &World) -> Result<()> {
    world.node.run(&["system", "create", "giant", "--image", "demo", "--memory", "4TiB", "--wait"])?;
    let links = world.node.layout().namespace().links()?;
    let said = world.refused(&["system", "start", "giant", "--wait"], 5)?;
    ensure!(said.contains("memory"), "it does not say what lacks: {said:?}");
    let status = world.wait_state("giant", "stopped", LIMIT)?;
    ensure!(status["pid"].is_null(), "it has a process: {status}");
    let qemu = world.node.processes().into_iter().find(|found| process::command_line(found.pid).contains("giant"));
    ensure!(qemu.is_none(), "a process is left of it");
    ensure!(world.node.layout().namespace().links()? == links, "a link is left of it");
    world.delete("giant")
}
