//! Running other programs: output captured or passed through, failures told with the command line.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// How much of a failed program's output an error repeats; the end is where programs say why.
const ERROR_TAIL_BYTES: usize = 2_000;

/// A command from words.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The command line as one reads it.
fn described(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs it with output captured; answers standard output, fails with the end of what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{}`", described(command)))?;
    if !out.status.success() {
        let mut said = out.stdout;
        said.extend_from_slice(&out.stderr);
        let tail = String::from_utf8_lossy(&said[said.len().saturating_sub(ERROR_TAIL_BYTES)..]).into_owned();
        bail!("`{}` ended with {}:\n{}", described(command), out.status, tail.trim_end());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs it with the terminal passed through.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run `{}`", described(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", described(command));
    }
    Ok(())
}

/// Whether a program is in the search path.
pub(crate) fn exists(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(3).expect("xtask lies three folders below the workspace").to_owned()
}

/// The cargo that runs xtask.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_unset| "cargo".to_owned());
    let mut command = command(&program, arguments);
    command.current_dir(workspace());
    command
}
