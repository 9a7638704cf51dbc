//! A cluster of five nodes, all of them voters, and what cases ask of it.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use acp_dev_lab::{Lab, Member, MemberName, Plan, Quorum, quorum_of};
use acp_dev_testkit::{
    node::{self, Said},
    objects,
    process::Identity,
    varlink::{self, Conversation},
    wait_for,
};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{Answer, answer, kept, metric, plan},
    harness::Stage,
    world::World,
};

/// Nodes, n1 to n5, named by their numbers.
pub(crate) const NODES: [usize; 5] = [1, 2, 3, 4, 5];
/// The node with the demo image, on which guests run.
pub(crate) const HOST: usize = 5;
/// How long anything may take that is not promised in seconds: builds and other nodes run beside.
pub(crate) const LIMIT: Duration = Duration::from_secs(45);
/// How long a control plane may be without a leader after it has lost one: the promise is 3 s, on a machine to itself.
pub(crate) const FAILOVER_LIMIT: Duration = Duration::from_secs(10);

/// The cluster.
pub(crate) struct Five {
    lab: Mutex<Lab>,
    members: Vec<Member>,
    dir: PathBuf,
}

/// The name of a node by its number.
pub(crate) fn name(number: usize) -> Result<MemberName> {
    format!("n{number}").parse()
}

/// The groups as a cut is written: `n1|n2,n3`.
pub(crate) fn groups(groups: &[&[usize]]) -> String {
    let names = |group: &&[usize]| group.iter().map(|number| format!("n{number}")).collect::<Vec<_>>().join(",");
    groups.iter().map(names).collect::<Vec<_>>().join("|")
}

/// All nodes but these.
pub(crate) fn others(than: &[usize]) -> Vec<usize> {
    NODES.into_iter().filter(|number| !than.contains(number)).collect()
}

impl Five {
    pub(crate) fn lab(&self) -> MutexGuard<'_, Lab> {
        self.lab.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node.
    pub(crate) fn member(&self, number: usize) -> &Member {
        &self.members[number - 1]
    }

    /// A directory for a case's own files.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join("scratch").join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Runs `acpctl` on a node.
    pub(crate) fn acpctl(&self, number: usize, arguments: &[&str]) -> Result<Said> {
        node::acpctl(&self.member(number).layout, arguments)
    }

    /// Runs `acpctl` on a node, which has to succeed.
    pub(crate) fn run(&self, number: usize, arguments: &[&str]) -> Result<String> {
        node::run(&self.member(number).layout, arguments).with_context(|| format!("on n{number}"))
    }

    /// Runs `acpctl -o json` on a node, which has to succeed.
    pub(crate) fn json(&self, number: usize, arguments: &[&str]) -> Result<Value> {
        let text = self.run(number, &[&["-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{arguments:?} printed {text:?}"))
    }

    /// Calls a method of a daemon of a node, which has to succeed.
    pub(crate) fn call(&self, number: usize, noun: &str, method: &str, parameters: Value) -> Result<Value> {
        varlink::call(&self.member(number).layout.socket(noun), method, parameters)
    }

    /// The main process of a unit of a node.
    pub(crate) fn unit(&self, number: usize, unit: &str) -> Result<Identity> {
        node::unit_process(&self.member(number).layout, unit)
    }

    /// A connection to the cluster service of a node.
    pub(crate) fn connect(&self, number: usize) -> Result<Conversation> {
        Conversation::open(&self.member(number).layout.socket("cluster"))
    }

    /// What the cluster service of a node says of itself.
    pub(crate) fn status(&self, number: usize) -> Result<Value> {
        self.call(number, "cluster", "acp.cluster.GetStatus", json!({}))
    }

    /// The sum of a daemon's samples whose line begins with this and has this word.
    pub(crate) fn metric(&self, number: usize, noun: &str, name: &str, word: &str) -> Result<f64> {
        metric(&self.member(number).layout, noun, name, &[word])
    }

    /// What the hub of a node says of the voters.
    pub(crate) fn quorum(&self, number: usize) -> Result<Quorum> {
        quorum_of(self.member(number))
    }

    /// The node that leads, or will within the limit.
    pub(crate) fn leader(&self) -> Result<usize> {
        wait_for("a leader", LIMIT, || {
            let quorum = self.lab().quorum().map_err(|error| format!("{error:#}"))?;
            let name = quorum.leader.clone().unwrap_or_default();
            NODES.into_iter().find(|number| name == format!("n{number}")).ok_or_else(|| format!("{quorum:?}"))
        })
    }

    /// Has a node lead. Whoever was started a moment ago may have to be asked twice: the others do not hear it yet.
    pub(crate) fn hand_over_to(&self, number: usize) -> Result<()> {
        wait_for(&format!("n{number} to be asked to lead"), LIMIT, || {
            self.run(1, &["hub", "transfer", &format!("n{number}")]).map_err(|error| format!("{error:#}"))
        })?;
        ensure!(self.leader()? == number, "n{number} does not lead");
        Ok(())
    }

    /// Kills everything of a node.
    pub(crate) fn kill(&self, number: usize) -> Result<()> {
        self.lab().kill(name(number)?, None)
    }

    /// Starts a node again and waits until it is ready.
    pub(crate) fn start_again(&self, number: usize) -> Result<()> {
        self.lab().start(name(number)?)
    }

    /// Lets no packet through between these groups.
    pub(crate) fn cut(&self, groups: &str) -> Result<()> {
        self.lab().cut(groups)
    }

    /// Undoes every cut.
    pub(crate) fn heal(&self) -> Result<()> {
        self.lab().heal()
    }

    /// Waits until a node says that it is cut off, or that it is not any more.
    pub(crate) fn wait_degraded(&self, number: usize, is_degraded: bool) -> Result<()> {
        let what = format!("n{number} to {} degraded", if is_degraded { "be" } else { "be no longer" });
        wait_for(&what, LIMIT, || match self.status(number) {
            Ok(status) if status["degraded"].as_str().is_some_and(|why| why.is_empty() != is_degraded) => Ok(()),
            other => Err(format!("{other:?}")),
        })
    }

    /// Waits until all nodes have the same log, and looks whether its chain verifies on each.
    pub(crate) fn wait_agreed(&self) -> Result<()> {
        wait_for("all nodes to have the same log", LIMIT, || {
            let positions = NODES.map(|number| self.position(number));
            let all = positions.iter().map(|position| position.as_ref().map_err(|error| format!("{error:#}")));
            let all = all.collect::<Result<Vec<_>, _>>()?;
            if all.windows(2).all(|pair| pair[0] == pair[1]) { Ok(()) } else { Err(format!("{all:?}")) }
        })?;
        for number in NODES {
            let verified = self.call(number, "cluster", "acp.cluster.VerifyLog", json!({}))?;
            ensure!(verified["broken_at"].is_null(), "the chain of n{number} is broken: {verified}");
        }
        Ok(())
    }

    /// Where a node's log ends: epoch, index, hash.
    fn position(&self, number: usize) -> Result<[String; 3]> {
        let status = self.status(number)?;
        ensure!(status["stalled"] == "", "n{number} does not apply: {status}");
        Ok(["epoch", "index", "hash"].map(|key| status[key].to_string()))
    }

    /// The cluster, in a lab of so many domains.
    pub(crate) fn stand(domains: u8) -> Result<Self> {
        // Two of them can stand beside each other.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/tmp/acp-five-{}-{number}", std::process::id()));
        let lab = Lab::plan(&dir, Plan { domains, ..plan(&dir, 5)? })?;
        let five = Self { members: lab.members().to_vec(), lab: Mutex::new(lab), dir };
        if let Err(error) = five.begin() {
            let evidence = five.evidence("quorum::start");
            five.end().with_context(|| format!("after {error:#}"))?;
            return Err(error.context(evidence));
        }
        Ok(five)
    }

    /// Undoes what was done to the nodes and the network.
    pub(crate) fn mend(&self) -> Result<()> {
        self.heal()?;
        self.lab().each(|member| node::freeze(&member.layout, false).or_else(|_never_started| Ok(())))?;
        self.begin()
    }

    /// Makes whatever the cluster lacks.
    fn begin(&self) -> Result<()> {
        let lab = self.lab();
        lab.wire()?;
        lab.each(|member| lab.start(member.name))?;
        lab.unite()?;
        drop(lab);
        self.equip(HOST)
    }

    /// Gives a node what systems need, as far as it lacks it.
    pub(crate) fn equip(&self, number: usize) -> Result<()> {
        let image = fs::canonicalize(World::image_path())?;
        objects::equip(&self.member(number).layout, image.to_str().context("the image's path is no UTF-8")?).map(drop)
    }
}

/// Calls a method on an open connection with this much patience.
pub(crate) fn ask(
    conversation: &mut Conversation,
    patience: Duration,
    method: &str,
    parameters: &Value,
) -> Result<Answer> {
    let deadline = u64::try_from(patience.as_millis())?;
    conversation
        .send(&json!({ "method": method, "parameters": parameters, "acp.ctx": { "deadline_ms": deadline } }))?;
    Ok(answer(conversation.receive()?.with_context(|| format!("no answer to {method}"))?))
}

impl Stage for Five {
    const NAME: &'static str = "the lab of five";
    const LEAVES_NOTHING: &'static str = "the lab of five leaves nothing behind";
    const IS_REPLACED: bool = true;

    fn start() -> Result<Self> {
        Self::stand(1)
    }

    /// Whatever a case before has left disturbed is mended, so that its failure stays its own.
    fn before(&self) -> Result<()> {
        self.mend()?;
        self.wait_agreed()
    }

    fn end(self) -> Result<()> {
        let forced = self.lab.into_inner().unwrap_or_else(PoisonError::into_inner).down(false)?;
        let evidence = || kept(&self.members, "quorum::end");
        ensure!(forced.is_empty(), "the nodes did not stop by themselves: {}\n{}", forced.join("; "), evidence());
        fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))
    }

    fn evidence(&self, case: &str) -> String {
        kept(&self.members, case)
    }
}
