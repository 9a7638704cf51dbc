//! F3 of the quorum: linearizable reads, and reads of what a node has, beside etcd's linearizable and serializable ones.

use std::time::Duration;

use anyhow::Result;

use crate::{
    Setup,
    cluster::Cluster,
    etcd::{Client, Etcd, MEMBERS, within},
    figure::{Figure, Report},
    load::{self, Done},
    registers::{Caller, Registers},
};

/// Readers at once.
const READERS: usize = 64;
/// Objects that they share.
const OBJECTS: usize = 16;
/// Rounds in which both sides take turns, and how long each reads in a round. One more in front is not measured.
const ROUNDS: usize = 3;
const ROUND_TIME: Duration = Duration::from_secs(2);
/// A value of about the size of what ours answer.
const VALUE: &[u8; 400] = &[b'x'; 400];

/// Linearizable reads.
pub fn run_linear(setup: &Setup) -> Result<Report> {
    let figures = measure(setup, true)?;
    Ok(Report { bench: "linear-read", figures })
}

/// Reads of what the node has.
pub fn run_local(setup: &Setup) -> Result<Report> {
    let figures = measure(setup, false)?;
    Ok(Report { bench: "local-read", figures })
}

fn measure(setup: &Setup, is_linearizable: bool) -> Result<Vec<Figure>> {
    let cluster = Cluster::start(&setup.bin, 3)?;
    let etcd = Etcd::start(setup.peers()?, &cluster)?;
    let (ours, theirs) = within(&cluster, async || {
        let registers = Registers::declare(&cluster, OBJECTS).await?;
        let mut ours: Vec<Caller> =
            (0..READERS).map(|number| registers.caller(&cluster, number, MEMBERS)).collect::<Result<_>>()?;
        let mut theirs = Vec::new();
        for number in 0..READERS {
            let mut client = Client::connect(etcd.address(number % MEMBERS + 1)?).await?;
            let key = format!("register-{}", number % OBJECTS);
            client.put(key.as_bytes(), VALUE).await?;
            theirs.push((client, key));
        }
        let (mut our_sum, mut their_sum) = (Done::default(), Done::default());
        for round in 0..=ROUNDS {
            let done = load::run(&mut ours, ROUND_TIME, async |caller| caller.read(is_linearizable).await).await?;
            let range =
                async |(client, key): &mut (Client, String)| client.range(key.as_bytes(), !is_linearizable).await;
            let peers = load::run(&mut theirs, ROUND_TIME, range).await?;
            if round > 0 {
                our_sum.add(done);
                their_sum.add(peers);
            }
        }
        Ok((our_sum, their_sum))
    })?;
    Ok(vec![
        Figure::shown("64 readers, etcd", ours.rate(), theirs.rate(), "reads/s"),
        Figure::shown("64 readers, etcd, p50", ours.within(0.5), theirs.within(0.5), "us"),
        Figure::shown("64 readers, etcd, p99", ours.within(0.99), theirs.within(0.99), "us"),
    ])
}
