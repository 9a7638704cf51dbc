//! F6 of the quorum: what the sessions of 1,000 nodes take from the leader: the processor's time of its table and of its messages,
//! and the bytes of those.
//!
//! Deliberately not here: the links that carry them. A thousand nodes would be a thousand processes; what a call over a link costs
//! is `remote-call`'s figure.

use std::time::Duration;

use acp_base::{BootInstant, Uid};
use acp_core_lease::{Claims, Fact, Sessions, Timing};
use acp_wire_model::entry::LeaseAct;
use anyhow::{Context as _, Result, ensure};

use crate::{
    cpu,
    figure::{Figure, Report, megabytes, micros},
};

/// Nodes, and systems that each runs under a lease.
const NODES: u128 = 1_000;
const SYSTEMS: u128 = 10;
/// Renewals of all nodes that are measured, after one in which everything is granted.
const ROUNDS: u32 = 50;

/// Measures it.
pub fn run() -> Result<Report> {
    let timing = Timing::DEFAULT;
    let mut now = BootInstant::from_millis(1_000_000);
    let mut sessions = Sessions::new_leader(now, timing);
    let mut facts = std::collections::BTreeMap::<Uid, Fact>::new();
    let mut nodes: Vec<(Uid, Claims)> = (0..NODES).map(node).collect::<Result<_>>()?;
    let (mut bytes, mut spent, mut renewals) = (0_u64, Duration::ZERO, 0_u32);
    for round in 0..=ROUNDS {
        now = now + timing.renewal();
        for (uid, claims) in &mut nodes {
            let request = serde_json::to_vec(&claims.request(1, now))?;
            let before = cpu::of_thread()?;
            let asked = serde_json::from_slice(&request)?;
            let renewal = sessions.renew(*uid, &asked, now, now, |system| facts.get(&system).copied())?;
            renewal.acts().iter().for_each(|(system, act)| apply(&mut facts, *system, act));
            let reply = renewal.reply(|system| facts.get(&system).copied(), |node| node.to_string());
            let reply = serde_json::to_vec(&reply)?;
            if round > 0 {
                spent += cpu::of_thread()?.saturating_sub(before);
                bytes += (request.len() + reply.len()) as u64;
                renewals += 1;
            }
            claims.answered(&serde_json::from_slice(&reply)?, now)?;
        }
        let before = cpu::of_thread()?;
        let expired = sessions.expired(now, facts.clone());
        spent += cpu::of_thread()?.saturating_sub(before);
        ensure!(expired.is_empty(), "leases of nodes that renew were taken: {}", expired.len());
    }
    ensure!(facts.values().all(|fact| fact.holder.is_some()), "not every lease was granted");
    let seconds = timing.renewal().as_secs_f64() * f64::from(ROUNDS);
    let each = spent.checked_div(renewals).context("there were renewals")?;
    let figures = vec![
        Figure::measured("a renewal of 10 leases, cpu", micros(each), "us"),
        Figure::measured("1,000 sessions, cpu", 100.0 * spent.as_secs_f64() / seconds, "percent"),
        Figure::measured("1,000 sessions, both ways", megabytes(bytes) / seconds, "MB/s"),
    ];
    Ok(Report { bench: "lease-load", figures })
}

/// A node that wants to run its systems.
fn node(number: u128) -> Result<(Uid, Claims)> {
    let mut claims = Claims::default();
    for system in 0..SYSTEMS {
        ensure!(claims.want(Uid::from_u128(1 << 64 | number << 8 | system)), "a node cannot want so many");
    }
    Ok((Uid::from_u128(2 << 64 | number), claims))
}

/// As the log decides.
fn apply(facts: &mut std::collections::BTreeMap<Uid, Fact>, system: Uid, act: &LeaseAct) {
    let fact = facts.entry(system).or_insert(Fact { holder: None, term: 0 });
    match *act {
        LeaseAct::Grant { node } => *fact = Fact { holder: Some(node), term: fact.term + 1 },
        LeaseAct::Release { .. } | LeaseAct::Revoke { .. } => fact.holder = None,
    }
}
