//! What other programs rely on: every method with its access, and every interface's text, as committed.
//!
//! When a change is meant, `ACP_BLESS=1 cargo test -p acp-contract` (or `cargo xtask fix`) writes the files anew, and the
//! difference is part of the change under review.

use std::{fmt::Write as _, fs, path::PathBuf};

use acp_wire_api::{Flavor, Interface, MethodDescription, Scope};

/// Compares `text` with a committed file, or writes it when asked to.
fn compare(path: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("ACP_BLESS").is_some() {
        fs::write(&path, text).expect("the file can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(text.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or_else(|| committed.lines().count().min(text.lines().count()));
    assert!(
        committed == text,
        "{} differs from the code at line {}: {:?} is committed, {:?} is what the code says.\nIf that is meant, run `cargo xtask fix`.",
        path.display(),
        line + 1,
        committed.lines().nth(line).unwrap_or_default(),
        text.lines().nth(line).unwrap_or_default(),
    );
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Operate => "operate",
        Scope::Write => "write",
        Scope::Admin => "admin",
        Scope::Internal => "internal",
    }
}

fn flavor(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Once => "once",
        Flavor::Stream => "stream",
        Flavor::Upgrade => "upgrade",
    }
}

fn entry(method: &MethodDescription) -> String {
    let callers: Vec<String> = method.access.callers.iter().map(|noun| format!("\"{noun}\"")).collect();
    format!(
        "\"{}\" = {{ scope = \"{}\", callers = [{}] }}\n",
        method.short_name(),
        scope(method.access.scope),
        callers.join(", ")
    )
}

#[test]
fn every_method_has_its_access_entry() {
    let mut text = String::from(
        "# Who may call which method: whoever has the scope, and the callers named. Compared with the code by a test.\n",
    );
    for interface in acp_wire_api::all().iter().filter(|interface| !interface.methods.is_empty()) {
        write!(text, "\n[\"{}\"]\n", interface.name).expect("writing to a string");
        interface.methods.iter().for_each(|method| text.push_str(&entry(method)));
    }
    compare("tests/contract/access.toml", &text);
}

#[test]
fn the_page_of_interfaces_is_up_to_date() {
    let mut text = String::from(
        "# Interfaces\n\nWritten from the code by `cargo xtask fix`; a test compares. Every socket also answers `org.varlink.service`, which\n\
         serves the same texts to any Varlink client. Scopes and policies: [threat model](threat-model.md).\n",
    );
    acp_wire_api::all().iter().for_each(|interface| text.push_str(&page(interface)));
    compare("docs/interfaces.md", &text);
}

fn page(interface: &Interface) -> String {
    let mut text = format!("\n## {}\n\n{}\n", interface.name, sentence(interface.doc));
    if !interface.methods.is_empty() {
        text.push_str("\n| method | answers | scope | callers | |\n|---|---|---|---|---|\n");
    }
    for method in &interface.methods {
        let (answers, scope, callers) =
            (flavor(method.flavor), scope(method.access.scope), method.access.callers.join(", "));
        let row = format!("| `{}` | {answers} | {scope} | {callers} | {} |", method.short_name(), sentence(method.doc));
        text.push_str(&row.replace("|  |", "| |"));
        text.push('\n');
    }
    // Without blanks at the ends of lines, which Markdown files do not have.
    let definition: Vec<String> =
        interface.to_idl().trim_end().lines().map(|line| line.trim_end().to_owned()).collect();
    write!(text, "\n```text\n{}\n```\n", definition.join("\n")).expect("writing to a string");
    text
}

fn sentence(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
