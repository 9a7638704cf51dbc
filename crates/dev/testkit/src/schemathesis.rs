//! Generated requests against a node's HTTP API, by schemathesis: whatever the document allows is answered as it says.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

/// Names the program; `cargo xtask test` installs one and sets it.
pub const PROGRAM: &str = "ACP_SCHEMATHESIS";

/// The program that the environment names, if it names one.
pub fn program() -> Option<OsString> {
    std::env::var_os(PROGRAM)
}

/// Checks the API at `url`, like `http://127.0.0.1:9933`, with the rights of an API key, for about `budget` (reading the document
/// takes a few seconds more). It does what the key may, to whatever it has seen the name of: with the scope admin it revokes keys
/// and removes nodes, so a cluster of which more is wanted is given a key of scope write. Run inside the network namespace whose loopback answers: `enter` is put in front of the program,
/// like `["nsenter", "--net=PATH"]`, or is empty.
///
/// # Errors
/// With everything that schemathesis says, if an answer is not as documented.
pub fn check(program: &OsString, url: &str, key: &str, budget: Duration, enter: &[String]) -> Result<()> {
    let script = script();
    let mut words = enter.iter().map(OsString::from).chain([script.into_os_string()]);
    let mut command = Command::new(words.next().context("there is a script")?);
    command.args(words).arg(url).env(PROGRAM, program).env("ACP_KEY", key);
    command.env("ACP_SCHEMATHESIS_SECONDS", budget.as_secs().max(1).to_string()).stdin(Stdio::null());
    let output = command.output().context("cannot run schemathesis")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../services/api/tests/schemathesis.sh")
}
