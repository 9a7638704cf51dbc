//! The reference client of another language and another house.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::world::World;

pub(crate) fn reference_client(world: &World) -> Result<()> {
    let python = std::env::var_os("ACP_E2E_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    world.create("snake")?;
    world.start_system("snake")?;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("reference_client.py");
    let out = Command::new(&python).arg(script).arg(world.node.layout().run()).output();
    let out = out.with_context(|| format!("cannot run {}", python.display()))?;
    let said = String::from_utf8_lossy(&out.stdout);
    ensure!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    for noun in ["framework", "cluster", "storage", "network", "hypervisor", "vmm/", "storage-worker/"] {
        ensure!(said.contains(noun), "{noun} was not looked at: {said}");
    }
    world.stop_system("snake")?;
    world.delete("snake")
}
