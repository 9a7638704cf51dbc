//! F3 of nodes: reading one object through the HTTP API, beside etcd's HTTP gateway and the API that `lxc query` asks.
//!
//! All three answer JSON from memory: ours a network, etcd a value of the same size, LXD a profile. The client is the same.

mod peers;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    Setup, block_on,
    cluster::Cluster,
    figure::{Figure, Report, micros, percentile},
    http::{Place, Question},
};

/// Where the API listens on a node.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9_933);
/// What is read.
const PATH: &str = "/v1/networks/default";
/// Connections, each with one question at a time.
const CLIENTS: usize = 16;
/// Rounds in which all sides take turns; all answers count.
const ROUNDS: usize = 5;
/// How long each side is asked in each round.
const ROUND_TIME: Duration = Duration::from_secs(1);

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let cluster = Cluster::start(&setup.bin, 1)?;
    cluster.run(1, &["network", "create", "default", "--address", "10.77.0.1/24"])?;
    let namespace = cluster.member(1)?.layout.namespace();
    let authorization = format!("Authorization: Bearer {}\r\n", cluster.root_key(1)?);
    let ours = Question::get(Place::Tcp(ADDRESS), PATH, &authorization);
    let answer = namespace.run(|| block_on(ours.ask()))?;
    let etcd = peers::Etcd::start(setup.peers()?, &namespace, &cluster.dir().join("etcd"), answer.len())?;
    let lxd = peers::Lxd::start(setup.peers()?, &namespace, &cluster.dir().join("lxd"))?;
    let sides = [ours, etcd.question(), lxd.question()];
    let [ours, etcd, lxd] = namespace.run(|| block_on(measure(&sides)))?;
    let figures = vec![
        Figure::shown("GET of one object, etcd", ours.rate, etcd.rate, "req/s"),
        Figure::shown("GET of one object, etcd, p99", ours.p99, etcd.p99, "us"),
        Figure::shown("GET of one object, LXD", ours.rate, lxd.rate, "req/s"),
        Figure::shown("GET of one object, LXD, p99", ours.p99, lxd.p99, "us"),
    ];
    Ok(Report { bench: "api", figures })
}

/// How one side answers.
#[derive(Clone, Debug)]
struct Speed {
    /// Answers in a second.
    rate: f64,
    /// Microseconds that 99 in 100 answers do not exceed.
    p99: f64,
}

/// The first round is not measured.
async fn measure(sides: &[Question; 3]) -> Result<[Speed; 3]> {
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        for (side, times) in sides.iter().zip(&mut times) {
            let taken = ask_for_a_while(side).await?;
            if round > 0 {
                times.extend(taken);
            }
        }
    }
    Ok(times.map(|mut times| {
        let answers = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX));
        let rate = answers / (ROUND_TIME * u32::try_from(ROUNDS).unwrap_or(u32::MAX)).as_secs_f64();
        Speed { rate, p99: percentile(&mut times, 0.99) }
    }))
}

/// The microseconds of every answer that many clients get in a round.
async fn ask_for_a_while(question: &Question) -> Result<Vec<f64>> {
    let clients = (0..CLIENTS).map(|_| async {
        let mut asking = question.connect().await?;
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < ROUND_TIME {
            let started = Instant::now();
            asking.ask().await?;
            times.push(micros(started.elapsed()));
        }
        Ok::<_, anyhow::Error>(times)
    });
    Ok(futures_util::future::try_join_all(clients).await?.concat())
}
