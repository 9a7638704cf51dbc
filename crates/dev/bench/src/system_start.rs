//! F2: from `acpctl system start` to a running machine, against QEMU started by hand with the same arguments.

mod by_hand;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use acp_dev_testkit::{Node, node::acpctl_command, process, wait_for};
use acp_io_client::Client;
use acp_wire_api::{
    Empty,
    vmm::{MachineState, Watch},
};
use anyhow::{Context as _, Result, bail, ensure};

use self::by_hand::ByHand;
use crate::{
    Setup, block_on,
    figure::{Figure, Report, millis, percentile},
    node,
};

/// The promise: so many milliseconds more than by hand, at the median.
const MORE_LIMIT: f64 = 60.0;
/// Starts of each side, taken in turns.
const STARTS: usize = 9;
/// A start that takes longer has failed.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long one attempt to reach the machine's monitor may take, which is there only once the start has come that far.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(2);

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let node = node(&setup.bin)?;
    node.run(&["pool", "create", "default"])?;
    node.run(&["network", "create", "default", "--address", "10.77.0.1/24"])?;
    node.run(&["image", "import", "demo", setup.image()?, "--wait"])?;
    node.run(&["system", "create", "demo", "--image", "demo", "--network", "default", "--wait"])?;
    // The first start is not measured: it fills the page cache for both sides, and shows the arguments.
    start(&node)?;
    let by_hand = ByHand::like(qemu(&node)?.pid, node.layout().dir())?;
    stop(&node)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        ours.push(start(&node)?);
        stop(&node)?;
        peer.push(node.layout().namespace().run(|| by_hand.start())?);
    }
    let figure = Figure::at_most_more(
        "start to running, p50",
        percentile(&mut ours, 0.5),
        percentile(&mut peer, 0.5),
        MORE_LIMIT,
        "ms",
    );
    Ok(Report { bench: "system-start", figures: vec![figure] })
}

fn qemu(node: &Node) -> Result<process::Identity> {
    let found = node.processes().into_iter().find(|process| process::name(process.pid).starts_with("qemu-system"));
    found.context("the running system has no QEMU")
}

/// Starts the system as an operator does; answers the milliseconds until its monitor says that QEMU runs it.
fn start(node: &Node) -> Result<f64> {
    let uid =
        node.json(&["system", "show", "demo"])?["uid"].as_str().context("the system has no uid")?.replace('-', "");
    let started = Instant::now();
    let mut command = acpctl_command(node.layout());
    let mut command = command.args(["system", "start", "demo"]).stdout(Stdio::null()).spawn()?;
    block_on(async {
        tokio::time::timeout(START_LIMIT, running(node, &uid)).await.context("the system did not start")?
    })?;
    let taken = millis(started.elapsed());
    ensure!(command.wait()?.success(), "`acpctl system start demo` failed");
    Ok(taken)
}

async fn running(node: &Node, uid: &str) -> Result<()> {
    let monitor = Client::new(node.layout().run()).instance("vmm", uid).deadline(ATTEMPT_LIMIT);
    loop {
        let Ok(mut states) = monitor.stream::<Watch>(Empty {}).await else { continue };
        while let Some(state) = states.next().await {
            match state {
                Ok(status) if status.state == MachineState::Running => return Ok(()),
                Ok(status) if status.state == MachineState::Shutdown => bail!("the machine ended: {}", status.reason),
                Ok(_on_its_way) => {}
                Err(_gone_again) => break,
            }
        }
    }
}

fn stop(node: &Node) -> Result<()> {
    node.run(&["--yes", "system", "stop", "demo", "--wait"])?;
    wait_for("the end of QEMU", START_LIMIT, || match qemu(node) {
        Ok(process) => Err(format!("process {} runs", process.pid)),
        Err(_none) => Ok(()),
    })
}
