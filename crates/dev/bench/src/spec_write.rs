//! F1 of the quorum: writes of specs through the public path with three voters, beside etcd with three members in the same
//! namespaces and on the same disk.

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

/// Writers at once.
const WRITERS: [usize; 3] = [1, 64, 500];
/// Objects that they share.
const OBJECTS: usize = 64;
/// Rounds in which both sides take turns, and how long each writes in a round. One more in front is not measured.
const ROUNDS: usize = 3;
const ROUND_TIME: Duration = Duration::from_secs(2);
/// The promise: not below etcd.
const RATIO: f64 = 1.0;
/// What is written.
const VALUE: &[u8; 64] = &[b'x'; 64];

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let cluster = Cluster::start(&setup.bin, 3)?;
    let etcd = Etcd::start(setup.peers()?, &cluster)?;
    let figures = within(&cluster, async || {
        let registers = Registers::declare(&cluster, OBJECTS).await?;
        let mut figures = Vec::new();
        for writers in WRITERS {
            let (ours, theirs) = measure(&cluster, &etcd, &registers, writers).await?;
            let name = |what: &str| format!("{writers} writers, {what}");
            let (rate, etcds) = (ours.rate(), theirs.rate());
            figures.push(Figure::ratio_at_least(&name("etcd"), rate, etcds, RATIO, "writes/s"));
            figures.push(Figure::shown(&name("etcd, p50"), ours.within(0.5), theirs.within(0.5), "us"));
            figures.push(Figure::shown(&name("etcd, p99"), ours.within(0.99), theirs.within(0.99), "us"));
        }
        Ok(figures)
    })?;
    Ok(Report { bench: "spec-write", figures })
}

async fn measure(cluster: &Cluster, etcd: &Etcd<'_>, registers: &Registers, writers: usize) -> Result<(Done, Done)> {
    let mut ours: Vec<Caller> =
        (0..writers).map(|number| registers.caller(cluster, number, MEMBERS)).collect::<Result<_>>()?;
    let mut theirs = Vec::new();
    for number in 0..writers {
        let key = format!("register-{}", number % OBJECTS);
        theirs.push((Client::connect(etcd.address(number % MEMBERS + 1)?).await?, key));
    }
    let value = String::from_utf8_lossy(VALUE).into_owned();
    let (mut our_sum, mut their_sum) = (Done::default(), Done::default());
    for round in 0..=ROUNDS {
        let done = load::run(&mut ours, ROUND_TIME, async |caller| caller.write(&value).await.map(drop)).await?;
        let peers = load::run(&mut theirs, ROUND_TIME, async |(client, key)| client.put(key.as_bytes(), VALUE).await);
        let peers = peers.await?;
        if round > 0 {
            our_sum.add(done);
            their_sum.add(peers);
        }
    }
    Ok((our_sum, their_sum))
}
