//! S2: the network is cut in two, in three, one way, and flaps.

use std::{
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{objects, process::Identity, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    five::{FAILOVER_LIMIT, Five, HOST, LIMIT, NODES, ask, groups, others},
    registers::Registers,
};
use crate::{cluster::granted, harness::Case};

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] = &[
    Case { name: "quorum::s2_a_majority_goes_on_and_a_minority_says_so_and_keeps_its_guests", run: cut_in_two },
    Case { name: "quorum::s2_cut_in_three_nobody_writes_and_all_say_so_with_age", run: three_ways },
    Case { name: "quorum::s2_cut_one_way_a_leader_gives_way_and_a_follower_unseats_nobody", run: one_way },
    Case { name: "quorum::s2_the_leadership_does_not_thrash_while_a_link_flaps", run: flapping },
];

/// How long a client in the minority waits, and how much longer the answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(2);
/// When a machine without a renewed lease is killed, counted from the last renewal, and what a busy machine adds.
const KILLED_LIMIT: Duration = Duration::from_millis(5_500 + 2_500);
/// How long a link flaps, and how long it stands and is cut each time.
const FLAPPING: Duration = Duration::from_secs(12);
const FLAP: Duration = Duration::from_millis(500);
/// Terms that may begin while a link flaps.
const TERMS_MAX: u64 = 3;
/// How long a hub may take for well that hears nobody any more, and what a busy machine adds.
const NOTICED_LIMIT: Duration = Duration::from_secs(6 + 3);
/// How old what a node hears of the control plane is at most before a cut.
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(5);
/// The guests: one that its node runs without asking, and one that needs a lease.
const PINNED: &str = "pinned";
pub(super) const FLOATING: &str = "floating";

fn cut_in_two(five: &Five) -> Result<()> {
    let guests = Guests::start(five)?;
    let leader = five.leader()?;
    let second = others(&[leader, HOST])[0];
    let minority = if leader == HOST { vec![HOST, second] } else { vec![HOST, leader] };
    let majority = others(&minority);
    let registers = Registers::declare(five)?;
    registers.beside(|registers| {
        registers.wait_acknowledged(LIMIT)?;
        five.cut(&groups(&[&minority, &majority]))?;
        let at = Instant::now();
        let took = registers.wait_acknowledged(LIMIT)?;
        ensure!(took <= FAILOVER_LIMIT, "the majority went on after {took:?}");
        guests.floating_is_killed(five, at)?;
        minority.iter().try_for_each(|node| says_so(five, *node))?;
        guests.pinned_is_under_control(five)?;
        five.heal()?;
        minority.iter().try_for_each(|node| five.wait_degraded(*node, false))
    })?;
    registers.judge()?;
    registers.delete()?;
    guests.end(five)
}

/// It answers reads from what it has, and says at once that it cannot do more.
fn says_so(five: &Five, node: usize) -> Result<()> {
    five.wait_degraded(node, true)?;
    let mut connection = five.connect(node)?;
    let own = json!({ "kind": "node", "name": format!("n{node}") });
    granted(ask(&mut connection, PATIENCE, "acp.cluster.Get", &own)?).context("a read of what is there")?;
    let newest = json!({ "kind": "node", "name": "n1", "linearizable": true });
    let name = format!("lost-{node}");
    let pool = json!({ "kind": "pool", "name": name, "spec": { "driver": "directory", "node": format!("n{node}") } });
    for (method, asked) in [("acp.cluster.Get", newest), ("acp.cluster.Create", pool)] {
        let started = Instant::now();
        let refused = ask(&mut connection, PATIENCE, method, &asked)?;
        let Err(refused) = refused else { anyhow::bail!("{method} was granted to n{node}, in a minority") };
        let honest = ["Unavailable", "DeadlineExceeded"].contains(&refused.code.as_str());
        ensure!(honest, "{method} on n{node} ended with {refused:?}");
        ensure!(started.elapsed() <= PATIENCE + GRACE, "{method} on n{node} took {:?}", started.elapsed());
    }
    Ok(())
}

/// Two guests on one node, from outside.
pub(super) struct Guests {
    pinned: Identity,
    floating: Identity,
}

impl Guests {
    pub(super) fn start(five: &Five) -> Result<Self> {
        let start = |name: &str, more: &[&str]| -> Result<Identity> {
            let create = ["system", "create", name, "--image", "demo", "--memory", "64MiB", "--wait"];
            five.run(HOST, &[&create[..], more].concat())?;
            five.run(HOST, &["system", "start", name, "--wait"])?;
            qemu(five, name)
        };
        let guests = Self { pinned: start(PINNED, &[])?, floating: start(FLOATING, &["--floating"])? };
        let leases = five.json(1, &["lease", "list"])?;
        ensure!(leases.to_string().contains(FLOATING), "nobody has a lease: {leases}");
        ensure!(!leases.to_string().contains(PINNED), "a pinned system has a lease: {leases}");
        Ok(guests)
    }

    /// Whoever grants the lease to another node next does so only after its guest is gone.
    fn floating_is_killed(&self, five: &Five, cut_at: Instant) -> Result<()> {
        let left = KILLED_LIMIT.saturating_sub(cut_at.elapsed());
        wait_for("the floating guest to be ended", left, || {
            if self.floating.is_alive() { Err("it runs") } else { Ok(()) }
        })?;
        ensure!(self.pinned.is_alive(), "the pinned guest was ended on n{HOST}");
        five.status(HOST).map(drop)
    }

    fn pinned_is_under_control(&self, five: &Five) -> Result<()> {
        let shown = five.json(HOST, &["system", "show", PINNED])?;
        ensure!(shown["status"]["state"] == "running", "the pinned guest is {}", shown["status"]);
        five.run(HOST, &["--yes", "system", "stop", PINNED, "--wait"])?;
        ensure!(!self.pinned.is_alive(), "it was stopped and runs");
        five.run(HOST, &["system", "start", PINNED, "--wait"]).map(drop)
    }

    /// Neither was ended.
    pub(super) fn run_on(&self) -> Result<()> {
        ensure!(self.pinned.is_alive() && self.floating.is_alive(), "a guest was ended");
        Ok(())
    }

    pub(super) fn end(self, five: &Five) -> Result<()> {
        for name in [PINNED, FLOATING] {
            five.run(HOST, &["--yes", "system", "stop", name, "--wait"])?;
            five.run(HOST, &["--yes", "system", "delete", name, "--wait"])?;
        }
        Ok(())
    }
}

/// The process of a guest.
fn qemu(five: &Five, name: &str) -> Result<Identity> {
    let shown = objects::find(&five.member(HOST).layout, "system", name)?.context("the guest is declared")?;
    let uid = shown["uid"].as_str().context("a system has a uid")?.replace('-', "");
    five.unit(HOST, &format!("qemu@{uid}"))
}

/// No side has a majority: nobody is elected, nothing is acknowledged, and afterwards everything is there that was.
fn three_ways(five: &Five) -> Result<()> {
    let before = five.quorum(five.leader()?)?.term;
    let registers = Registers::declare(five)?;
    registers.beside(|registers| {
        registers.wait_acknowledged(LIMIT)?;
        five.cut("n1,n2|n3,n4|n5")?;
        let at = Instant::now();
        thread::scope(|scope| {
            let looks =
                NODES.map(|node| scope.spawn(move || says_so(five, node).and_then(|()| tells_age(five, node, at))));
            looks.into_iter().try_for_each(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        for node in NODES {
            let term = five.quorum(node)?.term;
            ensure!(term == before, "n{node} is in term {term}, and nobody could be elected after {before}");
        }
        five.heal()?;
        let took = registers.wait_acknowledged(LIMIT)?;
        ensure!(took <= FAILOVER_LIMIT, "writes were out for {took:?} after the cut");
        NODES.into_iter().try_for_each(|node| five.wait_degraded(node, false))
    })?;
    let after = five.quorum(five.leader()?)?.term;
    ensure!(after <= before + TERMS_MAX, "{} terms began after the cut", after - before);
    registers.judge()?;
    registers.delete()
}

/// What it answers from what it has is as old as the cut, and it says how old.
fn tells_age(five: &Five, node: usize, cut_at: Instant) -> Result<()> {
    let cut_off = cut_at.elapsed();
    let ages = [
        ("members", five.call(node, "agent", "acp.agent.ListMembers", json!({}))?["age_ms"].take()),
        ("objects", five.status(node)?["heard_ms"].take()),
    ];
    for (what, age) in ages {
        let age = age.as_u64().map(Duration::from_millis).with_context(|| format!("no age of {what} on n{node}"))?;
        let is_right = age + NOTICED_LIMIT >= cut_off && age <= cut_at.elapsed() + KEEP_ALIVE_PERIOD;
        ensure!(is_right, "n{node} was cut off {cut_off:?} ago and has {what} of {age:?} ago");
    }
    let said = five.acpctl(node, &["cluster", "status"])?;
    let is_told = said.stdout.contains("database is degraded: ") && said.stdout.contains("last heard");
    ensure!(is_told, "`cluster status` of n{node} says {said:?}");
    Ok(())
}

/// Packets of one direction are dropped: by turns what the leader says, what it is told, and both of a follower.
fn one_way(five: &Five) -> Result<()> {
    let registers = Registers::declare(five)?;
    registers.beside(|registers| {
        registers.wait_acknowledged(LIMIT)?;
        for is_deaf in [false, true] {
            leader_one_way(five, registers, is_deaf).with_context(|| format!("a leader, deaf: {is_deaf}"))?;
        }
        followers_one_way(five, registers)
    })?;
    registers.judge()?;
    registers.delete()
}

/// Nothing reaches this node, or nothing that it says arrives.
fn cut_one_way(five: &Five, node: usize, is_deaf: bool) -> Result<()> {
    let (own, rest) = (groups(&[&[node]]), groups(&[&others(&[node])]));
    five.cut(&if is_deaf { format!("{rest}>{own}") } else { format!("{own}>{rest}") })
}

fn leader_one_way(five: &Five, registers: &Registers<'_>, is_deaf: bool) -> Result<()> {
    let leader = five.leader()?;
    let before = five.quorum(leader)?.term;
    cut_one_way(five, leader, is_deaf)?;
    let took = registers.wait_acknowledged(LIMIT)?;
    ensure!(took <= FAILOVER_LIMIT, "writes were out for {took:?}");
    let after = five.quorum(five.leader()?)?.term;
    ensure!(after > before, "n{leader} leads on in term {after}");
    ensure!(after <= before + TERMS_MAX, "{} terms began after one cut", after - before);
    five.heal()?;
    five.wait_degraded(leader, false)
}

/// One of them hears nothing, another one is not heard.
fn followers_one_way(five: &Five, registers: &Registers<'_>) -> Result<()> {
    let leader = five.leader()?;
    let before = five.quorum(leader)?.term;
    let (deaf, mute) = (others(&[leader])[0], others(&[leader])[1]);
    cut_one_way(five, deaf, true)?;
    cut_one_way(five, mute, false)?;
    five.wait_degraded(deaf, true)?;
    five.wait_degraded(mute, true)?;
    let took = registers.wait_acknowledged(LIMIT)?;
    ensure!(took <= FAILOVER_LIMIT, "writes were out for {took:?}");
    five.heal()?;
    five.wait_degraded(deaf, false)?;
    five.wait_degraded(mute, false)?;
    let now = five.quorum(leader)?;
    ensure!(now.term == before, "{} terms began", now.term - before);
    Ok(())
}

/// Waits until a write through this node is acknowledged.
pub(super) fn wait_writes(five: &Five, node: usize, limit: Duration) -> Result<()> {
    let uid = own_uid(five, node)?;
    wait_for(&format!("a write through n{node}"), limit, || {
        let mut connection = five.connect(node).map_err(|error| format!("{error:#}"))?;
        let patch = json!({ "description": format!("written through n{node}") });
        let asked = json!({ "kind": "node", "uid": uid, "patch": patch });
        match ask(&mut connection, PATIENCE, "acp.cluster.Update", &asked) {
            Ok(Ok(_done)) => Ok(()),
            Ok(Err(refused)) => Err(format!("{refused:?}")),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}

/// The id of a node's own object.
fn own_uid(five: &Five, node: usize) -> Result<Value> {
    let asked = json!({ "kind": "node", "name": format!("n{node}") });
    Ok(five.call(node, "cluster", "acp.cluster.Get", asked)?["object"]["uid"].take())
}

fn flapping(five: &Five) -> Result<()> {
    let leader = five.leader()?;
    let follower = others(&[leader])[0];
    let before = five.quorum(leader)?.term;
    let registers = Registers::declare(five)?;
    registers.beside(|registers| {
        let started = Instant::now();
        while started.elapsed() < FLAPPING {
            five.cut(&groups(&[&[leader], &[follower]]))?;
            thread::park_timeout(FLAP);
            five.heal()?;
            thread::park_timeout(FLAP);
            let took = registers.wait_acknowledged(FAILOVER_LIMIT)?;
            ensure!(took <= FAILOVER_LIMIT, "writes were out for {took:?}");
        }
        Ok(())
    })?;
    let after = five.quorum(five.leader()?)?.term;
    ensure!(after <= before + TERMS_MAX, "{} terms began while a link flapped", after - before);
    registers.judge()?;
    registers.delete()
}
