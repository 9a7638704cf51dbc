//! `test`: everything that has to hold, in one command, each suite against its time budget.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    check,
    command::{cargo, command, exists, output, run, workspace},
    image, needs_root, out, packages, peers, up,
};

/// The release of the reference Varlink client that the tests call our sockets with.
const VARLINK_PACKAGE: &str = "varlink==31.0.0";

/// The release of schemathesis that generates requests to the HTTP API.
const SCHEMATHESIS_PACKAGE: &str = "schemathesis==4.32.5";

/// Options of `test`.
#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Without the end-to-end tests.
    #[arg(long)]
    quick: bool,
}

/// What came of a suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// A suite with the time it may take on two cores, from nothing built.
struct Suite {
    name: &'static str,
    budget: Duration,
    work: fn() -> Result<Counts>,
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const QUICK: [Suite; 2] = [
    Suite { name: "check", budget: minutes(4), work: checks },
    Suite { name: "unit, property, integration", budget: minutes(8), work: unit },
];

const END_TO_END: [Suite; 1] = [Suite { name: "end to end", budget: minutes(11), work: end_to_end }];

/// What the whole gate may take, above the sum of its suites by what is installed and built for the gate itself.
const GATE_BUDGET: Duration = minutes(25);

/// What every cargo call of the gate builds for: the same packages, thus the same features, thus one build (ADR 0009).
pub(crate) const EVERYTHING: [&str; 2] = ["--workspace", "--locked"];

/// Most integration tests wait for processes more than they compute; `.config/nextest.toml` names those that run alone.
const TESTS_PER_PROCESSOR: usize = 2;

/// Runs every suite and prints the sum; fails if anything did.
pub(crate) fn test(options: &Test) -> Result<()> {
    needs_root("testing (namespaces, cgroups, users)")?;
    let started = Instant::now();
    out::step("Debian packages", |note| {
        *note = packages::ensure(&[packages::NODE, packages::IMAGE, packages::TESTS].concat())?;
        Ok(())
    })?;
    let suites = QUICK.iter().chain(if options.quick { &[] } else { END_TO_END.as_slice() });
    let mut sum = Counts::default();
    let mut report = Vec::new();
    for suite in suites {
        let (counts, line) = suite.run();
        sum.passed += counts.passed;
        sum.failed += counts.failed;
        sum.skipped += counts.skipped;
        report.push(line);
    }
    out::line("");
    report.iter().for_each(out::line);
    out::line(format_args!("the whole gate took {}", against(started.elapsed(), GATE_BUDGET)));
    let skipped = if sum.skipped == 0 { String::new() } else { format!(", {} skipped", sum.skipped) };
    out::line(format_args!("{} passed, {} failed{skipped}", sum.passed, sum.failed));
    if sum.failed == 0 { Ok(()) } else { bail!("the gate is closed") }
}

impl Suite {
    fn run(&self) -> (Counts, String) {
        out::line(format_args!("\n── {} (budget {})", self.name, out::seconds(self.budget)));
        let started = Instant::now();
        let counts = (self.work)().unwrap_or_else(|error| {
            out::line(format_args!("{}: {error:#}", self.name));
            Counts { failed: 1, ..Counts::default() }
        });
        let time = against(started.elapsed(), self.budget);
        let line = format!("{:<30} {:>5} passed {:>3} failed   {time}", self.name, counts.passed, counts.failed);
        out::line(&line);
        (counts, line)
    }
}

/// A time and the time there was, and a word where it did not suffice.
fn against(took: Duration, budget: Duration) -> String {
    let over = if took > budget { "  OVER BUDGET" } else { "" };
    format!("{} of {}{over}", out::seconds(took), out::seconds(budget))
}

fn checks() -> Result<Counts> {
    let failed = u64::try_from(check::failed().len())?;
    Ok(Counts { failed, ..Counts::default() })
}

fn unit() -> Result<Counts> {
    let schemathesis = out::step("schemathesis", |_note| schemathesis())?;
    if exists("cargo-nextest") {
        let processors = std::thread::available_parallelism()?.get();
        let threads = format!("--test-threads={}", processors * TESTS_PER_PROCESSOR);
        let others = ["--no-fail-fast", "--filterset", "not package(acp-e2e)", &threads];
        counted(cargo(&["nextest", "run"]).args(EVERYTHING).args(others).env("ACP_SCHEMATHESIS", schemathesis))
    } else {
        let others = ["--exclude", "acp-e2e"];
        let mut all = cargo(&["test", "--no-fail-fast"]);
        counted(all.args(EVERYTHING).args(others).env("ACP_SCHEMATHESIS", schemathesis))
    }
}

/// The programs under test are those that the suite before has built: debug builds, which have failpoints.
fn end_to_end() -> Result<Counts> {
    out::noisy_step("programs under test", |_note| run(cargo(&["build", "--bins", "--tests"]).args(EVERYTHING)))?;
    out::step("demo image", image::ensure)?;
    let python = out::step("Python with varlink and schemathesis", |_note| tests_python())?;
    // Nothing may be skipped here: whatever a test needs, it has.
    let mut all = cargo(&["test", "--test", "e2e"]);
    all.args(EVERYTHING)
        .env("ACP_E2E_PYTHON", python)
        .env("ACP_SCHEMATHESIS", schemathesis()?)
        .env("ACP_E2E_STRICT", "1");
    counted(&mut all)
}

/// The program schemathesis, in `target/venv`.
fn schemathesis() -> Result<PathBuf> {
    Ok(tests_python()?.with_file_name("schemathesis"))
}

/// A Python with the PyPI packages that tests use, in `target/venv`.
fn tests_python() -> Result<PathBuf> {
    let venv = workspace().join("target/venv");
    let python = venv.join("bin/python3");
    let present = || output(Command::new(&python).args(["-c", "import varlink, schemathesis"])).is_ok();
    if present() {
        return Ok(python);
    }
    let make = || output(command("python3", &["-m", "venv", "--clear"]).arg(&venv));
    if !exists("python3") || make().is_err() {
        packages::ensure(&["python3", "python3-venv"])?;
        make()?;
    }
    output(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        VARLINK_PACKAGE,
        SCHEMATHESIS_PACKAGE,
    ]))
    .context("cannot install the reference Varlink client and schemathesis from PyPI")?;
    if present() { Ok(python) } else { bail!("the installed varlink and schemathesis cannot be imported") }
}

/// Runs a test runner with its output passed on, and reads its counts from it.
fn counted(command: &mut Command) -> Result<Counts> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The command holds the writing ends, too; as long as it does, the output has no end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut counts = Counts::default();
    for line in BufReader::new(reader).lines() {
        let line = line.context("the test runner's output is no text")?;
        out::line(&line);
        if let Some(found) = counts_in(&line) {
            counts.passed += found.passed;
            counts.failed += found.failed;
            counts.skipped += found.skipped;
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        bail!("the test runner ended with {status}");
    }
    Ok(counts)
}

/// The counts in a closing line of nextest or of cargo test, whose form our end-to-end tests have.
fn counts_in(line: &str) -> Option<Counts> {
    // What nextest repeats of a failed test's output is indented.
    let is_cargos = line.starts_with("test result: ");
    let line = line.trim();
    let closing = is_cargos || line.starts_with("Summary [");
    closing.then(|| Counts {
        passed: number_before(line, "passed"),
        failed: number_before(line, "failed") + number_before(line, "timed out"),
        skipped: number_before(line, "ignored"),
    })
}

/// The number in front of a word, 0 if the word is not there.
fn number_before(line: &str, word: &str) -> u64 {
    let Some(at) = line.find(word) else { return 0 };
    line[..at].split_whitespace().next_back().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Runs the benches, each in a node of its own.
pub(crate) fn bench(name: &str, json: bool) -> Result<()> {
    needs_root("measuring a node (namespaces, cgroups, users)")?;
    if json {
        out::to_standard_error();
    }
    out::step("Debian packages", |note| {
        *note = packages::ensure(&[packages::NODE, packages::IMAGE].concat())?;
        Ok(())
    })?;
    out::step("peers", |note| {
        *note = peers::ensure(name)?;
        Ok(())
    })?;
    up::build_services()?;
    let image = out::step("demo image", image::ensure)?;
    let mut command = cargo(&["run", "--quiet", "--release", "--package", "acp-dev-bench", "--", name]);
    command.arg("--bin-dir").arg(workspace().join("target/release")).arg("--image").arg(image);
    command.arg("--peers").arg(peers::dir());
    if json {
        command.arg("--json");
    }
    run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_read() {
        let counts = |passed, failed, skipped| Some(Counts { passed, failed, skipped });
        let nextest = "     Summary [   1.2s] 34 tests run: 31 passed (1 slow), 2 failed, 1 timed out, 5 skipped";
        assert_eq!(counts_in(nextest), counts(31, 3, 0));
        let cargo = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(counts_in(cargo), counts(3, 1, 2));
        assert_eq!(counts_in(&format!("    {cargo}")), None);
        assert_eq!(counts_in("test a::b ... ok, 3 passed"), None);
    }
}
