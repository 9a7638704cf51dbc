//! Failpoints of debug programs: which there are is learnt from the traces that the programs leave.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use anyhow::{Context as _, Result};

use super::random::Random;
use crate::world::World;

fn directory(world: &World) -> PathBuf {
    world.node.layout().run().join("failpoints")
}

/// Has the programs say which points they pass.
pub(super) fn trace(world: &World) -> Result<()> {
    let (directory, trace) = (directory(world), directory(world).join("trace"));
    fs::create_dir_all(&directory)?;
    // Daemons run as users of their own, and each renames the file that is meant for it.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
    fs::write(&trace, "")?;
    fs::set_permissions(&trace, fs::Permissions::from_mode(0o666)).context("cannot open the trace for all")
}

/// The points passed so far; none in a release.
pub(super) fn known(world: &World) -> BTreeSet<String> {
    let text = fs::read_to_string(directory(world).join("trace")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Makes one of the points that were passed before fail or kill, once.
pub(super) fn arm(world: &World, random: &mut Random) -> Result<Option<String>> {
    let points: Vec<String> = known(world).into_iter().collect();
    let Some(point) = random.pick(&points) else { return Ok(None) };
    let deed = if random.below(2) == 0 { "error" } else { "kill" };
    fs::write(directory(world).join(point), deed)?;
    Ok(Some(format!("{deed} at {point}")))
}

/// Takes back what was armed and not reached, and what is left of what was.
pub(super) fn disarm(world: &World) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory(world)) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if !path.ends_with("trace") && fs::remove_file(&path).is_err() && path.exists() {
            anyhow::bail!("cannot remove {}", path.display());
        }
    }
    Ok(())
}

/// Ends the tracing.
pub(super) fn end(world: &World) -> Result<()> {
    match fs::remove_dir_all(directory(world)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("the failpoints stay"),
        _removed_or_absent => Ok(()),
    }
}
