//! Rules for documents: links resolve, decisions have their headings, the book lists its pages.

use std::{collections::BTreeSet, path::Path};

use super::File;

/// The headings of a decision.
const DECISION: [&str; 4] = ["## Context", "## Decision", "## Consequences", "## Revisit when"];
/// The table of contents of the book.
const SUMMARY: &str = "docs/SUMMARY.md";

pub(super) fn check(files: &[File]) -> Vec<String> {
    let known: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let pages = files.iter().filter(|file| file.is_markdown());
    let mut findings: Vec<String> =
        pages.flat_map(|file| [links(file, &known), decision(file), fences(file)].concat()).collect();
    findings.extend(unlisted(files));
    findings
}

/// The targets of `[text](target)`, with their lines, outside code blocks.
fn targets(file: &File) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            found.extend(
                line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| (number, target)),
            );
        }
    }
    found
}

fn links(file: &File, known: &BTreeSet<&str>) -> Vec<String> {
    let broken = targets(file).into_iter().filter(|(_, target)| {
        let path = target.split('#').next().unwrap_or_default();
        let foreign = target.contains("://") || path.is_empty();
        let resolved = resolve(&file.path, path);
        let folder = format!("{}/", resolved.trim_end_matches('/'));
        !foreign && !known.contains(resolved.as_str()) && !known.iter().any(|other| other.starts_with(&folder))
    });
    broken.map(|(line, target)| file.at(line, &format!("the link {target} leads nowhere"))).collect()
}

/// A relative path as seen from a file.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = Path::new(from).parent().and_then(Path::to_str).unwrap_or_default().split('/').collect();
    parts.retain(|part| !part.is_empty());
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn decision(file: &File) -> Vec<String> {
    if !file.path.starts_with("docs/adr/") {
        return Vec::new();
    }
    let missing = DECISION.iter().filter(|heading| !file.text.lines().any(|line| line == **heading));
    missing.map(|heading| format!("{}: has no {heading:?}", file.path)).collect()
}

/// Every code block says what it is: READMEs are crate documentation, where an unnamed block is taken for a Rust program.
fn fences(file: &File) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let Some(tag) = line.trim_start().strip_prefix("```") else { continue };
        if !inside && tag.is_empty() {
            found.push(file.at(number, "a code block that does not say what it is (`text`, `sh`, `json`, ...)"));
        }
        inside = !inside;
    }
    found
}

/// Pages of the book that its table of contents does not lead to.
fn unlisted(files: &[File]) -> Vec<String> {
    let Some(summary) = files.iter().find(|file| file.path == SUMMARY) else {
        return vec![format!("{SUMMARY} is missing")];
    };
    let listed: BTreeSet<String> = targets(summary).into_iter().map(|(_, target)| resolve(SUMMARY, target)).collect();
    let pages =
        files.iter().filter(|file| file.path.starts_with("docs/") && file.is_markdown() && file.path != SUMMARY);
    pages
        .filter(|page| !listed.contains(&page.path))
        .map(|page| format!("{}: is not listed in {SUMMARY}", page.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_resolve_from_their_file() {
        assert_eq!(resolve("docs/adr/0001-x.md", "../glossary.md"), "docs/glossary.md");
        assert_eq!(resolve("README.md", "./docs/"), "docs");
    }

    #[test]
    fn broken_links_are_found_outside_code() {
        let text = "see [a](a.md) and [b](b.md#top)\n```text\n[c](c.md)\n```\n[d](https://example.org)\n".to_owned();
        let file = File { path: "docs/x.md".to_owned(), text };
        let known = BTreeSet::from(["docs/a.md"]);
        assert_eq!(links(&file, &known), ["docs/x.md:1: the link b.md#top leads nowhere"]);
    }
}
