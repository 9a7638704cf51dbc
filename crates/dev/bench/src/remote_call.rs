//! F1 of nodes: a call through both agents against a bare TLS exchange of the same bytes between the same namespaces, beside
//! nginx carrying the same call.
//!
//! The way of ours: caller, agent, TLS, agent, daemon, and back. The bare exchange has two processes and nothing between.

mod nginx;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use acp_io_client::Client;
use acp_wire_api::{Empty, daemon::GetHealth};
use anyhow::{Result, ensure};

use self::nginx::Nginx;
use crate::{
    Setup,
    bare_tls::{Certificates, PingPong, Server},
    block_on,
    cluster::Cluster,
    figure::{Figure, Report, micros, percentile},
    local_call,
};

/// The promise for an open conversation: ours against the bare exchange, at the median.
const OPEN_LIMIT: f64 = 3.0;
/// The promise for a new conversation, against the bare exchange on an open connection.
const NEW_LIMIT: f64 = 6.0;
/// The daemon that is called: any would do.
const NOUN: &str = "cluster";
/// Calls of each side before anything is measured.
const WARM_UP_CALLS: usize = 500;
/// All sides take turns, so that other load on the machine meets each.
const ROUNDS: usize = 10;
/// Calls of each side in each round.
const ROUND_CALLS: usize = 500;
/// New conversations in each round: each costs several exchanges.
const ROUND_CONVERSATIONS: usize = 100;
/// Where the far sides of the peers listen; ports that nobody of ours has.
pub(crate) const BARE_PORT: u16 = 9_950;
const NGINX_PORT: u16 = 9_951;

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let cluster = Cluster::start(&setup.bin, 2)?;
    let near = cluster.member(1)?;
    let far = cluster.member(2)?;
    let sizes = local_call::exchanged_bytes(&near.layout.socket(NOUN), &cluster.dir().join("tapped"))?;
    let certificates = Certificates::make(&cluster.dir().join("certificates"))?;
    let at = |port| SocketAddr::from((far.address(), port));
    let bare = Server::start(&certificates, &far.layout.namespace(), at(BARE_PORT))?;
    let nginx = Nginx::start(setup.peers()?, &certificates, cluster.dir(), near, far, NGINX_PORT, NOUN)?;
    let sides = Sides { ours: cluster.client(1, 2)?, nginx: Client::new(nginx.run_dir()), bare: &bare, sizes };
    near.layout.namespace().run(|| block_on(measure(&sides)))
}

struct Sides<'a> {
    ours: Client,
    nginx: Client,
    bare: &'a Server,
    sizes: (usize, usize),
}

impl Sides<'_> {
    async fn bare(&self) -> Result<PingPong> {
        self.bare.ping_pong(self.sizes.0, self.sizes.1).await
    }
}

/// The microseconds of each exchange, by side.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    ours_new: Vec<f64>,
    bare: Vec<f64>,
    bare_new: Vec<f64>,
    nginx: Vec<f64>,
    nginx_new: Vec<f64>,
}

async fn measure(sides: &Sides<'_>) -> Result<Report> {
    let mut open = sides.bare().await?;
    for _ in 0..WARM_UP_CALLS {
        call(&sides.ours).await?;
        call(&sides.nginx).await?;
        open.exchange().await?;
    }
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        for _ in 0..ROUND_CALLS {
            times.ours.push(timed(call(&sides.ours)).await?);
        }
        for _ in 0..ROUND_CALLS {
            times.bare.push(timed(open.exchange()).await?);
        }
        for _ in 0..ROUND_CALLS {
            times.nginx.push(timed(call(&sides.nginx)).await?);
        }
        for _ in 0..ROUND_CONVERSATIONS {
            times.ours_new.push(timed(converse(&sides.ours)).await?);
            times.bare_new.push(timed(async { sides.bare().await?.exchange().await }).await?);
            times.nginx_new.push(timed(converse(&sides.nginx)).await?);
        }
    }
    Ok(report(times))
}

fn report(mut times: Times) -> Report {
    let bare = percentile(&mut times.bare, 0.5);
    let (ours, ours_new) = (percentile(&mut times.ours, 0.5), percentile(&mut times.ours_new, 0.5));
    let p99 = (percentile(&mut times.ours, 0.99), percentile(&mut times.bare, 0.99));
    let figures = vec![
        Figure::ratio_at_most("open conversation, bare TLS, p50", ours, bare, OPEN_LIMIT, "us"),
        Figure::ratio_at_most("new conversation, bare TLS, p50", ours_new, bare, NEW_LIMIT, "us"),
        Figure::shown("open conversation, bare TLS, p99", p99.0, p99.1, "us"),
        Figure::shown("new, beside a new bare TLS, p50", ours_new, percentile(&mut times.bare_new, 0.5), "us"),
        Figure::shown("open, beside nginx, p50", ours, percentile(&mut times.nginx, 0.5), "us"),
        Figure::shown("new, beside nginx, p50", ours_new, percentile(&mut times.nginx_new, 0.5), "us"),
    ];
    Report { bench: "remote-call", figures }
}

async fn timed(work: impl Future<Output = Result<()>>) -> Result<f64> {
    let started = Instant::now();
    work.await?;
    Ok(micros(started.elapsed()))
}

/// A call on an open conversation, if there is one.
pub(crate) async fn call(client: &Client) -> Result<()> {
    let health = client.service(NOUN).call::<GetHealth>(Empty {}).await?;
    ensure!(health.ready, "{NOUN} is not ready: {}", health.reason);
    Ok(())
}

/// A call on a conversation of its own, from connecting on.
async fn converse(client: &Client) -> Result<()> {
    let mut conversation = client.service(NOUN).deadline(Duration::from_secs(5)).conversation().await?;
    let health = conversation.call::<GetHealth>(&Empty {}, acp_io_varlink::CallContext::default()).await?;
    ensure!(health.ready, "{NOUN} is not ready: {}", health.reason);
    Ok(())
}
