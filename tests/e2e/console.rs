//! The console as a person has it.

use anyhow::{Result, ensure};

use crate::world::{LIMIT, World};

/// What leaves a console: Ctrl-].
const LEAVE: &[u8] = b"\x1d";

pub(crate) fn terminal(world: &World) -> Result<()> {
    world.create("tty")?;
    world.start_system("tty")?;
    world.wait_greeting("tty", 1)?;
    let mut first = world.terminal("tty")?;
    first.wait_for_text("Welcome to ACP: tty", LIMIT)?;
    ensure!(first.is_raw()?, "the terminal is not raw");
    first.resize(132, 50)?;
    // What the guest computes is not what was typed, so the echo cannot pass for the answer.
    first.write(b"\recho sum-$((40+2))\r")?;
    first.wait_for_text("sum-42", LIMIT)?;

    let mut second = world.terminal("tty")?;
    second.wait_for_text("sum-42", LIMIT)?;
    second.write(b"echo both-$((1+1))\r")?;
    second.wait_for_text("both-2", LIMIT)?;
    first.wait_for_text("both-2", LIMIT)?;

    first.write(LEAVE)?;
    ensure!(first.wait_exit(LIMIT)? == 0, "leaving is no failure: {}", first.screen());
    ensure!(!first.is_raw()?, "the terminal stays raw");
    second.write(b"echo still-$((2+1))\r")?;
    second.wait_for_text("still-3", LIMIT)?;
    second.write(LEAVE)?;
    second.wait_exit(LIMIT)?;
    ensure!(world.console("tty")?.contains("still-3"), "the log lacks what was on the console");
    world.stop_system("tty")?;
    world.delete("tty")
}
