//! Runs of real tools: what they inherit, what bounds them, what kills them.

use std::{
    io::{Seek, Write},
    time::Duration,
};

use acp_dev_wait::{seen, wait_for_async};
use acp_io_process::{Command, ProcessError};

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// The kernel's line about a process; empty if there is none.
fn stat(pid: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()
}

/// Whether a process runs by its line: an orphan stays a zombie where nobody reaps.
fn runs(stat: &str) -> bool {
    !stat.is_empty() && !stat.contains(") Z ")
}

async fn wait_gone(pid: &str) {
    let end =
        wait_for_async("the end of the process", Duration::from_secs(5), async || seen(stat(pid), |stat| !runs(stat)));
    end.await.expect("it is killed");
}

#[tokio::test]
async fn input_output_and_status_come_through() {
    let output = shell("cat; echo oops >&2; exit 3").stdin("hello").run().await.expect("runs");
    assert_eq!(output.stdout, b"hello");
    assert_eq!(output.stderr, "oops");
    assert_eq!(output.status.code(), Some(3));
    let error = output.success().expect_err("status 3");
    assert_eq!(error.to_string(), "sh failed (exit status: 3): oops");
}

#[tokio::test]
async fn the_environment_is_clean() {
    let output = Command::new("env").env("MORE", "1").run_ok().await.expect("runs");
    let mut lines: Vec<_> = output.text().lines().map(str::to_owned).collect();
    lines.sort();
    let path = format!("PATH={}", acp_io_process::ENVIRONMENT_PATH);
    assert_eq!(lines, ["LC_ALL=C", "MORE=1", path.as_str()]);
}

#[tokio::test]
async fn a_named_descriptor_is_inherited() {
    let mut file = std::fs::File::from(rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd"));
    file.write_all(b"from the descriptor").expect("write");
    file.rewind().expect("rewind");
    let mut command = Command::new("sh");
    let number = command.inherit(file.into());
    let script = format!("cat /proc/self/fd/{number}; ls /proc/self/fd | wc -l");
    let with = command.args(["-c", &script]).run_ok().await.expect("runs").text();
    // What the test's own starter left open is inherited by both runs.
    let without = shell("ls /proc/self/fd | wc -l").run_ok().await.expect("runs").text();
    let without: u32 = without.trim().parse().expect("a number");
    assert_eq!(with, format!("from the descriptor{}\n", without + 1));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = Command::new("no-such-tool").run().await.expect_err("is not there");
    assert!(matches!(&error, ProcessError::NotInstalled { program } if program == "no-such-tool"), "{error:?}");
    let failure = acp_base::Failure::from(error);
    assert_eq!(failure.code, acp_base::Code::FailedPrecondition);
    assert_eq!(failure.blame, acp_base::Blame::Operator);
}

#[tokio::test]
async fn a_tool_that_hangs_is_killed_with_its_children() {
    let mut process =
        shell("sleep 1000 & echo $!; wait").time_limit(Duration::from_millis(300)).start().expect("starts");
    let mut buffer = [0; 64];
    let count = process.read(&mut buffer).await.expect("the child's pid");
    let pid = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
    assert!(runs(&stat(&pid)));
    let error = process.read(&mut buffer).await.expect_err("its time ends");
    assert!(matches!(error, ProcessError::TimedOut { .. }), "{error:?}");
    wait_gone(&pid).await;
}

#[tokio::test]
async fn a_dropped_run_is_killed_with_its_children() {
    let mut process = shell("sleep 1000 & echo $!; wait").start().expect("starts");
    let mut buffer = [0; 64];
    let count = process.read(&mut buffer).await.expect("the child's pid");
    let pid = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
    drop(process);
    wait_gone(&pid).await;
}

#[tokio::test]
async fn output_is_bounded_and_errors_are_drained() {
    let error = shell("yes").stdout_bytes_max(1 << 16).run().await.expect_err("too much");
    assert!(matches!(error, ProcessError::TooMuchOutput { bytes_max: 65536, .. }), "{error:?}");
    let output = shell("head -c 1000000 /dev/zero | tr '\\0' e >&2; echo done").run_ok().await.expect("runs");
    assert_eq!(output.stdout, b"done\n");
    assert_eq!(output.stderr.len(), acp_io_process::STDERR_BYTES_KEPT);
}

#[tokio::test]
async fn progress_comes_line_by_line() {
    let mut seen = Vec::new();
    let output = shell("printf '(1/100%%)\\r(2/100%%)\\rend'").run_lines(|line| seen.push(line.to_owned())).await;
    assert!(output.expect("runs").status.success());
    assert_eq!(seen, ["(1/100%)", "(2/100%)", "end"]);
}

#[tokio::test]
async fn it_runs_where_it_is_told() {
    let output = Command::new("pwd").directory("/usr").run_ok().await.expect("runs");
    assert_eq!(output.text(), "/usr\n");
    assert_eq!(Command::new("cat").run_ok().await.expect("runs").text(), "", "no standard input unless given");
}

/// Set in the environment of the process that plays the caller in the next test.
const CALLER: &str = "ACP_TEST_CALLER";

/// Starts a tool and waits for its end, which does not come.
async fn start_a_tool_and_wait() {
    let mut process = shell("echo pid=$$; exec sleep 1000").start().expect("starts");
    let mut buffer = [0; 64];
    let count = process.read(&mut buffer).await.expect("the tool's pid");
    // Not `println!`, which the test harness would keep to itself on a thread of its own.
    std::io::stdout().write_all(&buffer[..count]).expect("a pipe");
    process.finish().await.expect("never");
}

#[tokio::test]
async fn a_tool_dies_with_a_caller_that_is_killed() {
    if std::env::var_os(CALLER).is_some() {
        return start_a_tool_and_wait().await;
    }
    let mut caller = std::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "a_tool_dies_with_a_caller_that_is_killed", "--nocapture"])
        .env(CALLER, "yes")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = std::io::BufReader::new(caller.stdout.take().expect("piped"));
    let pid = std::io::BufRead::lines(lines)
        .find_map(|line| line.expect("text").split_once("pid=").map(|(_, pid)| pid.to_owned()))
        .expect("the tool's pid");
    assert!(runs(&stat(&pid)));
    caller.kill().expect("its own child");
    caller.wait().expect("its own child");
    wait_gone(&pid).await;
}
