//! Who may call what.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::BASE;
use crate::world::World;

/// Nobody's user and group.
const NOBODY: u32 = 65_534;

/// A user outside the group does not get in; one inside may look and change nothing.
pub(super) fn others(world: &World) -> Result<()> {
    let acpctl = |user: u32, group: u32, arguments: &[&str]| -> Result<_> {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
        command.arg(world.bin.join("acpctl")).args(arguments).env("ACP_RUN_DIR", world.node.layout().run());
        command.output().context("cannot run setpriv")
    };
    let outside = acpctl(NOBODY, NOBODY, &["system", "list"])?;
    ensure!(outside.status.code() == Some(77), "somebody outside the group: {outside:?}");
    let inside = acpctl(NOBODY, BASE, &["system", "list"])?;
    ensure!(inside.status.success(), "somebody inside the group may look: {inside:?}");
    let before = world.specs()?;
    let writes = acpctl(NOBODY, BASE, &["system", "create", "mine", "--image", "demo"])?;
    ensure!(writes.status.code() == Some(77), "somebody inside the group may not write: {writes:?}");
    ensure!(world.specs()? == before, "it was written all the same");
    Ok(())
}
