//! Asking the node as an operator does, and what an answer means.

use acp_dev_testkit::{
    Layout,
    node::{self, Said},
};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// How long one operation may take. Longer than a frozen daemon needs to be replaced by its watchdog (15 s) and the call to
/// end by its own deadline (30 s) after that.
const PATIENCE: &str = "60s";

/// Codes that an operation may end with while things break around it.
const EXCUSED: [&str; 6] =
    ["Unavailable", "DeadlineExceeded", "ResourceExhausted", "FailedPrecondition", "Conflict", "Cancelled"];

/// What the message of a failure made at a failpoint holds.
const FAILPOINT: &str = "failpoint ";

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was acknowledged.
    Done,
    /// It was not.
    Failed {
        /// The failure's code, like `Unavailable`.
        code: String,
        message: String,
        /// Whether it says that nothing has changed.
        is_unchanged: bool,
    },
}

impl Answer {
    /// Whether a fault can be the cause.
    pub(super) fn is_excused(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Failed { code, message, .. } => EXCUSED.contains(&code.as_str()) || message.contains(FAILPOINT),
        }
    }

    /// In a few words.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::Done => "ok".to_owned(),
            Self::Failed { code, message, is_unchanged } => {
                let changed = if *is_unchanged { "nothing changed" } else { "may have changed" };
                format!("{code} ({changed}): {message}")
            }
        }
    }
}

/// Runs `acpctl` with these words and reads how it ended.
pub(super) fn ask(layout: &Layout, words: &[String]) -> Result<Answer> {
    let words = ["-o", "json", "--timeout", PATIENCE].into_iter().chain(words.iter().map(String::as_str));
    let said = node::acpctl(layout, &words.collect::<Vec<_>>())?;
    if said.status == 0 { Ok(Answer::Done) } else { failure(&said) }
}

/// Runs `acpctl`, which has to succeed.
pub(super) fn must(layout: &Layout, words: &[String]) -> Result<()> {
    let answer = ask(layout, words)?;
    ensure!(answer == Answer::Done, "acpctl {}: {}", words.join(" "), answer.brief());
    Ok(())
}

fn failure(said: &Said) -> Result<Answer> {
    let found = said.stderr.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |key: &str| found.as_ref().and_then(|error| error[key].as_str().map(str::to_owned));
    let why = || format!("acpctl ended with {} and said {:?}", said.status, said.stderr);
    let message = text("message").with_context(why)?;
    // A failure made at a failpoint stands for any other, also for one that would say that something has changed.
    let is_unchanged = text("changed").with_context(why)? == "none" && !message.contains(FAILPOINT);
    Ok(Answer::Failed { code: text("code").with_context(why)?, message, is_unchanged })
}
