//! Rules for every text file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A text file of the workspace.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the workspace.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// A finding at a line, counted from 0.
    pub(crate) fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }
}

/// Endings of files that people write; others, like recorded inputs of tests, are as they are.
const WRITTEN: [&str; 8] = [".conf", ".in", ".json", ".md", ".rs", ".service", ".sh", ".toml"];
/// Folders at the top that hold nothing of ours.
const FOREIGN: [&str; 2] = [".git", "target"];

/// Every text file, ordered by path.
pub(super) fn read(root: &Path) -> Result<Vec<File>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))? {
        let entry = entry?;
        if !FOREIGN.iter().any(|name| entry.file_name() == *name) {
            collect(&entry.path(), &mut paths)?;
        }
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        // What is no text has no lines to look at.
        if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            files.push(File { path, text });
        }
    }
    Ok(files)
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        collect(&entry?.path(), into)?;
    }
    Ok(())
}

/// White space, and words that only this machine understands.
pub(super) fn check(files: &[File], root: &Path) -> Vec<String> {
    let foreign = machine_words(root);
    files.iter().flat_map(|file| [blanks(file), machine(file, &foreign)].concat()).collect()
}

fn blanks(file: &File) -> Vec<String> {
    if !WRITTEN.iter().any(|ending| file.path.ends_with(ending)) {
        return Vec::new();
    }
    let lines = file.text.lines().enumerate();
    let mut found: Vec<String> = lines
        .filter(|(_, line)| line.ends_with([' ', '\t', '\r']))
        .map(|(number, _)| file.at(number, "white space at the end of the line"))
        .collect();
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        found.push(format!("{}: the last line has no end", file.path));
    }
    found
}

fn machine(file: &File, words: &[String]) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    lines
        .filter_map(|(number, line)| {
            let word = words.iter().find(|word| line.contains(word.as_str()))?;
            Some(file.at(number, &format!("{word} means something on this machine alone")))
        })
        .collect()
}

/// Where this checkout lies, and the hosts of the registries that this machine's cargo is told to use.
fn machine_words(root: &Path) -> Vec<String> {
    let mut words = Vec::new();
    // A checkout at an ordinary place like /opt/acp may stand in the files for good reasons.
    let ordinary = ["/etc", "/opt", "/run", "/srv", "/usr", "/var"].iter().any(|dir| root.starts_with(dir));
    if root.components().count() > 2 && !ordinary {
        words.push(format!("{}/", root.display()));
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let config = home.and_then(|home| fs::read_to_string(home.join("config.toml")).ok()).unwrap_or_default();
    words.extend(config.split("https://").skip(1).filter_map(|rest| {
        let host: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
        (!host.is_empty()).then_some(host)
    }));
    words
}
