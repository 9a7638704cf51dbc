//! Volumes from their creation to their deletion.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::world::World;

fn volume(world: &World, name: &str) -> Result<Option<Value>> {
    let list = world.node.json(&["volume", "list"])?;
    Ok(list
        .as_array()
        .and_then(|list| list.iter().find(|volume| volume["name"] == name).map(|volume| volume["status"].clone())))
}

pub(crate) fn whole_life(world: &World) -> Result<()> {
    world.node.run(&["volume", "create", "default/first", "--size", "8MiB"])?;
    world.node.run(&["volume", "clone", "default/first", "default/copy", "--wait"])?;
    world.node.run(&["volume", "expand", "default/first", "--size", "16MiB"])?;
    let first = volume(world, "default/first")?.unwrap_or_default();
    let copy = volume(world, "default/copy")?.unwrap_or_default();
    ensure!(first["size_bytes"] == 16 << 20 && copy["size_bytes"] == 8 << 20, "{first} {copy}");
    ensure!(copy["backing"].is_null(), "a full clone shares nothing: {copy}");
    world.refused(&["volume", "expand", "default/first", "--size", "1MiB"], 64)?;

    world.node.run(&["volume", "clone", "default/first", "default/linked", "--linked", "--wait"])?;
    let linked = volume(world, "default/linked")?.unwrap_or_default();
    ensure!(linked["backing"]["name"] == "first", "a linked clone lies above its source: {linked}");
    let said = world.refused(&["--yes", "volume", "delete", "default/first"], 4)?;
    ensure!(said.contains("linked"), "it does not say what depends on it: {said:?}");
    for name in ["default/linked", "default/copy", "default/first"] {
        world.node.run(&["--yes", "volume", "delete", name])?;
        ensure!(volume(world, name)?.is_none(), "{name} is still there");
    }
    Ok(())
}
