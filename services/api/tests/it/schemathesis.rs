//! Whatever the document allows is answered as the document says.

use std::{path::PathBuf, process::Stdio};

use tokio::process::Command;

use crate::harness::{World, admin};

/// Runs `tests/schemathesis.sh` against this API, if a Python with schemathesis is named by `ACP_SCHEMATHESIS`.
#[tokio::test]
async fn generated_requests_get_documented_answers() {
    let Some(program) = std::env::var_os("ACP_SCHEMATHESIS") else {
        eprintln!("SKIPPED: ACP_SCHEMATHESIS does not name a schemathesis program");
        return;
    };
    let world = World::start().await;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis.sh");
    let mut command = Command::new(script);
    command.arg(format!("http://{}", world.address)).env("ACP_SCHEMATHESIS", program).env("ACP_KEY", admin());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}
