//! What may come in from outside: the rules of `deny.toml`, checked against the dependency graph.
//!
//! The file has the form that cargo-deny reads, and where cargo-deny is installed it is run as well. It is not installed
//! by us: compiling it would take a quarter of the gate's time (docs/adr/0007-deny.md).

use std::{collections::BTreeSet, fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    command::{cargo, exists, output, run, workspace},
    metadata::{Metadata, Package},
};

/// The parts of `deny.toml` that are checked here.
#[derive(Debug, Deserialize)]
struct Rules {
    bans: Bans,
    licenses: Licenses,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    /// Not refused as such, but only one version of it may be in the graph.
    #[serde(default)]
    deny_multiple_versions: bool,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    /// `deny`: whatever does not come from crates.io is refused.
    unknown_registry: String,
    unknown_git: String,
}

/// Fails with everything in the graph that the rules refuse.
pub(crate) fn check(metadata: &Metadata) -> Result<String> {
    let text = fs::read_to_string(workspace().join("deny.toml")).context("cannot read deny.toml")?;
    let rules: Rules = toml::from_str(&text).context("deny.toml is not in the form known here")?;
    let mut wrong = String::new();
    for package in metadata.foreign() {
        let refused = [rules.bans.refuse(package), rules.licenses.refuse(package), rules.sources.refuse(package)];
        let reasons: Vec<String> = refused.into_iter().flatten().collect();
        if reasons.is_empty() || !is_built(package)? {
            continue;
        }
        for reason in reasons {
            writeln!(wrong, "{} {}: {reason}", package.name, package.version)?;
        }
    }
    for ban in rules.bans.deny.iter().filter(|ban| ban.deny_multiple_versions) {
        let versions: Vec<_> =
            metadata.foreign().filter(|package| package.name == ban.name).map(|p| &*p.version).collect();
        if versions.len() > 1 {
            writeln!(
                wrong,
                "{} is there {} times ({}): {}",
                ban.name,
                versions.len(),
                versions.join(", "),
                ban.reason
            )?;
        }
    }
    if !wrong.is_empty() {
        bail!("refused by deny.toml:\n{wrong}");
    }
    if !exists("cargo-deny") {
        return Ok(format!("{} crates, checked by xtask", metadata.foreign().count()));
    }
    run(&mut cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    Ok(format!("{} crates, checked by xtask and cargo-deny", metadata.foreign().count()))
}

/// Whether a package is really a part of any build. The metadata also lists optional dependencies that only a weak feature
/// (`name?/feature`) mentions; the tree does not.
fn is_built(package: &Package) -> Result<bool> {
    let name = format!("{}@{}", package.name, package.version);
    let tree = output(&mut cargo(&["tree", "--locked", "--workspace", "--quiet", "--invert", &name]))?;
    Ok(!tree.trim().is_empty())
}

impl Bans {
    fn refuse(&self, package: &Package) -> Option<String> {
        let ban = self.deny.iter().find(|ban| ban.name == package.name && !ban.deny_multiple_versions)?;
        Some(ban.reason.clone())
    }
}

impl Licenses {
    fn refuse(&self, package: &Package) -> Option<String> {
        let Some(expression) = &package.license else { return Some("it names no licence".to_owned()) };
        let extra = self.exceptions.iter().find(|exception| exception.name == package.name);
        let allowed = |name: &str| self.allow.contains(name) || extra.is_some_and(|extra| extra.allow.contains(name));
        (!satisfied(expression, &allowed)).then(|| format!("its licence is {expression}"))
    }
}

impl Sources {
    fn refuse(&self, package: &Package) -> Option<String> {
        let source = package.source.as_deref().unwrap_or("a path");
        let known = source.starts_with("registry+") && source.ends_with("/crates.io-index");
        let rule = if source.starts_with("git+") { &self.unknown_git } else { &self.unknown_registry };
        (!known && rule == "deny").then(|| format!("it comes from {source}"))
    }
}

/// Whether the licences allowed satisfy an SPDX expression: `/` is an old way to write OR; AND binds closer than OR.
fn satisfied(expression: &str, allowed: &impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at, allowed) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &impl Fn(&str) -> bool) -> bool {
    let mut holds = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        holds |= all_of(words, at, allowed);
    }
    holds
}

fn all_of(words: &[&str], at: &mut usize, allowed: &impl Fn(&str) -> bool) -> bool {
    let mut holds = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        holds &= one(words, at, allowed);
    }
    holds
}

fn one(words: &[&str], at: &mut usize, allowed: &impl Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let holds = any_of(words, at, allowed);
        *at += 1;
        return holds;
    }
    // `Apache-2.0 WITH LLVM-exception` is one licence of three words.
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return allowed(word) || allowed(&format!("{word} WITH {exception}"));
    }
    allowed(word)
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn licence_expressions_are_understood() {
        let allowed = |name: &str| matches!(name, "MIT" | "Apache-2.0" | "Unicode-3.0");
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR X",
        ] {
            assert!(satisfied(good, &allowed), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "", "(MIT", "MIT MIT", "GPL-3.0 OR (MIT AND X)"] {
            assert!(!satisfied(bad, &allowed), "{bad}");
        }
    }
}
