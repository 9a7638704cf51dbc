//! What units are made from.

use std::time::Duration;

use acp_core_supervise::Policy;
use schemars::JsonSchema;
use serde::Deserialize;

/// What units are made from.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The program: a path with placeholders, or a name that is looked for in the usual directories.
    pub program: String,
    /// Its arguments, with placeholders.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The user: a noun (`cluster` is the user `acp-cluster`), `system` for a user of each instance's own, or `root`.
    pub user: String,
    /// Supplementary groups: `acp` or nouns.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Capabilities it keeps, like `CAP_NET_ADMIN`; all others are given up for good.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Devices it may open for reading and writing.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Sockets that are bound for it.
    #[serde(default)]
    pub sockets: Vec<Socket>,
    /// Files that are opened for appending and passed to it by name.
    #[serde(default)]
    pub logs: Vec<Log>,
    /// Directories that are made before it starts, in this order.
    #[serde(default)]
    pub directories: Vec<Directory>,
    /// Units that must be ready before it starts and are stopped after it.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Units that it starts after and is stopped before, and does without when they fail.
    #[serde(default)]
    pub after: Vec<String>,
    /// Units that are stopped after it, whatever the order in which they start.
    #[serde(default)]
    pub stops_before: Vec<String>,
    /// Daemons (by noun) that may make units of this template.
    #[serde(default)]
    pub owners: Vec<String>,
    /// Whether whoever makes a unit may add arguments.
    #[serde(default)]
    pub accepts_arguments: bool,
    /// Whether whoever makes a unit may pass descriptors.
    #[serde(default)]
    pub accepts_fds: bool,
    /// Whether there is one unit of this template, started with the framework. Others are made on request, one an instance.
    #[serde(default)]
    pub boot: bool,
    /// What makes it ready. Default `notify`.
    #[serde(default)]
    pub readiness: Readiness,
    /// When it starts again after an end that nobody asked for. Default `always`.
    #[serde(default)]
    pub restart: Restart,
    /// Seconds of silence after which it counts as frozen and is replaced; absent: it may be silent.
    #[serde(default)]
    pub watchdog_s: Option<u32>,
    /// Seconds it may take to become ready. Default 30.
    #[serde(default = "default_start_timeout_s")]
    pub start_timeout_s: u32,
    /// Seconds it may take to end after it was asked to. Default 10.
    #[serde(default = "default_stop_timeout_s")]
    pub stop_timeout_s: u32,
    /// Bounds of its control group.
    #[serde(default)]
    pub limits: Limits,
    /// The most files it may have open; absent: as the framework itself.
    #[serde(default)]
    pub open_files_max: Option<u64>,
}

fn default_start_timeout_s() -> u32 {
    30
}

fn default_stop_timeout_s() -> u32 {
    10
}

/// See [`Template::readiness`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// It says `READY=1` (`sd_notify(3)`).
    #[default]
    Notify,
    /// Its program runs.
    Exec,
}

/// See [`Template::restart`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Unless it ended with 64 or 78.
    #[default]
    Always,
    /// Unless it ended with 0, 64 or 78.
    OnFailure,
    /// Not at all.
    Never,
}

/// Bounds of a control group; absent: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time in percent of one processor.
    pub cpu_percent: Option<u32>,
    /// Its share of processors that several units want, beside theirs: 1 to 10,000; absent: 100.
    pub cpu_weight: Option<u32>,
    /// Processes and threads.
    pub tasks: Option<u32>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its path.
    pub path: String,
    /// Whether the unit also starts without it.
    #[serde(default)]
    pub optional: bool,
}

/// A listening Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// Its name in `LISTEN_FDNAMES` or `{fd:NAME}`. The chassis serves at the one called `varlink`.
    pub name: String,
    /// Its path, with placeholders.
    pub path: String,
    /// How the unit finds it. Default `listen`.
    #[serde(default)]
    pub pass: Pass,
    /// Who owns it: `root`, `self` or a noun. Default `root`.
    #[serde(default = "default_socket_owner")]
    pub owner: String,
    /// Its group: `root`, `self`, `acp` or a noun. Default `acp`.
    #[serde(default = "default_socket_group")]
    pub group: String,
    /// Its mode in octal. Default `0660`.
    #[serde(default = "default_socket_mode")]
    pub mode: String,
}

fn default_socket_owner() -> String {
    "root".to_owned()
}

fn default_socket_group() -> String {
    "acp".to_owned()
}

fn default_socket_mode() -> String {
    "0660".to_owned()
}

/// See [`Socket::pass`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Announced by `LISTEN_FDS` and `LISTEN_FDNAMES` (`sd_listen_fds(3)`).
    #[default]
    Listen,
    /// Only by `{fd:NAME}` in the arguments.
    Named,
}

/// A file for appending.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Its name in `{fd:NAME}`.
    pub name: String,
    /// Its path, with placeholders. It belongs to the unit's user.
    pub path: String,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Its path, with placeholders; its parent exists or is named before it.
    pub path: String,
    /// Who owns it: `root`, `self` or a noun. Default `self`.
    #[serde(default = "default_directory_owner")]
    pub owner: String,
    /// Its mode in octal.
    pub mode: String,
}

fn default_directory_owner() -> String {
    "self".to_owned()
}

impl Template {
    /// The rules for its units.
    pub(crate) fn policy(&self) -> Policy {
        use acp_core_supervise as core;
        Policy {
            restart: match self.restart {
                Restart::Always => core::Restart::Always,
                Restart::OnFailure => core::Restart::OnFailure,
                Restart::Never => core::Restart::Never,
            },
            readiness: match self.readiness {
                Readiness::Notify => core::Readiness::Notify,
                Readiness::Exec => core::Readiness::Exec,
            },
            start_timeout: Duration::from_secs(self.start_timeout_s.into()),
            stop_timeout: Duration::from_secs(self.stop_timeout_s.into()),
            watchdog: self.watchdog(),
        }
    }

    /// The longest silence.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog_s.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// Reads a mode in octal.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let parsed = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    parsed.ok_or_else(|| format!("{text:?} is no mode in octal, like 0660"))
}
