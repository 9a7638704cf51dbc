//! The shared node and what cases ask of it.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use acp_dev_testkit::{Layout, Node, http, node::Said, objects, terminal::Terminal, varlink, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::harness::Stage;

/// How long a guest may take to boot beside other load.
pub(crate) const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// How long anything else may take beside other load.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// How many warnings of each log are shown when a case fails.
const EVIDENCE_LINES: usize = 6;

/// The node, with pool and network `default` and the image `demo`.
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) bin: PathBuf,
    pub(crate) image: PathBuf,
}

/// A system as it is shown.
pub(crate) struct Shown {
    pub(crate) uid: String,
    pub(crate) spec: Value,
    pub(crate) status: Value,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn setting(name: &str, default: &str) -> PathBuf {
    std::env::var_os(name).map_or_else(|| workspace().join(default), PathBuf::from)
}

/// The programs under test: those of the build that this program is of, unless told otherwise.
pub(crate) fn programs() -> PathBuf {
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.ancestors().nth(2)?.to_owned())
    };
    std::env::var_os("ACP_E2E_BIN").map(PathBuf::from).or_else(beside).unwrap_or_default()
}

impl World {
    /// Why no case can run here, if so.
    pub(crate) fn lacks() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("they need root (namespaces, cgroups, users)".to_owned());
        }
        let needed = [programs().join("acp-framework"), Self::image_path()];
        let missing = needed.iter().find(|path| !path.exists())?;
        Some(format!("{} is missing; `cargo xtask test` builds it", missing.display()))
    }

    pub(crate) fn image_path() -> PathBuf {
        setting("ACP_E2E_IMAGE", "target/acp-image/demo.qcow2")
    }

    pub(crate) fn image_text(&self) -> Result<&str> {
        self.image.to_str().context("the image's path is no UTF-8")
    }

    /// A directory for a case's own files.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let dir = self.node.layout().dir().join("scratch").join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// The command has to fail with this exit status; answers what it said.
    pub(crate) fn refused(&self, arguments: &[&str], status: i32) -> Result<String> {
        let said = self.node.acpctl(arguments)?;
        let Said { status: found, stdout, stderr } = &said;
        ensure!(*found == status, "acpctl {} ended with {found}, not {status}: {stdout}{stderr}", arguments.join(" "));
        ensure!(stdout.is_empty(), "acpctl {} failed and yet printed {stdout:?}", arguments.join(" "));
        Ok(said.stderr)
    }

    /// Calls a method of a daemon.
    pub(crate) fn call(&self, noun: &str, method: &str, parameters: Value) -> Result<Value> {
        varlink::call(&self.node.socket(noun), method, parameters)
    }

    pub(crate) fn create(&self, name: &str) -> Result<()> {
        self.node.run(&["system", "create", name, "--image", "demo", "--network", "default", "--wait"]).map(drop)
    }

    pub(crate) fn start_system(&self, name: &str) -> Result<()> {
        self.node.run(&["system", "start", name, "--wait"]).map(drop)
    }

    pub(crate) fn stop_system(&self, name: &str) -> Result<()> {
        self.node.run(&["--yes", "system", "stop", name, "--wait"]).map(drop)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        self.node.run(&["--yes", "system", "delete", name, "--wait"]).map(drop)
    }

    pub(crate) fn show(&self, name: &str) -> Result<Shown> {
        let reply = self.call("cluster", "acp.cluster.Get", json!({ "kind": "system", "name": name }))?;
        let object = &reply["object"];
        let slots = object["slots"].as_array().context("an object without slots")?;
        let meta = slots.iter().find(|slot| slot["facet"] == "meta").map(|slot| slot["data"].clone());
        Ok(Shown {
            uid: object["uid"].as_str().context("an object without uid")?.to_owned(),
            spec: object["spec"].clone(),
            status: meta.unwrap_or_default(),
        })
    }

    pub(crate) fn wait_state(&self, name: &str, state: &str, limit: Duration) -> Result<Value> {
        wait_for(&format!("system {name} to be {state}"), limit, || {
            let status = self.show(name).map_err(|error| format!("{error:#}"))?.status;
            if status["state"] == state { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// Everything on the system's console since it was started.
    pub(crate) fn console(&self, name: &str) -> Result<String> {
        self.node.run(&["system", "log", name])
    }

    /// The system's console as a person has it.
    pub(crate) fn terminal(&self, name: &str) -> Result<Terminal> {
        let run_dir = self.node.layout().run();
        let environment = [("ACP_RUN_DIR", run_dir.to_str().unwrap_or_default()), ("TERM", "xterm")];
        Terminal::run(&self.bin.join("acpctl"), &["system", "console", name], &environment)
    }

    /// Waits until the guest has greeted `times` times; answers the address in its last greeting.
    pub(crate) fn wait_greeting(&self, name: &str, times: usize) -> Result<IpAddr> {
        let words = format!("Welcome to ACP: {name} is up at ");
        wait_for(&format!("greeting {times} of {name}"), BOOT_LIMIT, || {
            let console = self.console(name).map_err(|error| format!("{error:#}"))?;
            let greetings: Vec<&str> = console.lines().filter_map(|line| line.split(&words).nth(1)).collect();
            let last = greetings.last().filter(|_last| greetings.len() >= times);
            last.and_then(|address| address.trim().parse().ok()).ok_or(console)
        })
    }

    /// The page that the guest serves.
    pub(crate) fn page(&self, address: IpAddr) -> Result<String> {
        self.node.layout().namespace().run(|| http::get(address))
    }

    /// Every declared object with its spec: equal if nothing was declared, changed or ended in between.
    pub(crate) fn specs(&self) -> Result<Vec<String>> {
        let mut specs = Vec::new();
        for kind in ["node", "system", "network", "pool", "image"] {
            let list = self.node.json(&["object", "list", kind])?;
            let objects = list.as_array().context("no list of objects")?;
            specs.extend(
                objects
                    .iter()
                    .map(|object| format!("{kind} {} {} {}", object["uid"], object["version"], object["spec"])),
            );
        }
        Ok(specs)
    }

    /// The node's units by name.
    pub(crate) fn units(&self) -> Result<Vec<Value>> {
        units(self.node.layout())
    }
}

/// A node's units by name.
pub(crate) fn units(layout: &Layout) -> Result<Vec<Value>> {
    let mut reply = varlink::call(&layout.socket("framework"), "acp.framework.ListUnits", json!({}))?;
    Ok(reply["units"].as_array_mut().context("no list of units")?.drain(..).collect())
}

impl Stage for World {
    const NAME: &'static str = "the node";
    const LEAVES_NOTHING: &'static str = "the node leaves nothing behind";
    // The nodes beside it share the machine's devices, and its end looks at all of them.
    const IS_REPLACED: bool = false;

    fn start() -> Result<Self> {
        let programs = fs::canonicalize(programs())?;
        let image = fs::canonicalize(Self::image_path())?;
        let node = Node::start(&programs)?;
        let bin = node.layout().bin().to_owned();
        let world = Self { node, bin, image };
        objects::equip(world.node.layout(), world.image_text()?)?;
        Ok(world)
    }

    fn end(self) -> Result<()> {
        self.node.shut_down()
    }

    fn evidence(&self, case: &str) -> String {
        keep_logs(self.node.layout(), &case.replace("::", "-"))
    }
}

/// Keeps a node's logs for whoever looks into a failed case, and answers the last warnings in them.
pub(crate) fn keep_logs(layout: &Layout, folder: &str) -> String {
    let kept = workspace().join("target/e2e").join(folder);
    let logs = fs::read_dir(layout.log()).into_iter().flatten().filter_map(Result::ok);
    let mut said = format!("    the node's logs are kept in {}", kept.display());
    for log in logs {
        let Ok(text) = fs::read_to_string(log.path()) else { continue };
        let copied = fs::create_dir_all(&kept).and_then(|()| fs::write(kept.join(log.file_name()), &text));
        if let Err(error) = copied {
            said.push_str(&format!("\n    {}: not kept: {error}", log.file_name().display()));
        }
        said.push_str(&warnings(&log.file_name().display().to_string(), &text));
    }
    said
}

/// The last warnings and errors of a log.
fn warnings(name: &str, text: &str) -> String {
    let is_bad =
        |line: &&str| ["\"WARN\"", "\"ERROR\"", "panicked", "acp-shim:"].iter().any(|word| line.contains(word));
    let lines: Vec<&str> = text.lines().filter(is_bad).collect();
    let end = lines[lines.len().saturating_sub(EVIDENCE_LINES)..].join("\n        ");
    if end.is_empty() { end } else { format!("\n    {name}:\n        {end}") }
}
