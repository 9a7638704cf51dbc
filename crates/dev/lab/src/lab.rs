//! A lab as a whole.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use acp_dev_testkit::{
    guard::{self, Options},
    namespace::Namespace,
    node,
};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::{
    disturbance::{Disturbances, Loss, parse_cut},
    fabric,
    member::{DOMAINS_MAX, MEMBERS_MAX, Member, MemberName},
};

/// The most voters that a cluster has, and as many as it makes by itself if it has the nodes.
pub(crate) const VOTERS_MAX: u8 = 5;

/// What a lab is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Nodes, called n1, n2 and so on.
    pub nodes: u8,
    /// Domains; the nodes are dealt out to them in turn.
    pub domains: u8,
    /// Voters of its control plane; absent: as many as the cluster decides by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voters: Option<u8>,
    /// The programs of the nodes.
    pub bin: PathBuf,
    /// Those of every second node, if they are others: of another version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_bin: Option<PathBuf>,
}

impl Plan {
    fn check(&self) -> Result<()> {
        ensure!((1..=MEMBERS_MAX).contains(&self.nodes), "a lab has 1 to {MEMBERS_MAX} nodes");
        let domains = 1..=DOMAINS_MAX.min(self.nodes);
        ensure!(domains.contains(&self.domains), "{} nodes are in 1 to {} domains", self.nodes, domains.end());
        let odd = self.voters.is_none_or(|voters| [1, 3, VOTERS_MAX].contains(&voters) && voters <= self.nodes);
        ensure!(odd, "a cluster of {} nodes has 1, 3 or {VOTERS_MAX} voters, and no more than nodes", self.nodes);
        Ok(())
    }

    /// How many voters the cluster comes to: an odd number, and no more than it has nodes.
    pub fn voters(&self) -> u8 {
        let odd = self.nodes - u8::from(self.nodes.is_multiple_of(2));
        self.voters.unwrap_or(VOTERS_MAX).min(odd)
    }
}

/// What is kept of a lab in its directory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    plan: Plan,
    disturbances: Disturbances,
}

/// A lab in a directory.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    members: Vec<Member>,
    record: Record,
}

impl Lab {
    /// The lab in this directory as it was planned, or as it is planned now if there is none.
    pub fn plan(dir: &Path, plan: Plan) -> Result<Self> {
        plan.check()?;
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        if let Some(present) = Self::find(dir)? {
            ensure!(
                present.record.plan == plan,
                "there is a lab in {} with {} nodes in {} domains; take it down first",
                dir.display(),
                present.record.plan.nodes,
                present.record.plan.domains
            );
            return Ok(present);
        }
        let lab = Self::with(dir, Record { plan, disturbances: Disturbances::default() })?;
        lab.save()?;
        Ok(lab)
    }

    /// The lab in this directory.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::find(dir)?.with_context(|| format!("there is no lab in {}; `lab up` makes one", dir.display()))
    }

    /// The lab in this directory, if there is one.
    pub fn find(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("lab.json");
        match fs::read(&path) {
            Ok(bytes) => {
                let record =
                    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
                Self::with(dir, record).map(Some)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn with(dir: &Path, record: Record) -> Result<Self> {
        let dir = fs::canonicalize(dir).with_context(|| format!("cannot resolve {}", dir.display()))?;
        let member = |number: u8| {
            let domain = (number - 1) % record.plan.domains + 1;
            let second = record.plan.second_bin.as_ref().filter(|_bin| number.is_multiple_of(2));
            Member::new(&dir, second.unwrap_or(&record.plan.bin), MemberName::number(number), domain)
        };
        let members = (1..=record.plan.nodes).map(member).collect::<Result<_>>()?;
        Ok(Self { dir, members, record })
    }

    fn save(&self) -> Result<()> {
        let (path, aside) = (self.dir.join("lab.json"), self.dir.join("lab.json.new"));
        fs::write(&aside, serde_json::to_vec_pretty(&self.record)?)?;
        fs::rename(&aside, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// As it was planned.
    pub const fn planned(&self) -> &Plan {
        &self.record.plan
    }

    /// Its nodes, in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The node of this name.
    pub fn member(&self, name: MemberName) -> Result<&Member> {
        let found = self.members.iter().find(|member| member.name == name);
        found.with_context(|| format!("there is no {name} in this lab; it has n1 to n{}", self.members.len()))
    }

    /// The namespace of its bridges, named by the directory as those of nodes are.
    fn fabric(&self) -> Result<Namespace> {
        let layout = acp_dev_testkit::Layout::new(&self.dir, &self.record.plan.bin)?;
        Ok(Namespace::named(&format!("{}-lab", layout.name())))
    }

    /// Makes the network: a namespace for each node, connected with its domain.
    pub fn wire(&self) -> Result<()> {
        let fabric = self.fabric()?;
        fabric::ensure(&fabric, self.record.plan.domains)?;
        self.members.iter().try_for_each(|member| fabric::connect(&fabric, member))?;
        self.each(|member| self.disturb_one(member))
    }

    /// Starts a node, unless it runs, and waits until it is ready. The network is there.
    pub fn start(&self, name: MemberName) -> Result<()> {
        let member = self.member(name)?;
        guard::ensure(&member.layout, &Options { node: name.to_string(), host_network: false })?;
        node::wait_ready(&member.layout).with_context(|| format!("see {}", member.layout.log().display()))
    }

    /// Kills everything of a node at once, as a loss of power would, or one unit of it.
    pub fn kill(&self, name: MemberName, unit: Option<&str>) -> Result<()> {
        let layout = &self.member(name)?.layout;
        match unit {
            None => node::kill_everything(layout),
            Some(unit) => node::unit_process(layout, unit)?.signal(Signal::KILL),
        }
    }

    /// A command inside a node: in its network, with its programs first in the path and its sockets found.
    pub fn command(&self, name: MemberName, words: &[String]) -> Result<Command> {
        let (program, arguments) = words.split_first().context("no command was given")?;
        let layout = &self.member(name)?.layout;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", layout.namespace().path().display())).arg("--").arg(program).args(arguments);
        command.env("ACP_RUN_DIR", layout.run()).env("PATH", format!("{}:{path}", layout.bin().display()));
        Ok(command)
    }

    /// Stops every process of a node where it stands, as a suspended machine does, or lets all go on.
    pub fn freeze(&self, name: MemberName, is_frozen: bool) -> Result<()> {
        node::freeze(&self.member(name)?.layout, is_frozen)
    }

    /// Lets no packet through between these groups, in addition to what is cut already.
    pub fn cut(&mut self, text: &str) -> Result<()> {
        let names: Vec<MemberName> = self.members.iter().map(|member| member.name).collect();
        self.record.disturbances.cuts.extend(parse_cut(text, &names)?);
        self.disturb()
    }

    /// Lets no multicast through between these groups.
    pub fn deafen(&mut self, text: &str) -> Result<()> {
        let names: Vec<MemberName> = self.members.iter().map(|member| member.name).collect();
        self.record.disturbances.deaf.extend(parse_cut(text, &names)?);
        self.disturb()
    }

    /// Loses this share of a node's packets.
    pub fn lose(&mut self, name: MemberName, loss: Loss) -> Result<()> {
        self.member(name)?;
        self.record.disturbances.losses.insert(name, loss);
        self.disturb()
    }

    /// Lets none of a node's packets through, either way.
    pub fn silence(&mut self, name: MemberName) -> Result<()> {
        self.member(name)?;
        self.record.disturbances.silent.insert(name);
        self.disturb()
    }

    /// Undoes every cut, loss and silence.
    pub fn heal(&mut self) -> Result<()> {
        self.record.disturbances = Disturbances::default();
        self.disturb()
    }

    fn disturb(&self) -> Result<()> {
        self.save()?;
        self.each(|member| self.disturb_one(member))
    }

    fn disturb_one(&self, member: &Member) -> Result<()> {
        let rules = self.record.disturbances.rules(member, &self.members)?;
        member.layout.namespace().run(|| fabric::run(Command::new("nft").args(["-f", "-"]), Some(&rules)))
    }

    /// Takes every node down and the network with them; answers what had to be done by force. The nodes' state stays unless
    /// it is to be purged.
    pub fn down(self, purge: bool) -> Result<Vec<String>> {
        let forced = std::sync::Mutex::new(Vec::new());
        self.each(|member| {
            let found = guard::take_down_and_verify(&member.layout)?;
            forced
                .lock()
                .expect("no thread panics with it")
                .extend(found.into_iter().map(|one| format!("{}: {one}", member.name)));
            Ok(())
        })?;
        self.fabric()?.remove()?;
        fs::remove_file(self.dir.join("lab.json")).context("cannot remove the lab's record")?;
        if purge {
            fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))?;
        }
        Ok(forced.into_inner().expect("no thread panics with it"))
    }

    /// Does something with every node at the same time; fails with what failed first.
    pub fn each(&self, work: impl Fn(&Member) -> Result<()> + Sync) -> Result<()> {
        let results: Vec<Result<()>> = thread::scope(|scope| {
            let threads: Vec<_> = self.members.iter().map(|member| scope.spawn(|| work(member))).collect();
            threads
                .into_iter()
                .zip(&self.members)
                .map(|(thread, member)| match thread.join() {
                    Ok(result) => result.with_context(|| format!("node {}", member.name)),
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        });
        results.into_iter().collect()
    }
}
