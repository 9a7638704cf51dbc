//! Every service has the same anatomy.

use std::collections::BTreeSet;

use super::File;

/// The longest `main.rs` of a service, in lines: arguments, configuration, run, exit code.
const MAIN_LINES_MAX: usize = 60;
/// Files that every folder below `services/` has.
const EVERY: [&str; 3] = ["Cargo.toml", "README.md", "src/main.rs"];
/// Files that every daemon has besides.
const DAEMON: [&str; 2] = ["src/lib.rs", "src/config.rs"];
/// Programs that are no daemons: they serve no socket and read no configuration.
const PROGRAMS: [&str; 2] = ["services/acpctl", "services/shim"];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let folders: BTreeSet<&str> =
        files.iter().filter_map(|file| file.path.match_indices('/').nth(1).map(|(at, _)| &file.path[..at])).collect();
    folders
        .into_iter()
        .filter(|folder| folder.starts_with("services/"))
        .flat_map(|folder| anatomy(folder, files))
        .collect()
}

fn anatomy(folder: &str, files: &[File]) -> Vec<String> {
    let find = |name: &str| files.iter().find(|file| file.path == format!("{folder}/{name}"));
    let extra: &[&str] = if PROGRAMS.contains(&folder) { &[] } else { &DAEMON };
    let required = EVERY.iter().chain(extra);
    let mut findings: Vec<String> =
        required.filter(|name| find(name).is_none()).map(|name| format!("{folder}/{name} is missing")).collect();
    if let Some(main) = find("src/main.rs").filter(|main| main.text.lines().count() > MAIN_LINES_MAX) {
        findings.push(format!("{}: is longer than {MAIN_LINES_MAX} lines", main.path));
    }
    let root = find("src/lib.rs").or_else(|| find("src/main.rs"));
    if root.is_some_and(|root| !root.text.contains("#![doc = include_str!(\"../README.md\")]")) {
        findings.push(format!("{folder}: its README is not its crate documentation"));
    }
    findings
}
