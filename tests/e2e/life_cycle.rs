//! A system from its creation to its deletion.

use acp_dev_testkit::process;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::world::{LIMIT, World};

pub(crate) fn whole_life(world: &World) -> Result<()> {
    world.create("life")?;
    let shown = world.show("life")?;
    ensure!(shown.status["state"] == "stopped", "a new system is {}", shown.status);
    let (mac, address) = (&shown.spec["nics"][0]["mac"], &shown.spec["nics"][0]["address"]);
    ensure!(mac.as_str().is_some_and(|mac| mac.starts_with("52:54:00:")), "its MAC is {mac}");

    world.start_system("life")?;
    let status = world.wait_state("life", "running", LIMIT)?;
    let pid = i32::try_from(status["pid"].as_i64().context("a running system has a process")?)?;
    let line = process::command_line(pid);
    ensure!(
        line.split(' ').collect::<Vec<_>>().windows(2).any(|pair| pair[0] == "-name" && pair[1].starts_with("life")),
        "{line}"
    );

    let greeted_from = world.wait_greeting("life", 1)?;
    ensure!(*address == json!(greeted_from.to_string()), "it was given {address} and uses {greeted_from}");
    let page = world.page(greeted_from)?;
    ensure!(page.contains("<h1>life</h1>"), "its page is {page}");

    world.start_system("life").context("starting what runs changes nothing")?;
    ensure!(world.show("life")?.status["pid"] == json!(pid), "a second start made another process");
    world.node.run(&["--yes", "system", "reset", "life"])?;
    world.wait_greeting("life", 2).context("after the reset it boots again")?;
    ensure!(world.show("life")?.status["pid"] == json!(pid), "a reset made another process");

    world.node.run(&["--yes", "system", "shutdown", "life", "--wait"])?;
    let status = world.wait_state("life", "stopped", LIMIT)?;
    ensure!(status["exit"] == "guest_poweroff", "after a shutdown its exit is {}", status["exit"]);
    world.delete("life")?;
    world.refused(&["system", "show", "life"], 2)?;
    let volumes = world.node.json(&["volume", "list"])?;
    ensure!(!volumes.to_string().contains("life"), "its disk is still there: {volumes}");
    Ok(())
}

pub(crate) fn stop(world: &World) -> Result<()> {
    world.create("plug")?;
    world.start_system("plug")?;
    let said = world.refused(&["--yes", "system", "delete", "plug", "--wait"], 4)?;
    ensure!(said.contains("plug") && said.contains("stop"), "a running system is not deleted, and it says {said:?}");
    world.stop_system("plug")?;
    let status = world.wait_state("plug", "stopped", LIMIT)?;
    ensure!(status["exit"] == "stopped" && status["pid"].is_null(), "after a stop it is {status}");
    world.stop_system("plug").context("stopping what is stopped changes nothing")?;
    world.delete("plug")
}
