//! `mutants`: whether the tests can fail. Each patch below `crates/dev/xtask/mutants` breaks the product in one way and names the test
//! that has to notice.
//!
//! The first line of a patch says in a sentence what it breaks, the second the command that must fail:
//!
//! ```text
//! # An entry is applied before the one in front of it.
//! # cargo test -p acp-core-cdb --test it
//! ```
//!
//! Deliberately not here: mutants made by a machine. These are the mistakes that matter, each chosen.
//!
//! **Invariant**: the checkout is not touched. Patches are applied to a copy under `target/mutants`, which has a target
//! directory of its own and is kept, so that a second run builds little.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    command::{cargo, command, output, workspace},
    out,
};

/// Where the patches lie.
const PATCHES: &str = "crates/dev/xtask/mutants";
/// How long a test of a mutant may take, building aside: one that hangs has noticed, too.
const TEST_LIMIT: Duration = Duration::from_secs(90);
/// What `timeout` answers when the time was over.
const TIMED_OUT: i32 = 124;

/// A patch and what it claims.
#[derive(Clone, Debug)]
struct Mutant {
    name: String,
    path: PathBuf,
    /// What it breaks.
    breaks: String,
    /// The words after `cargo` of the command that must fail.
    test: Vec<String>,
}

/// What came of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Caught,
    Hung,
    Survived,
}

/// Breaks the product in every way there is a patch for, or in those whose names contain a word, and demands that tests fail.
pub(crate) fn mutants(words: &[String]) -> Result<()> {
    let wanted = |mutant: &Mutant| words.is_empty() || words.iter().any(|word| mutant.name.contains(word));
    let mutants: Vec<Mutant> = all()?.into_iter().filter(wanted).collect();
    ensure!(!mutants.is_empty(), "no patch in {PATCHES} is called like that");
    let tree = workspace().join("target/mutants/tree");
    out::step("copy of the checkout", |_note| copy(&tree))?;
    whole(&tree, &mutants)?;
    let mut rows = Vec::new();
    for mutant in &mutants {
        let began = Instant::now();
        let verdict = out::step(&mutant.name, |note| {
            *note = mutant.breaks.clone();
            mutant.run(&tree)
        })?;
        rows.push((mutant, verdict, began.elapsed()));
    }
    out::line("");
    for (mutant, verdict, took) in &rows {
        let said = match verdict {
            Verdict::Caught => "caught",
            Verdict::Hung => "caught (hung)",
            Verdict::Survived => "SURVIVED",
        };
        out::line(format_args!("{:<34} {said:<14} {:>12}  {}", mutant.name, out::seconds(*took), mutant.breaks));
    }
    let survived = rows.iter().filter(|(_, verdict, _)| *verdict == Verdict::Survived).count();
    if survived == 0 { Ok(()) } else { bail!("{survived} of {} mutants survived", rows.len()) }
}

/// What is wrong with the patches, without running anything: each says what it breaks and applies to the checkout.
pub(crate) fn findings() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in paths()? {
        let applies = || {
            let mutant = Mutant::read(&path)?;
            apply(&workspace(), &mutant.path, &["--check"])
        };
        if let Err(error) = applies() {
            found.push(format!("{}: {error:#}", path.display()));
        }
    }
    Ok(found)
}

fn paths() -> Result<Vec<PathBuf>> {
    let folder = workspace().join(PATCHES);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    paths.sort();
    Ok(paths)
}

fn all() -> Result<Vec<Mutant>> {
    paths()?.iter().map(|path| Mutant::read(path)).collect()
}

impl Mutant {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut lines = text.lines();
        let mut claim = || lines.next().and_then(|line| line.strip_prefix("# ")).map(str::to_owned);
        let breaks = claim().context("the first line ought to say what it breaks, after `# `")?;
        let test = claim().context("the second line ought to be the command that must fail, after `# `")?;
        let words = test.strip_prefix("cargo ").context("the second line ought to begin with `# cargo `")?;
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        Ok(Self { name, path: path.to_owned(), breaks, test: words.split(' ').map(str::to_owned).collect() })
    }

    fn run(&self, tree: &Path) -> Result<Verdict> {
        apply(tree, &self.path, &[])?;
        let verdict = judge(tree, &self.test);
        apply(tree, &self.path, &["--reverse"])?;
        verdict
    }
}

/// The tests pass while nothing is broken; else their failing would prove nothing.
fn whole(tree: &Path, mutants: &[Mutant]) -> Result<()> {
    let tests: BTreeSet<&Vec<String>> = mutants.iter().map(|mutant| &mutant.test).collect();
    for test in tests {
        out::step(&format!("unbroken: cargo {}", test.join(" ")), |_note| match judge(tree, test)? {
            Verdict::Survived => Ok(()),
            Verdict::Caught | Verdict::Hung => bail!("it fails on what is not broken"),
        })?;
    }
    Ok(())
}

/// Builds and runs a test; a mutant that does not even build says nothing.
fn judge(tree: &Path, test: &[String]) -> Result<Verdict> {
    // Words after `--` are the test's own.
    let for_cargo: Vec<&String> = test.iter().take_while(|word| *word != "--").collect();
    output(in_tree(tree, &mut cargo(&[])).args(&for_cargo).args(["--no-run", "--locked", "--quiet"]))
        .context("it does not build")?;
    let mut run = command("timeout", &["--kill-after=5", &TEST_LIMIT.as_secs().to_string()]);
    let cargo = cargo(&[]);
    let status = in_tree(tree, run.arg(cargo.get_program()).args(test))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot run timeout")?;
    Ok(match status.code() {
        Some(0) => Verdict::Survived,
        Some(TIMED_OUT) => Verdict::Hung,
        _ => Verdict::Caught,
    })
}

fn in_tree<'a>(tree: &Path, command: &'a mut Command) -> &'a mut Command {
    command.current_dir(tree).env("CARGO_TARGET_DIR", workspace().join("target/mutants/target"))
}

/// Applies a patch below `root`. A copy lies inside the checkout's own folder, where git would look for the checkout's files.
fn apply(root: &Path, patch: &Path, options: &[&str]) -> Result<()> {
    let mut git = command("git", &["apply", "--whitespace=nowarn"]);
    git.args(options).arg(patch).current_dir(root);
    if let Some(above) = root.parent().filter(|_above| root != workspace()) {
        git.env("GIT_CEILING_DIRECTORIES", above);
    }
    output(&mut git).map(drop).context("the patch does not apply")
}

/// Makes the copy equal to the checkout. What is equal already keeps its time of change, and what was built from it.
fn copy(tree: &Path) -> Result<()> {
    let listed = output(
        command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(workspace()),
    )?;
    let names: BTreeSet<&str> = listed.split('\0').filter(|name| workspace().join(name).is_file()).collect();
    for name in &names {
        let (from, to) = (workspace().join(name), tree.join(name));
        let content = fs::read(&from).with_context(|| format!("cannot read {name}"))?;
        if fs::read(&to).ok().is_none_or(|present| present != content) {
            fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
            fs::write(&to, content).with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    remove_others(tree, tree, &names)
}

fn remove_others(tree: &Path, folder: &Path, names: &BTreeSet<&str>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(tree, &path, names)?;
        } else if path.strip_prefix(tree)?.to_str().is_none_or(|name| !names.contains(name)) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}
