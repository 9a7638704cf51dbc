//! A guest that powers itself off stays off. Other ends of QEMU are in `survive::s2`.

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result};

use crate::world::{LIMIT, World};

pub(crate) fn guest_poweroff(world: &World) -> Result<()> {
    world.create("off")?;
    world.start_system("off")?;
    world.wait_greeting("off", 1)?;
    let mut terminal = world.terminal("off")?;
    terminal.wait_for_text("Welcome to ACP", LIMIT)?;
    terminal.write(b"\rpoweroff -f\r")?;
    wait_for("the end of off by its guest", LIMIT, || {
        let status = world.show("off").map_err(|error| format!("{error:#}"))?.status;
        if status["exit"] == "guest_poweroff" { Ok(()) } else { Err(status.to_string()) }
    })?;
    drop(terminal);
    world.wait_state("off", "stopped", LIMIT).context("a guest that powers off stays off")?;
    world.delete("off")
}
