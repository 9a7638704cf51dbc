//! The parts of `acpctl` that programs rely on.

use anyhow::{Context as _, Result, ensure};

use crate::world::World;

pub(crate) fn lists(world: &World) -> Result<()> {
    world.create("listed")?;
    for noun in ["service", "image", "pool", "volume", "network", "system", "job"] {
        let list = world.node.json(&[noun, "list"])?;
        let objects = list.as_array().with_context(|| format!("{noun} list is no array: {list}"))?;
        ensure!(!objects.is_empty(), "{noun} list is empty");
        for object in objects {
            ensure!(object["name"].is_string() && object["spec"].is_object(), "{noun}: {object}");
            ensure!(object["status"].is_object() && object["age_ms"].is_u64(), "{noun}: {object}");
        }
    }
    let objects = world.node.json(&["object", "list", "system"])?;
    ensure!(objects.to_string().contains("\"listed\""), "object list system: {objects}");
    let yaml = world.node.run(&["-o", "yaml", "pool", "list"])?;
    ensure!(yaml.contains("name: default") || yaml.contains("name: \"default\""), "{yaml}");
    let table = world.node.run(&["system", "list"])?;
    ensure!(table.to_lowercase().contains("name") && table.contains("listed"), "{table}");
    let status = world.node.run(&["status"])?;
    ensure!(status.contains("cluster") && status.contains("hypervisor"), "{status}");
    for shell in ["bash", "zsh", "fish"] {
        let script = world.node.run(&["completion", shell])?;
        ensure!(script.contains("acpctl"), "completion {shell}: {script:?}");
    }
    world.delete("listed")
}

pub(crate) fn exit_codes(world: &World) -> Result<()> {
    let said = world.refused(&["system", "show", "nobody"], 2)?;
    ensure!(said.contains("nobody"), "an unknown system: {said:?}");
    let said = world.refused(&["pool", "create", "default"], 3)?;
    ensure!(said.contains("default"), "a pool that exists: {said:?}");
    let said = world.refused(&["network", "create", "bad", "--address", "10.0.0.0.1/24"], 64)?;
    ensure!(said.contains("10.0.0.0.1"), "an address that is none: {said:?}");
    world.refused(&["system", "create", "../up", "--image", "demo"], 64)?;
    world.refused(&["system", "create", "big", "--image", "demo", "--memory", "-5"], 64)?;
    world.refused(&["fly"], 64)?;
    let said = world.refused(&["--run-dir", "/nonexistent", "system", "list"], 75)?;
    ensure!(said.contains("/nonexistent"), "a run directory that is none: {said:?}");
    let said = world.refused(&["network", "delete", "--yes", "none"], 2)?;
    ensure!(!said.trim().contains('\n'), "an error is one sentence: {said:?}");
    Ok(())
}

pub(crate) fn destroying_asks(world: &World) -> Result<()> {
    world.node.run(&["volume", "create", "default/asked", "--size", "1MiB"])?;
    let before = world.specs()?;
    let said = world.node.acpctl(&["volume", "delete", "default/asked"])?;
    ensure!(said.status == 8 || said.status == 64, "nobody was asked and it was done: {said:?}");
    let left = world.node.json(&["volume", "list"])?;
    ensure!(left.to_string().contains("asked"), "it was deleted without an answer: {left}");
    ensure!(world.specs()? == before, "something was changed without an answer");
    world.node.run(&["--yes", "volume", "delete", "default/asked"]).map(drop)
}
