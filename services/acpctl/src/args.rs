//! The command line: every verb and option. Pure; nothing here looks at the system.

mod address;
mod cluster;
mod domain;
mod duration;
mod event;
mod hub;
mod key;
mod metadata;
mod names;
mod node;
mod object;
mod role;
mod storage;
mod system;

use std::path::PathBuf;

use acp_base::Name;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::{
    address::NodeAddress,
    cluster::ClusterVerb,
    domain::{DomainVerb, TopArgs},
    duration::Span,
    event::{EventVerb, StartArg},
    hub::HubVerb,
    key::{KeyVerb, ScopeArg},
    metadata::{ConditionArg, ValueArg},
    names::Names,
    node::{JoinArgs, NodeListArgs, NodeVerb, RejoinArgs, TokenSource, TokenVerb},
    object::{ObjectVerb, SelectorArg},
    role::RoleVerb,
    storage::{DiskFormatArg, ImageVerb, PoolVerb, VolumeName, VolumeVerb},
    system::SystemVerb,
};

/// Controls the systems, networks and volumes of ACP nodes
#[derive(Clone, Debug, Parser)]
#[command(name = "acpctl", version, arg_required_else_help = true, infer_subcommands = false, max_term_width = 120)]
pub struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every verb.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every verb")]
pub struct Global {
    /// Directory of the node's sockets
    #[arg(
        long,
        global = true,
        env = "ACP_RUN_DIR",
        hide_env_values = true,
        default_value = "/run/acp",
        value_name = "DIR"
    )]
    pub run_dir: PathBuf,
    /// The node on which the command is executed [default: this one]
    #[arg(id = "chosen_node", long = "node", global = true, value_name = "NODE")]
    pub node: Option<Name>,
    /// File with the key whose rights the command has [default: on other nodes that of root of this one]
    #[arg(long, global = true, env = "ACP_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Say on the standard error output which way each call took, with the time of every step
    #[arg(long, global = true)]
    pub trace: bool,
    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
    /// How long to wait for an answer [default: 30s], and with --wait for the end of the job [default: 1h]
    #[arg(long, global = true, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// Do not ask before something is destroyed
    #[arg(short, long, global = true)]
    pub yes: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// For both
    Yaml,
}

/// Whether to wait for the job that a verb starts.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Wait {
    /// Wait until the job has ended, and exit as it did
    #[arg(long)]
    pub wait: bool,
}

/// The verbs, by what they work on.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show how the node is
    Status,
    /// Show what the nodes and systems of the whole cluster use, the busiest first
    Top(TopArgs),
    /// The cluster that this node is a member of
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// The voters of the cluster's log
    #[command(subcommand)]
    Hub(HubVerb),
    /// Members of the cluster
    #[command(subcommand)]
    Node(NodeVerb),
    /// Nodes that hear each other, and how
    #[command(subcommand)]
    Domain(DomainVerb),
    /// Sets of units, and the nodes that run them
    #[command(subcommand)]
    Role(RoleVerb),
    /// API keys, which have rights on every node
    #[command(subcommand)]
    Key(KeyVerb),
    /// Daemons and other units that the framework supervises
    #[command(subcommand)]
    Service(ServiceVerb),
    /// Disk images that systems are made from
    #[command(subcommand)]
    Image(ImageVerb),
    /// Places where volumes and images lie
    #[command(subcommand)]
    Pool(PoolVerb),
    /// Disks, named POOL/NAME
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Bridges with address, DHCP and NAT
    #[command(subcommand)]
    Network(NetworkVerb),
    /// Virtual machines
    #[command(subcommand)]
    System(SystemVerb),
    /// Operations that take a while
    #[command(subcommand)]
    Job(JobVerb),
    /// Objects of any kind, as the cluster database has them
    #[command(subcommand)]
    Object(ObjectVerb),
    /// What has happened: the entries of the cluster's log
    #[command(subcommand)]
    Event(EventVerb),
    /// The right to run floating systems
    #[command(subcommand)]
    Lease(LeaseVerb),
    /// Print a script that completes commands in a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Verbs on leases.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum LeaseVerb {
    /// List who runs which floating system, and under which term
    List,
}

/// Verbs on units.
#[derive(Clone, Debug, Subcommand)]
pub enum ServiceVerb {
    /// List all units in start order
    List,
    /// Show one unit
    Show(UnitArg),
    /// Start a unit that is stopped or has failed
    Start(UnitArg),
    /// Stop a unit and keep it stopped
    Stop(UnitArg),
    /// Stop and start a unit, or all that an upgrade has left behind
    Restart {
        /// The unit, like cluster or vmm@INSTANCE
        #[arg(value_name = "NAME", required_unless_present = "outdated", conflicts_with = "outdated")]
        name: Option<String>,
        /// Restart, in start order, everything whose program was replaced on disk, the framework included; guests go on
        #[arg(long)]
        outdated: bool,
    },
    /// List the processes whose program was replaced on disk since they started
    Outdated,
    /// Print the end of a unit's log
    Log {
        /// The unit.
        #[command(flatten)]
        unit: UnitArg,
        /// How many of the last lines, at most 10,000
        #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
        lines: u32,
        /// Go on with new lines
        #[arg(short, long)]
        follow: bool,
    },
}

/// Which unit.
#[derive(Clone, Debug, Args)]
pub struct UnitArg {
    /// The unit, like cluster or qemu@INSTANCE
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Verbs on networks.
#[derive(Clone, Debug, Subcommand)]
pub enum NetworkVerb {
    /// List all networks
    List,
    /// Show one network
    Show(NameArg),
    /// Create a network
    Create {
        /// The new network
        name: Name,
        /// The bridge's address with prefix length, like 10.77.0.1/24
        #[arg(long, value_name = "CIDR")]
        address: String,
        /// Guests get no addresses by DHCP
        #[arg(long)]
        no_dhcp: bool,
        /// Guests do not reach the outside
        #[arg(long)]
        no_nat: bool,
    },
    /// Delete a network that no system uses
    Delete(NameArg),
    /// Ask every node how well it reaches every other one: loss, round trips, multicast, clocks
    Doctor,
}

/// Which object.
#[derive(Clone, Debug, Args)]
pub struct NameArg {
    /// Its name
    pub name: Name,
}

/// Verbs on jobs.
#[derive(Clone, Debug, Subcommand)]
pub enum JobVerb {
    /// List all jobs
    List,
    /// Show one job
    Show(JobArg),
    /// Show a job's progress until it ends, and exit as it did
    Watch(JobArg),
    /// Ask a job to end without success; what it has changed is undone
    Cancel(JobArg),
}

/// Which job.
#[derive(Clone, Debug, Args)]
pub struct JobArg {
    /// The job's id, or its beginning or end as far as it is unique
    #[arg(value_name = "ID")]
    pub id: String,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn refused(arguments: &str) -> clap::Error {
        Cli::try_parse_from(arguments.split(' ')).expect_err(arguments)
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_of_the_manual_is_understood() {
        for line in [
            "status",
            "cluster init",
            "cluster init lab --address 10.0.0.1:9932",
            "cluster status",
            "cluster backup /root/acp.backup --force",
            "cluster restore /root/acp.backup --plan",
            "cluster voters 5",
            "hub status",
            "hub transfer",
            "hub transfer n2 --node n1",
            "hub recover --plan",
            "node list",
            "node list --online --parked=no --controller=yes --role edge --service api --where zone=a --where ssd!=true --follow",
            "node set n1 zone=a ssd=true --unset rack,note",
            "node set n1 --unset rack",
            "node show n1",
            "node join 10.0.0.1 --token acpt.0.1 --address 10.0.0.2",
            "node join [::1]:9932 --token-file - --plan",
            "node join 10.0.0.1 --wait 10m --fingerprint 00112233445566778899AABBCCDDEEFF:00112233445566778899aabbccddeeff",
            "node rejoin 10.0.0.1 --token-file -",
            "node leave --force",
            "node remove n1 --plan",
            "node rename n1 a1",
            "node readdress n1 10.0.0.9:1",
            "domain assign n1 west",
            "node park n1",
            "node unpark n1",
            "node requests",
            "node approve 5e",
            "node reject 0195b5a0-0000-7000-8000-000000000001",
            "role list",
            "role set edge --units api --nodes n1,n2",
            "lease list",
            "event list",
            "event list --from 12 --limit 5",
            "event follow --from 1-0a1b2c3d:42",
            "event undo 17",
            "event verify",
            "node token create --lifetime 24h --uses 3 --no-root-key",
            "node token list",
            "node token revoke 0195b5a0-0000-7000-8000-000000000001",
            "key create ci --scope operate --lifetime 720h",
            "key list",
            "key revoke root@n1",
            "service list",
            "service show cluster",
            "service start network",
            "service stop network",
            "service restart qemu@0123",
            "service log cluster -n 5 -f",
            "image list",
            "image import i /tmp/x --sha256 00",
            "image import i https://h/x --pool p --wait",
            "image delete i",
            "pool list",
            "pool show default",
            "pool create fast --path /srv/fast",
            "volume list",
            "volume create default/a --size 1GiB --format raw",
            "volume create default/a --image i",
            "volume clone default/a default/b --linked --wait",
            "volume expand default/a --size 2G",
            "volume delete default/a",
            "network list",
            "network show n",
            "network create n --address 10.1.0.1/24 --no-dhcp --no-nat",
            "network delete n",
            "system create s --image i --cpus 2 --memory 256MiB --disk 1GiB --network n --network m --autostart --start --wait",
            "system list",
            "system show s",
            "system start s --wait",
            "system stop s",
            "system shutdown s --force --within 5s",
            "system reset s",
            "system delete s --wait",
            "system console s --backlog 100",
            "system log s -n 10 -f",
            "job list",
            "job show 0195",
            "job watch 0195",
            "job cancel 0195",
            "object get system s",
            "object get system s --at 12",
            "object get system s --consistent",
            "object diff system s 12 17",
            "object list volume",
            "object list system --selector spec.node=n1 --selector meta.state!=running",
            "object watch system --cursor c",
            "completion bash",
            "system create s --image i --on n2 --floating",
            "-o yaml --run-dir /x --yes --timeout 5s system delete s",
            "--node n2 --trace --key-file /x system console s",
            "system list --node n2 --trace",
            "system delete s -o json --run-dir /x -y",
        ] {
            let arguments = std::iter::once("acpctl").chain(line.split(' '));
            if let Err(error) = Cli::try_parse_from(arguments) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn a_mistyped_verb_gets_a_suggestion() {
        let text = refused("acpctl system strat s").to_string();
        assert!(text.contains("'start'"), "{text}");
        assert!(refused("acpctl sytsem list").to_string().contains("'system'"));
    }

    #[test]
    fn bad_values_are_refused_before_anything_is_called() {
        for line in [
            "acpctl system show ../etc",
            "acpctl system create s --memory -5",
            "acpctl system create s --memory 5MB",
            "acpctl volume create default/../x --size 1G",
            "acpctl volume create default --size 1G",
            "acpctl system create s --cpus 0",
            "acpctl --timeout soon status",
            "acpctl --node ../x status",
            "acpctl object list thing",
            "acpctl object list system --selector state",
            "acpctl service log x -n 10001",
            "acpctl volume create p/v",
            "acpctl node join n1.example.org",
            "acpctl node token create --uses 0",
            "acpctl node token revoke 17",
            "acpctl key create x",
            "acpctl cluster init ../x",
            "acpctl cluster voters 2",
            "acpctl cluster backup",
            "acpctl role set edge",
            "acpctl role set edge --nodes n1,../x",
            "acpctl event list --from x",
            "acpctl event list --from 0",
            "acpctl event list --limit 0",
            "acpctl event undo 0",
            "acpctl node rename n1",
            "acpctl node readdress n1 n1.example.org",
            "acpctl node join 10.0.0.1 --fingerprint xyz",
        ] {
            let kind = refused(line).kind();
            assert!(
                matches!(
                    kind,
                    ErrorKind::ValueValidation | ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument
                ),
                "{line}: {kind:?}"
            );
        }
    }
}
