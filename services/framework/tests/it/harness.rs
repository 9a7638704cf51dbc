//! A framework of its own for each test.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use acp_base::Failure;
use acp_dev_wait::{seen, wait_for, wait_for_async};
use acp_io_client::Client;
use acp_wire_api::{
    Method,
    framework::{GetUnit, Limits, RemoveUnit, SpawnUnit, SpawnUnitRequest, Unit, UnitRequest},
};
use acp_wire_model::unit::UnitState;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Units for tests; those shipped are replaced because their programs are not what is tested here.
const TEMPLATES: &str = r#"
[template.cluster]
boot = true
program = "/bin/sh"
arguments = ["-c", "echo cluster begins; trap 'echo cluster ends; exit 0' TERM; while :; do sleep 0.05; done"]
user = "cluster"
groups = ["acp"]
sockets = [{ name = "varlink", path = "{run}/cluster.sock" }]
readiness = "exec"

[template.network]
boot = true
program = "/bin/sh"
arguments = ["-c", "exec sleep 1000"]
user = "network"
groups = ["acp"]
capabilities = ["CAP_NET_ADMIN"]
requires = ["cluster"]
readiness = "exec"

[template.storage]
boot = true
program = "/bin/sh"
arguments = ["-c", "exec sleep 1000"]
user = "storage"
requires = ["cluster"]
readiness = "exec"

# It takes its time, so that what is stopped too early is seen.
[template.hypervisor]
boot = true
program = "/bin/sh"
arguments = ["-c", "trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done"]
user = "hypervisor"
requires = ["network", "storage"]
sockets = [{ name = "varlink", path = "{run}/hypervisor.sock" }]
readiness = "exec"

[template.worker]
program = "/bin/sh"
arguments = ["-c", "exec sleep 1000"]
user = "storage"
owners = ["storage"]
readiness = "exec"

# Not started here.
[template.hub]
program = "/bin/false"
user = "hub"

[template.agent]
program = "/bin/false"
user = "agent"

[template.api]
program = "/bin/false"
user = "api"

[template.script]
program = "/bin/sh"
arguments = ["-c"]
accepts_arguments = true
accepts_fds = true
user = "system"
owners = ["hypervisor"]
readiness = "exec"
restart = "never"
stop_timeout_s = 1

[template.again]
program = "/bin/sh"
arguments = ["-c"]
accepts_arguments = true
user = "system"
owners = ["hypervisor"]
readiness = "exec"

[template.play]
program = "{bin}/play"
arguments = ["play::play", "--exact", "--nocapture"]
user = "root"
owners = ["hypervisor"]
sockets = [{ name = "varlink", path = "{run}/play/{instance}.sock" }]
directories = [{ path = "{run}/play", mode = "0755" }]
watchdog_s = 1
"#;

/// A node with nothing but a framework.
#[derive(Debug)]
pub(crate) struct Node {
    directory: TempDir,
    root: String,
    process: Option<Child>,
    pub(crate) client: Client,
}

impl Node {
    /// `None` without root, said aloud.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped {test}: needs root");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = format!("acp-it-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::Builder::new().prefix("acp-it-").tempdir_in("/tmp").expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        for name in ["etc", "bin"] {
            fs::create_dir(directory.path().join(name)).expect("made");
        }
        let config = format!("node_name = \"n1\"\ncgroup_root = \"{root}\"\n{TEMPLATES}");
        fs::write(directory.path().join("etc/framework.toml"), config).expect("written");
        fs::copy(shim(), directory.path().join("bin/acp-shim")).expect("copied");
        let own = std::env::current_exe().expect("known");
        std::os::unix::fs::symlink(own, directory.path().join("bin/play")).expect("linked");
        let client = Client::new(directory.path().join("run"));
        let mut node = Self { directory, root, process: None, client };
        node.boot().await;
        Some(node)
    }

    /// Starts the framework and waits until the boot units are ready.
    pub(crate) async fn boot(&mut self) {
        self.boot_after_crash().await;
        for unit in ["cluster", "network", "storage", "hypervisor"] {
            self.wait_state(unit, UnitState::Ready).await;
        }
    }

    /// Starts the framework and waits until it answers.
    pub(crate) async fn boot_after_crash(&mut self) {
        let place = |name: &str| self.directory.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_acp-framework"));
        for (option, name) in [("run", "run"), ("state", "state"), ("log", "log"), ("config", "etc"), ("bin", "bin")] {
            command.arg(format!("--{option}-dir")).arg(place(name));
        }
        let log = fs::File::options().append(true).create(true).open(place("framework.out")).expect("opened");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("the framework runs"));
        self.wait_unit("cluster", |_unit| true).await;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Kills the framework as a crash would.
    pub(crate) fn crash(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it is a child");
        process.wait().expect("it is a child");
    }

    /// Asks the framework to end and answers its exit status.
    pub(crate) fn shut_down(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("it runs");
        signal(process.id(), Signal::TERM);
        process.wait().expect("it is a child").code()
    }

    pub(crate) async fn call<M: Method>(&self, request: M::Request) -> Result<M::Reply, Failure> {
        self.client.service("framework").deadline(LIMIT).call::<M>(request).await
    }

    pub(crate) async fn unit(&self, name: &str) -> Result<Unit, Failure> {
        self.call::<GetUnit>(UnitRequest { name: name.into() }).await.map(|reply| reply.unit)
    }

    /// Makes a unit of a shell script.
    pub(crate) async fn script(&self, template: &str, instance: &str, script: &str) -> Unit {
        let mut request = request(template, instance);
        request.arguments = vec![script.into()];
        self.call::<SpawnUnit>(request).await.expect("it runs").unit
    }

    pub(crate) async fn spawn_with(&self, request: SpawnUnitRequest, fds: Vec<OwnedFd>) -> Result<Unit, Failure> {
        let service = self.client.service("framework").deadline(LIMIT);
        service.call_fds::<SpawnUnit>(request, fds).await.map(|(reply, _fds)| reply.unit)
    }

    pub(crate) async fn remove(&self, name: &str) -> Option<Unit> {
        self.call::<RemoveUnit>(UnitRequest { name: name.into() }).await.expect("it is removed").unit
    }

    /// Waits until a unit is as wanted and answers it.
    pub(crate) async fn wait_unit(&self, name: &str, wanted: impl Fn(&Unit) -> bool) -> Unit {
        let look = async || seen(self.unit(name).await, |unit| unit.as_ref().is_ok_and(&wanted));
        let unit = wait_for_async(&format!("unit {name}"), LIMIT, look).await.expect("it comes to be as wanted");
        unit.expect("it is known")
    }

    pub(crate) async fn wait_state(&self, name: &str, state: UnitState) -> Unit {
        self.wait_unit(name, |unit| unit.meta.state == state).await
    }

    pub(crate) fn log(&self, unit: &str) -> String {
        fs::read_to_string(self.path("log").join(format!("{unit}.log"))).unwrap_or_default()
    }

    /// Waits until the log of a unit is this text.
    pub(crate) async fn wait_log(&self, unit: &str, text: &str) {
        let look = async || seen(self.log(unit), |log| log == text);
        wait_for_async(&format!("the log of {unit}"), LIMIT, look).await.expect("it is written");
    }

    /// Kills every process of the node, those that come meanwhile too.
    pub(crate) fn kill_processes(&self) {
        let ended = wait_for("the end of every process", LIMIT, || {
            let left = self.processes();
            left.iter().for_each(|pid| signal(*pid, Signal::KILL));
            seen(left, Vec::is_empty)
        });
        match ended {
            // A second panic would end the program before the first is told.
            Err(error) if std::thread::panicking() => eprintln!("{error}"),
            ended => drop(ended.expect("nothing outlives a kill")),
        }
    }

    /// Every process in the node's control groups.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        for folder in self.folders() {
            let groups = fs::read_dir(&folder).into_iter().flatten().flatten();
            for group in groups.filter(|entry| entry.path().is_dir()) {
                let text = fs::read_to_string(group.path().join("cgroup.procs")).unwrap_or_default();
                pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
            }
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn folders(&self) -> Vec<PathBuf> {
        let mounts = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let all = mounts.chain([PathBuf::from("/sys/fs/cgroup")]);
        all.map(|mount| mount.join(&self.root)).filter(|folder| folder.is_dir()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(process.id(), Signal::TERM);
            process.wait().expect("it is a child");
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.path("framework.out")).unwrap_or_default());
        }
        self.kill_processes();
        for folder in self.folders() {
            for group in fs::read_dir(&folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
                drop(fs::remove_dir(group.path()));
            }
            drop(fs::remove_dir(folder));
        }
    }
}

/// A request without anything optional.
pub(crate) fn request(template: &str, instance: &str) -> SpawnUnitRequest {
    SpawnUnitRequest {
        template: template.into(),
        instance: instance.into(),
        arguments: Vec::new(),
        fds: Vec::new(),
        environment: BTreeMap::new(),
        limits: Limits::default(),
    }
}

/// Sends a signal; a process that is gone needs none.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    drop(kill_process(pid, signal).map_err(std::io::Error::from));
}

/// A line of `/proc/PID/status`.
pub(crate) fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().fold(String::new(), |mut all, word| {
        write!(all, "{}{word}", if all.is_empty() { "" } else { " " }).expect("a string takes all");
        all
    })
}

/// The parent of a process: for a unit's main process its shim.
pub(crate) fn parent(pid: u32) -> u32 {
    status(pid, "PPid").parse().expect("it runs")
}

/// The shim beside the framework under test; built if only this package's tests were.
fn shim() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_acp-framework")).with_file_name("acp-shim");
    // Each test is a process of its own, and a cargo in each of them would wait for whoever else builds.
    if !is_fresh(&path).unwrap_or(false) {
        let mut build = Command::new(env!("CARGO"));
        // The features of the whole workspace, as in the gate (ADR 0009).
        build.args(["build", "--quiet", "--workspace", "--bin", "acp-shim"]);
        if path.parent().is_some_and(|directory| directory.ends_with("release")) {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(built.success(), "the shim is built");
    }
    path
}

/// Whether a program is younger than each of its sources, which cargo lists beside it.
fn is_fresh(program: &Path) -> std::io::Result<bool> {
    let built = fs::metadata(program)?.modified()?;
    let sources = fs::read_to_string(program.with_extension("d"))?;
    for source in sources.split_whitespace().skip(1) {
        if fs::metadata(source)?.modified()? > built {
            return Ok(false);
        }
    }
    Ok(true)
}
