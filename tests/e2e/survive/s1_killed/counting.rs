//! A console on which the guest counts.
//!
//! The numbers come out of one process of the guest: that they go on, each once and in order, says that the guest was not
//! started again and that nothing it printed was lost or shown twice.

use acp_dev_testkit::terminal::Terminal;
use anyhow::{Context as _, Result, ensure};

use super::super::outage::Subject;
use crate::world::{LIMIT, World};

/// What the guest's shell is told: a line every 50 ms. What is typed is echoed and has no digits in this place.
const COUNT: &[u8] = b"\ri=0; while :; do i=$((i+1)); echo number-$i-; sleep 0.05; done\r";
/// How far the guest has to count on after each outage: half a second's worth, so what was printed meanwhile is among it.
const STEPS: usize = 10;
/// How a word of `acpctl` begins and ends; it may come in the middle of a line.
const WORD: (&str, &str) = ("\r[acp: ", "]\n");
/// What leaves a console: Ctrl-].
const LEAVE: &[u8] = b"\x1d";

pub(super) struct Counting {
    terminal: Terminal,
    name: &'static str,
    seen: usize,
}

impl Counting {
    pub(super) fn open(world: &World, subject: &Subject<'_>) -> Result<Self> {
        let mut terminal = world.terminal(subject.name)?;
        terminal.wait_for_text("Welcome to ACP", LIMIT)?;
        terminal.write(COUNT)?;
        let mut counting = Self { terminal, name: subject.name, seen: 0 };
        counting.goes_on()?;
        Ok(counting)
    }

    /// Waits until the guest's next numbers have arrived.
    pub(super) fn goes_on(&mut self) -> Result<()> {
        let wanted = self.seen + STEPS;
        self.seen = self.terminal.wait_for_screen("the guest to count on", LIMIT, |screen| {
            let numbers = numbers(screen);
            if numbers.len() >= wanted { Ok(numbers.len()) } else { Err(tail(screen)) }
        })?;
        Ok(())
    }

    /// Leaves the console; every number was there once, in order, on the terminal as in the log.
    pub(super) fn verify(mut self, world: &World) -> Result<()> {
        self.terminal.write(LEAVE)?;
        let status = self.terminal.wait_exit(LIMIT)?;
        let screen = self.terminal.screen();
        ensure!(status == 0, "leaving the console is no failure: {status}: {}", tail(&screen));
        in_order(&numbers(&screen)).context("on the terminal")?;
        in_order(&numbers(&world.console(self.name)?)).context("in the log")
    }
}

/// The numbers that the guest printed, in their order.
fn numbers(screen: &str) -> Vec<usize> {
    let text = without_words(screen);
    let pieces = text.split("number-").skip(1);
    pieces.filter_map(|piece| piece.split_once('-')?.0.parse().ok()).collect()
}

fn without_words(screen: &str) -> String {
    let mut text = String::new();
    let mut rest = screen;
    while let Some((before, after)) = rest.split_once(WORD.0) {
        text.push_str(before);
        rest = after.split_once(WORD.1).map_or("", |(_word, after)| after);
    }
    text + rest
}

fn in_order(numbers: &[usize]) -> Result<()> {
    let wrong = numbers.iter().zip(1..).position(|(number, wanted)| *number != wanted);
    ensure!(wrong.is_none(), "numbers are lost or shown twice: {:?}", wrong.map(|at| &numbers[at.saturating_sub(2)..]));
    Ok(())
}

fn tail(screen: &str) -> String {
    let start = screen.char_indices().rev().nth(200).map_or(0, |(at, _)| at);
    format!("{:?}", &screen[start..])
}
