//! The command line that every daemon has.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Options of every daemon; the framework gives them by environment.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Arguments {
    /// Directory of the sockets
    #[arg(long, env = "ACP_RUN_DIR", default_value = "/run/acp")]
    pub(crate) run_dir: PathBuf,
    /// Directory of what must survive a reboot
    #[arg(long, env = "ACP_STATE_DIR", default_value = "/var/lib/acp")]
    pub(crate) state_dir: PathBuf,
    /// Directory of log files
    #[arg(long, env = "ACP_LOG_DIR", default_value = "/var/log/acp")]
    pub(crate) log_dir: PathBuf,
    /// Directory of configuration files
    #[arg(long, env = "ACP_CONFIG_DIR", default_value = "/etc/acp")]
    pub(crate) config_dir: PathBuf,
    /// Directory of ACP's programs [default: that of this program]
    #[arg(long, env = "ACP_BIN_DIR")]
    pub(crate) bin_dir: Option<PathBuf>,
    /// Name of this node
    #[arg(long, env = "ACP_NODE")]
    pub(crate) node: Option<acp_base::Name>,
    /// What is logged: off, error, warn, info, debug or trace, or a filter like info,acp_cluster=debug
    #[arg(long, env = "ACP_LOG", default_value = "info")]
    pub(crate) log_level: String,
    /// How it is logged
    #[arg(long, env = "ACP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub(crate) log_format: LogFormat,
    /// Print the JSON schema of the configuration file and exit
    #[arg(long)]
    pub(crate) config_schema: bool,
    /// Check the configuration file and exit
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people on a terminal, JSON lines elsewhere
    Auto,
    /// For people
    Human,
    /// JSON lines
    Json,
    /// To the journal, with fields
    Journald,
}
