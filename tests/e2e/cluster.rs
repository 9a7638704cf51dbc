//! A cluster of three nodes in a lab, and what cases ask of it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_dev_lab::{Lab, Member, Plan};
use acp_dev_testkit::{
    Layout,
    node::{self, Said},
    objects,
    process::Identity,
    terminal::Terminal,
    varlink::{self, Conversation},
    wait_for,
};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    harness::Stage,
    world::{BOOT_LIMIT, LIMIT, World, keep_logs, programs},
};

/// A node of the cluster: n1 is its first and has the guest; all three vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    N1,
    N2,
    N3,
}

impl At {
    pub(crate) const ALL: [Self; 3] = [Self::N1, Self::N2, Self::N3];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::N1 => "n1",
            Self::N2 => "n2",
            Self::N3 => "n3",
        }
    }
}

/// The guest's name.
pub(crate) const GUEST: &str = "web";
/// The port of agents.
pub(crate) const AGENT_PORT: u16 = 9_932;

/// Where the programs of an earlier version lie, if the first node of a lab, which founds the cluster at their feature level, and
/// every second one from there are to run them: `cargo xtask soak mixed`.
const SECOND_BIN: &str = "ACP_E2E_SECOND_BIN";

/// A lab of so many nodes in this directory, each with programs of the lab's own: a build beside it changes nothing.
pub(crate) fn plan(dir: &Path, nodes: u8) -> Result<Plan> {
    let (bin, second) = (dir.join("bin"), dir.join("second-bin"));
    let earlier = std::env::var_os(SECOND_BIN).map(fs::canonicalize).transpose()?;
    let present = fs::canonicalize(programs())?;
    node::install(earlier.as_ref().unwrap_or(&present), &bin)?;
    let second_bin = earlier.map(|_earlier| node::install(&present, &second).map(|()| second)).transpose()?;
    Ok(Plan { nodes, domains: 1, voters: None, bin, second_bin })
}

/// The cluster, with pool and network `default` and the image `demo` on n1.
pub(crate) struct Cluster {
    lab: Mutex<Lab>,
    members: Vec<Member>,
    dir: PathBuf,
}

/// Keeps the logs of these nodes for a case that failed, and answers the most of them.
pub(crate) fn kept(members: &[Member], case: &str) -> String {
    let of = |member: &Member| keep_logs(&member.layout, &format!("{}-{}", case.replace("::", "-"), member.name));
    members.iter().map(of).collect::<Vec<_>>().join("\n")
}

/// A call that was answered with an error.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// The code's name, like `PermissionDenied`.
    pub(crate) code: String,
    pub(crate) message: String,
    /// Whether the same call may succeed later.
    pub(crate) retry: String,
    /// Whether anything was changed: `none` if not.
    pub(crate) changed: String,
}

/// What a call came to.
pub(crate) type Answer = Result<Value, Refused>;

/// What a reply of a daemon says.
pub(crate) fn answer(mut reply: Value) -> Answer {
    let Some(error) = reply["error"].as_str().map(str::to_owned) else { return Ok(reply["parameters"].take()) };
    let said = |key: &str| reply["parameters"][key].as_str().unwrap_or_default().to_owned();
    let code = error.strip_prefix("acp.error.").unwrap_or(&error).to_owned();
    Err(Refused { code, message: said("message"), retry: said("retry"), changed: said("changed") })
}

/// The answer of a call that has to succeed.
pub(crate) fn granted(answer: Answer) -> Result<Value> {
    answer.map_err(|refused| anyhow::anyhow!("refused: {}: {}", refused.code, refused.message))
}

/// The refusal of a call that has to be refused with this code.
pub(crate) fn denied(answer: Answer, code: &str) -> Result<Refused> {
    match answer {
        Err(refused) if refused.code == code => Ok(refused),
        other => bail!("{other:?} and not {code}"),
    }
}

impl Cluster {
    fn lab(&self) -> MutexGuard<'_, Lab> {
        self.lab.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node.
    pub(crate) fn member(&self, at: At) -> &Member {
        &self.members[at as usize]
    }

    /// A node's places.
    pub(crate) fn layout(&self, at: At) -> &Layout {
        &self.member(at).layout
    }

    /// The programs that all nodes run.
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// A directory for a case's own files.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join("scratch").join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Runs `acpctl` on a node.
    pub(crate) fn acpctl(&self, at: At, arguments: &[&str]) -> Result<Said> {
        node::acpctl(self.layout(at), arguments)
    }

    /// Runs `acpctl` on a node, which has to succeed.
    pub(crate) fn run(&self, at: At, arguments: &[&str]) -> Result<String> {
        node::run(self.layout(at), arguments).with_context(|| format!("on {}", at.name()))
    }

    /// Runs `acpctl -o json` on a node, which has to succeed.
    pub(crate) fn json(&self, at: At, arguments: &[&str]) -> Result<Value> {
        let text = self.run(at, &[&["-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{arguments:?} printed {text:?}"))
    }

    /// Calls a method of a daemon of a node, through its own socket.
    pub(crate) fn call(&self, at: At, noun: &str, method: &str, parameters: Value) -> Result<Value> {
        varlink::call(&self.layout(at).socket(noun), method, parameters)
    }

    /// What a node's agent says of itself.
    pub(crate) fn status(&self, at: At) -> Result<Value> {
        self.call(at, "agent", "acp.agent.GetStatus", json!({}))
    }

    /// The key of a node's root for the other nodes.
    pub(crate) fn root_key(&self, at: At) -> Result<String> {
        let path = self.status(at)?["root_key_path"].as_str().context("an agent names root's key")?.to_owned();
        Ok(fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?.trim().to_owned())
    }

    /// Asks a node's agent for a conversation: it is with the service that was asked for if that is granted.
    pub(crate) fn ask_to_open(&self, at: At, asked: &Value) -> Result<Result<Conversation, Refused>> {
        let mut conversation = Conversation::open(&self.layout(at).socket("agent"))?;
        conversation.send(&json!({ "method": "acp.agent.Open", "parameters": asked, "upgrade": true }))?;
        let reply = conversation.receive()?.context("the agent hung up instead of answering Open")?;
        Ok(answer(reply).map(|_opened| conversation))
    }

    /// A conversation with a service of another node, with the key of this node's root.
    pub(crate) fn open(&self, at: At, to: At, service: &str) -> Result<Conversation> {
        let asked = json!({ "service": service, "node": to.name(), "key": self.root_key(at)? });
        let opened = self.ask_to_open(at, &asked)?;
        opened.map_err(|refused| anyhow::anyhow!("Open was refused: {}: {}", refused.code, refused.message))
    }

    /// The main process of a unit.
    pub(crate) fn unit(&self, at: At, unit: &str) -> Result<Identity> {
        node::unit_process(self.layout(at), unit)
    }

    /// What a unit has logged so far.
    pub(crate) fn log(&self, at: At, unit: &str) -> Result<String> {
        let path = self.layout(at).log().join(format!("{unit}.log"));
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The sum of a daemon's samples whose line begins with this and has all of these words.
    pub(crate) fn metric(&self, at: At, noun: &str, name: &str, words: &[&str]) -> Result<f64> {
        let reply = self.call(at, noun, "acp.daemon.GetMetrics", json!({}))?;
        let text = reply["text"].as_str().context("metrics are text")?;
        let lines = text.lines().filter(|line| line.starts_with(name) && words.iter().all(|word| line.contains(word)));
        lines.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
    }

    /// Lets no packet through between these groups.
    pub(crate) fn cut(&self, groups: &str) -> Result<()> {
        self.lab().cut(groups)
    }

    /// Undoes every cut.
    pub(crate) fn heal(&self) -> Result<()> {
        self.lab().heal()
    }

    /// Kills everything of all nodes at once and starts them again.
    pub(crate) fn lose_power(&self) -> Result<()> {
        let lab = self.lab();
        lab.each(|member| lab.kill(member.name, None))?;
        lab.each(|member| lab.start(member.name))
    }

    /// Waits until all nodes are ready, hear the control plane and vote.
    pub(crate) fn wait_united(&self) -> Result<()> {
        let lab = self.lab();
        wait_for("all nodes to be one cluster", LIMIT, || match lab.is_united() {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.states()),
            Err(error) => Err(format!("{error:#}")),
        })
    }

    fn states(&self) -> String {
        let state = |at: &At| {
            let status = self.status(*at).map_or_else(|error| format!("{error:#}"), |status| status.to_string());
            let ready = self.acpctl(*at, &["status"]).map_or(-1, |said| said.status);
            format!("{}: status {ready}, {status}", at.name())
        };
        At::ALL.iter().map(state).collect::<Vec<_>>().join("\n")
    }

    /// The guest on n1, booted when it is asked for the first time.
    pub(crate) fn guest(&self) -> Result<Guest> {
        let layout = self.layout(At::N1);
        if objects::find(layout, "system", GUEST)?.is_none() {
            node::run(layout, &["system", "create", GUEST, "--image", "demo", "--network", "default", "--wait"])?;
        }
        node::run(layout, &["system", "start", GUEST, "--wait"])?;
        wait_for("the guest to greet", BOOT_LIMIT, || {
            let console = node::run(layout, &["system", "log", GUEST]).map_err(|error| format!("{error:#}"))?;
            if console.contains("Welcome to ACP: web is up at ") { Ok(()) } else { Err(console) }
        })?;
        let shown = objects::find(layout, "system", GUEST)?.context("the guest is declared")?;
        let uid = shown["uid"].as_str().context("a system has a uid")?.replace('-', "");
        Ok(Guest { qemu: self.unit(At::N1, &format!("qemu@{uid}"))?, instance: uid })
    }

    /// The guest's console as a person on a node has it.
    pub(crate) fn console(&self, at: At) -> Result<Terminal> {
        let run_dir = self.layout(at).run();
        let environment = [("ACP_RUN_DIR", run_dir.to_str().unwrap_or_default()), ("TERM", "xterm")];
        let words: &[&str] = &["--node", "n1", "system", "console", GUEST];
        let mut console = Terminal::run(&self.bin().join("acpctl"), words, &environment)?;
        console.wait_for_text("Welcome to ACP", LIMIT)?;
        Ok(console)
    }

    /// Every object of a kind that is on a node, by name.
    pub(crate) fn names(&self, at: At, kind: &str) -> Result<Vec<String>> {
        let listed = self.json(at, &[kind, "list"])?;
        let objects = listed.as_array().context("no list of objects")?;
        let own = objects.iter().filter(|object| object["spec"]["node"] == at.name());
        Ok(own.filter_map(|object| object["name"].as_str().map(str::to_owned)).collect())
    }
}

/// The guest from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    qemu: Identity,
    /// The instance of its units.
    pub(crate) instance: String,
}

impl Guest {
    /// The same process runs on, and its node knows it.
    pub(crate) fn is_unaffected(&self, cluster: &Cluster) -> Result<()> {
        ensure!(self.qemu.is_alive(), "the guest's QEMU has ended");
        let shown = cluster.json(At::N1, &["system", "show", GUEST])?;
        ensure!(shown["status"]["state"] == "running", "the guest is said to be {}", shown["status"]);
        ensure!(
            shown["status"]["pid"] == self.qemu.pid,
            "another process is said to be the guest: {}",
            shown["status"]
        );
        Ok(())
    }
}

/// Types until the guest has computed the answer: what is typed while a console attaches again is lost.
pub(crate) fn console_answers(console: &mut Terminal, word: &str, number: u32) -> Result<()> {
    let answer = format!("{word}-{}", number + 2);
    wait_for("the console to answer", LIMIT, || {
        let typed = console.write(format!("\recho {word}-$(({number}+2))\r").as_bytes());
        let look = Duration::from_millis(500);
        typed.and_then(|()| console.wait_for_text(&answer, look)).map_err(|error| format!("{error:#}"))
    })
}

impl Stage for Cluster {
    const NAME: &'static str = "the lab";
    const LEAVES_NOTHING: &'static str = "the lab leaves nothing behind";
    const IS_REPLACED: bool = true;

    fn start() -> Result<Self> {
        let dir = PathBuf::from(format!("/tmp/acp-lab-{}", std::process::id()));
        let lab = Lab::plan(&dir, plan(&dir, 3)?)?;
        let cluster = Self { members: lab.members().to_vec(), lab: Mutex::new(lab), dir };
        let begun = cluster.begin();
        if let Err(error) = begun {
            println_evidence(&cluster.evidence("start"));
            cluster.end().with_context(|| format!("after {error:#}"))?;
            return Err(error);
        }
        Ok(cluster)
    }

    /// Whatever a case before has left disturbed is mended, so that its failure stays its own.
    fn before(&self) -> Result<()> {
        self.heal()?;
        self.begin()?;
        self.wait_united()
    }

    fn end(self) -> Result<()> {
        let forced = self.lab.into_inner().unwrap_or_else(PoisonError::into_inner).down(false)?;
        let evidence = || kept(&self.members, "nodes::end");
        ensure!(forced.is_empty(), "the nodes did not stop by themselves: {}\n{}", forced.join("; "), evidence());
        fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))
    }

    fn evidence(&self, case: &str) -> String {
        kept(&self.members, case)
    }
}

impl Cluster {
    /// Makes whatever the cluster lacks.
    fn begin(&self) -> Result<()> {
        let image = fs::canonicalize(World::image_path())?;
        let lab = self.lab();
        lab.wire()?;
        lab.each(|member| lab.start(member.name))?;
        lab.unite()?;
        objects::equip(self.layout(At::N1), image.to_str().context("the image's path is no UTF-8")?).map(drop)
    }
}

#[expect(clippy::print_stdout, reason = "what a test runner says is its result")]
fn println_evidence(evidence: &str) {
    println!("{evidence}");
}
