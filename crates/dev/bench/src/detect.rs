//! F2 of the database everywhere: from a node's silence, and from its death, to the hub's verdict that it is down, beside serf on the
//! same nodes at the same time.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::{Duration, Instant},
};

use acp_dev_testkit::{varlink, wait_for};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    Setup,
    cluster::Cluster,
    figure::{Figure, Report, millis, percentile},
    programs::{Peers, Running},
};

const NODES: usize = 5;
/// Silences and deaths, each of another node than the one that judges.
const SILENCES: usize = 10;
const DEATHS: usize = 5;
/// The promise for the median, in milliseconds.
const LIMIT: f64 = 3_000.0;
/// What is not noticed by then never is.
const NOTICED_MAX: Duration = Duration::from_secs(60);
/// A node that is heard again is taken back by then.
const BACK_MAX: Duration = Duration::from_secs(120);
/// Where serf listens for others and, on loopback, for its own command.
const SERF: u16 = 7_946;
const SERF_RPC: &str = "127.0.0.1:7373";

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let mut cluster = Cluster::start(&setup.bin, NODES)?;
    let mut serf = Serf::start(setup.peers()?, &cluster)?;
    let [mut silent, mut silent_serf] = measure(&mut cluster, &mut serf, SILENCES, false)?;
    let [mut dead, mut dead_serf] = measure(&mut cluster, &mut serf, DEATHS, true)?;
    let (ours, theirs) = (percentile(&mut silent, 0.5), percentile(&mut silent_serf, 0.5));
    let (worst, theirs_worst) = (percentile(&mut silent, 1.0), percentile(&mut silent_serf, 1.0));
    let (killed, theirs_killed) = (percentile(&mut dead, 0.5), percentile(&mut dead_serf, 0.5));
    let figures = vec![
        Figure::at_most("silence to verdict, p50", ours, LIMIT, "ms"),
        Figure::shown("the same beside serf, p50", ours, theirs, "ms"),
        Figure::shown("the same, worst", worst, theirs_worst, "ms"),
        Figure::at_most("kill -9 of everything to verdict, p50", killed, LIMIT, "ms"),
        Figure::shown("the same beside serf, p50", killed, theirs_killed, "ms"),
    ];
    Ok(Report { bench: "detect", figures })
}

/// Ours and serf's times, in milliseconds.
fn measure(cluster: &mut Cluster, serf: &mut Serf<'_>, rounds: usize, kills: bool) -> Result<[Vec<f64>; 2]> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let leader = cluster.leader()?;
        // Everybody but the judge in turn.
        let node = (leader + round % (NODES - 1)) % NODES + 1;
        cluster_is(cluster, leader, node, "online", BACK_MAX)?;
        serf.is(cluster, leader, node, "alive", BACK_MAX)?;
        let since = Instant::now();
        if kills {
            serf.kill(node);
            cluster.kill(node)?;
        } else {
            cluster.silence(node)?;
        }
        let (down, failed) = std::thread::scope(|scope| {
            let failed =
                scope.spawn(|| serf.is(cluster, leader, node, "failed", NOTICED_MAX).map(|()| since.elapsed()));
            let down = cluster_is(cluster, leader, node, "down", NOTICED_MAX).map(|()| since.elapsed());
            (down, failed.join().expect("no thread panics"))
        });
        ours.push(millis(down?));
        theirs.push(millis(failed?));
        if kills {
            cluster.start_again(node)?;
            serf.begin(cluster, node)?;
        } else {
            cluster.heal()?;
        }
    }
    Ok([ours, theirs])
}

/// Waits until the leader's hub takes the node for this.
fn cluster_is(cluster: &Cluster, leader: usize, node: usize, wanted: &str, limit: Duration) -> Result<()> {
    let (socket, name) = (cluster.member(leader)?.layout.socket("hub"), format!("n{node}"));
    wait_for(&format!("{name} to be {wanted}"), limit, || {
        let listed = varlink::call(&socket, "acp.hub.ListNodes", json!({})).map_err(|error| format!("{error:#}"))?;
        let found = listed["nodes"].as_array().into_iter().flatten().find(|one| one["node"]["name"] == *name);
        let judged = found.map_or(Value::Null, |found| found["judged"].clone());
        if judged["standing"] == wanted { Ok(()) } else { Err(judged.to_string()) }
    })
}

/// An agent of serf in the namespace of each node.
struct Serf<'a> {
    peers: &'a Peers,
    dir: PathBuf,
    agents: Vec<Option<Running>>,
}

impl<'a> Serf<'a> {
    fn start(peers: &'a Peers, cluster: &Cluster) -> Result<Self> {
        let dir = cluster.dir().join("serf");
        fs::create_dir_all(&dir)?;
        // It calls those that it holds for failed every 30 s otherwise, which only makes the bench longer.
        fs::write(dir.join("config.json"), r#"{"reconnect_interval": "2s"}"#)?;
        let mut serf = Self { peers, dir, agents: (0..NODES).map(|_| None).collect() };
        for node in 1..=NODES {
            serf.begin(cluster, node)?;
        }
        Ok(serf)
    }

    fn begin(&mut self, cluster: &Cluster, node: usize) -> Result<()> {
        let at = |node: usize| Ok::<_, anyhow::Error>(format!("{}:{SERF}", cluster.member(node)?.address()));
        let mut command = self.peers.command("usr/bin/serf")?;
        let name = format!("n{node}");
        command.args(["agent", "-node", &name, "-bind", &at(node)?, "-rpc-addr", SERF_RPC, "-profile", "lan"]);
        command.arg("-config-file").arg(self.dir.join("config.json"));
        for other in (1..=NODES).filter(|other| *other != node && self.agents[other - 1].is_some()) {
            command.args(["-retry-join", &at(other)?]);
        }
        let log = File::options().create(true).append(true).open(self.dir.join(&name))?;
        command.stdout(log.try_clone()?).stderr(log);
        let agent = cluster.member(node)?.layout.namespace().run(|| Running::start(&mut command))?;
        self.agents[node - 1] = Some(agent);
        Ok(())
    }

    fn kill(&mut self, node: usize) {
        self.agents[node - 1] = None;
    }

    /// Waits until the agent of the node `by` holds the node for this.
    fn is(&self, cluster: &Cluster, by: usize, node: usize, wanted: &str, limit: Duration) -> Result<()> {
        let name = format!("n{node}");
        wait_for(&format!("serf to hold {name} for {wanted}"), limit, || {
            let status = self.status(cluster, by, &name).map_err(|error| format!("{error:#}"))?;
            if status == wanted { Ok(()) } else { Err(status) }
        })
    }

    fn status(&self, cluster: &Cluster, by: usize, name: &str) -> Result<String> {
        let mut command = self.peers.command("usr/bin/serf")?;
        command.args(["members", "-format", "json", "-rpc-addr", SERF_RPC]);
        let output = cluster.member(by)?.layout.namespace().run(|| command.output().context("serf members"))?;
        let listed: Value = serde_json::from_slice(&output.stdout).context("serf lists its members")?;
        let found = listed["members"].as_array().into_iter().flatten().find(|member| member["name"] == name);
        Ok(found.and_then(|member| member["status"].as_str()).unwrap_or("unknown").to_owned())
    }
}
