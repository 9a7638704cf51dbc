//! `up` and `down`: the node of the quick start.
//!
//! **Invariant**: every step looks first and changes only what is missing, so a second run changes nothing.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use acp_dev_testkit::{
    Layout,
    guard::{self, Options},
    http,
    namespace::Namespace,
    node,
    objects::{self, Needed},
    wait_for,
};
use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    command::{cargo, run, workspace},
    image, needs_root, out, packages,
};

/// What the demo guest prints when it is up; its address follows.
const GREETING: &str = "Welcome to ACP: demo is up at ";
/// How long the demo guest may take to boot: 4 s under emulation on an idle machine, far longer on a busy one.
const GREETING_LIMIT: Duration = Duration::from_secs(120);

/// Options of `up`.
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Only the node: no image, network or guest.
    #[arg(long)]
    no_demo: bool,
    /// Uses the host's network instead of a network namespace of the node's own.
    #[arg(long)]
    host_network: bool,
    /// Uses the programs there instead of a release build.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Options of `down`.
#[derive(Args, Debug)]
pub(crate) struct Down {
    /// Removes the node's state, too: its systems, images and database.
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    place: Place,
}

/// Which node.
#[derive(Args, Debug)]
struct Place {
    /// The node's directory [default: target/acp].
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Place {
    fn layout(&self, bin: Option<&Path>) -> Result<Layout> {
        let dir = self.dir.clone().unwrap_or_else(dir_default);
        Layout::new(&dir, bin.unwrap_or(&workspace().join("target/release")))
    }
}

/// Boots the node and, unless told otherwise, the demo system.
pub(crate) fn up(options: &Up) -> Result<()> {
    needs_root("starting a node (network, cgroups, users of its own)")?;
    let layout = options.place.layout(options.bin_dir.as_deref())?;
    out::step("Debian packages", |note| {
        *note = packages::ensure(packages::NODE)?;
        Ok(())
    })?;
    if options.bin_dir.is_none() {
        build_services()?;
    }
    let image = if options.no_demo { None } else { Some(out::step("demo image", image::ensure)?) };
    out::step("node", |note| start_node(&layout, options.host_network, note))?;
    let shown = match image {
        Some(image) => Some(demo(&layout, &image, options.host_network)?),
        None => None,
    };
    print_next(&layout, options.host_network, shown.as_ref());
    Ok(())
}

/// Builds everything a node runs, in release mode.
pub(crate) fn build_services() -> Result<()> {
    let mut command = cargo(&["build", "--release"]);
    for package in service_packages()? {
        command.args(["--package", &package]);
    }
    out::noisy_step("release build", |_note| run(&mut command))
}

/// The packages below `services/`, whose names follow from their folders.
fn service_packages() -> Result<Vec<String>> {
    let folders = std::fs::read_dir(workspace().join("services")).context("there is no services folder")?;
    let mut names: Vec<String> = folders
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .map(|folder| if folder == "acpctl" { folder } else { format!("acp-{folder}") })
        .collect();
    names.sort();
    Ok(names)
}

fn start_node(layout: &Layout, host_network: bool, note: &mut String) -> Result<()> {
    let options = Options { node: node_name(), host_network };
    let started = guard::ensure(layout, &options)?;
    node::wait_ready(layout).with_context(|| format!("see {}", layout.log().display()))?;
    *note = format!("{} {}", options.node, if started { "started" } else { "runs" });
    Ok(())
}

/// The host's name as far as it may be a node's name.
fn node_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let first = host.trim().split('.').next().unwrap_or_default();
    let allowed: String =
        first.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(32).collect();
    let name = allowed.trim_start_matches(['-', '_']);
    if name.is_empty() { "n1".to_owned() } else { name.to_owned() }
}

/// What the demo showed of itself.
struct Shown {
    greeting: String,
    address: IpAddr,
    page: String,
}

fn demo(layout: &Layout, image: &Path, host_network: bool) -> Result<Shown> {
    let image = image.to_str().context("the image's path is no UTF-8")?;
    for Needed { kind, name, create } in objects::needed(image) {
        ensure_object(layout, kind, name, &create)?;
    }
    let create = ["system", "create", "demo", "--image", "demo", "--network", "default", "--wait"];
    ensure_object(layout, "system", "demo", &create)?;
    out::step("system demo started", |note| {
        if state(layout, "system", "demo")?.as_deref() == Some("running") {
            note.push_str("runs");
            return Ok(());
        }
        node::run(layout, &["system", "start", "demo", "--wait"]).map(drop)
    })?;
    let (greeting, address) = out::step("its greeting", |_note| wait_greeting(layout))?;
    // The console's log may hold the greeting of an earlier run: only the page says that the guest is up now.
    let page = out::step("its page", |_note| {
        wait_for("the guest's page", GREETING_LIMIT, || {
            fetch(layout, host_network, address).map_err(|error| format!("{error:#}"))
        })
    })?;
    Ok(Shown { greeting, address, page })
}

/// Makes the object unless it is there, as a step of its own.
fn ensure_object(layout: &Layout, kind: &str, name: &str, create: &[&str]) -> Result<()> {
    out::step(&format!("{kind} {name}"), |note| {
        if !objects::ensure(layout, kind, name, create)? {
            note.push_str("there");
        }
        Ok(())
    })
}

fn state(layout: &Layout, kind: &str, name: &str) -> Result<Option<String>> {
    Ok(objects::find(layout, kind, name)?.and_then(|object| object["status"]["state"].as_str().map(str::to_owned)))
}

fn wait_greeting(layout: &Layout) -> Result<(String, IpAddr)> {
    wait_for("the guest's greeting on its console", GREETING_LIMIT, || {
        let console = node::run(layout, &["system", "log", "demo"]).map_err(|error| format!("{error:#}"))?;
        greeting_in(&console).ok_or(console)
    })
}

/// The last greeting on a console, as a line of its own among firmware's and shell's escapes.
fn greeting_in(console: &str) -> Option<(String, IpAddr)> {
    console.lines().rev().find_map(|line| {
        let start = line.find(GREETING)?;
        let greeting = line[start..].trim_end();
        let address = greeting[GREETING.len()..].split_whitespace().next()?.parse().ok()?;
        Some((greeting.to_owned(), address))
    })
}

fn fetch(layout: &Layout, host_network: bool, address: IpAddr) -> Result<String> {
    if host_network { http::get(address) } else { layout.namespace().run(|| http::get(address)) }
}

fn print_next(layout: &Layout, host_network: bool, shown: Option<&Shown>) {
    if let Some(shown) = shown {
        out::line(format_args!("\n{}\n", shown.greeting));
        out::line(shown.page.trim_end());
    }
    let bin = here(layout.bin());
    let bin = if bin.is_absolute() { bin.display().to_string() } else { format!("$PWD/{}", bin.display()) };
    out::line("\nGo on with:\n");
    out::line(format_args!("  export ACP_RUN_DIR={} PATH=\"{bin}:$PATH\"", here(&layout.near_run()).display()));
    out::line("  acpctl status");
    out::line("  acpctl service list");
    if let Some(shown) = shown {
        out::line("  acpctl system show demo");
        out::line("  acpctl system console demo     # Enter for the prompt, Ctrl-] leaves");
        let enter = if host_network { String::new() } else { enter_words(&layout.namespace()) };
        out::line(format_args!("  {enter}curl http://{}/", shown.address));
        out::line("  acpctl system shutdown demo --wait");
    }
    let dir = layout.dir();
    let elsewhere = if dir == dir_default() { String::new() } else { format!(" --dir {}", here(dir).display()) };
    out::line(format_args!("  cargo xtask down{elsewhere}"));
}

/// Where a node lies unless it is said otherwise.
fn dir_default() -> PathBuf {
    workspace().join("target/acp")
}

fn enter_words(namespace: &Namespace) -> String {
    format!("nsenter --net={} ", namespace.path().display())
}

/// The path relative to the working directory, if it lies below it.
fn here(path: &Path) -> PathBuf {
    let Ok(current) = std::env::current_dir() else { return path.to_owned() };
    path.strip_prefix(&current).map_or_else(|_elsewhere| path.to_owned(), Path::to_owned)
}

/// Stops everything that `up` started and verifies it.
pub(crate) fn down(options: &Down) -> Result<()> {
    needs_root("stopping a node")?;
    let layout = options.place.layout(None)?;
    out::step("node stopped", |note| {
        let forced = guard::take_down_and_verify(&layout)?;
        *note = if forced.is_empty() { "in order".to_owned() } else { format!("by force: {}", forced.join("; ")) };
        Ok(())
    })?;
    out::line("no process, link, mount, cgroup or nftables table of it is left");
    if options.purge {
        out::step("state removed", |_note| purge(&layout))?;
    } else if layout.state().exists() {
        out::line(format_args!(
            "its state is kept in {}; `cargo xtask down --purge` removes it",
            here(&layout.state()).display()
        ));
    }
    Ok(())
}

fn purge(layout: &Layout) -> Result<()> {
    for dir in [layout.state(), layout.log(), layout.etc()] {
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_is_found_among_escapes() {
        let console = "\u{1b}c\u{1b}[?7l\r\nWelcome to ACP: demo is up at 10.77.0.11\r\n\u{1b}[6ndemo:/root# ";
        let (greeting, address) = greeting_in(console).expect("it is there");
        assert_eq!(greeting, "Welcome to ACP: demo is up at 10.77.0.11");
        assert_eq!(address.to_string(), "10.77.0.11");
        assert_eq!(greeting_in("Welcome to ACP: demo is up at noon"), None);
    }
}
