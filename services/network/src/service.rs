//! The owner of the state: compares what the specs ask for with what is there, and performs the difference.
//!
//! It has no input but causes to look: a change of a spec, word from the kernel, word from the DHCP reconciler, or time
//! that has passed. A tap that is asked for is the one thing made on request.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use acp_base::{Name, Uid};
use acp_core_netplan::{Desired, DesiredTap, Plan, Problem, nft_document, plan};
use acp_io_client::{ObjectWatch, Reporter};
use acp_io_daemon::{Context, Fatal, Health};
use acp_io_netlink::{Monitor, Netlink, NetlinkError};
use acp_wire_api::network::OpenTapReply;
use acp_wire_model::network::NetworkState;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{
    config::Config,
    dhcp,
    effects::perform,
    error::{OpenError, chain},
    filter::Filter,
    handlers::OpenTap,
    metrics,
    observe::{Observation, observe},
    report::{Reports, is_present},
    snapshot::{NetworkStatus, Snapshot},
    specs::Specs,
    taps::TapPlan,
};

/// How long causes to look are gathered: a starting system changes its links several times within milliseconds.
const GATHER: Duration = Duration::from_millis(20);

/// The pause before what failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long a tap of a system that is said to run may be missing before it is missed: QEMU's end takes it along, and is
/// told within a second.
const TAP_MISSED_AFTER: Duration = Duration::from_secs(2);

/// What the owner hears.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) objects: ObjectWatch,
    pub(crate) monitor: Monitor,
    pub(crate) commands: mpsc::Receiver<OpenTap>,
    pub(crate) dhcp: watch::Receiver<dhcp::Status>,
}

/// Where the owner acts and speaks.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) netlink: Netlink,
    pub(crate) wanted: watch::Sender<dhcp::Wanted>,
    pub(crate) reporter: Reporter,
    pub(crate) snapshot: watch::Sender<Option<Arc<Snapshot>>>,
}

/// The owner.
#[derive(Debug)]
pub(crate) struct Service {
    node: Name,
    interval: Duration,
    health: Health,
    specs: Specs,
    netlink: Netlink,
    filter: Filter,
    wanted: watch::Sender<dhcp::Wanted>,
    dhcp: dhcp::Status,
    reports: Reports,
    snapshot: watch::Sender<Option<Arc<Snapshot>>>,
    /// When to look again.
    next: Instant,
    /// When the filter is checked and statistics are published again.
    next_round: Instant,
    /// What stood in the way when it was last said.
    problems: Vec<Problem>,
    /// Taps of running systems that are missing, and since when.
    missing: BTreeMap<String, Instant>,
}

impl Service {
    pub(crate) fn new(config: &Config, context: &Context, outputs: Outputs) -> Self {
        Self {
            node: context.node.clone(),
            interval: config.reconcile_interval(),
            health: context.health.clone(),
            specs: Specs::new(context.node.clone()),
            netlink: outputs.netlink,
            filter: Filter::new(config.nft.clone()),
            wanted: outputs.wanted,
            dhcp: dhcp::Status::default(),
            reports: Reports::new(outputs.reporter),
            snapshot: outputs.snapshot,
            next: Instant::now(),
            next_round: Instant::now(),
            problems: Vec::new(),
            missing: BTreeMap::new(),
        }
    }

    /// Works until the drain begins. Links stay as they are then: guests go on.
    pub(crate) async fn run(mut self, mut inputs: Inputs, context: &Context) -> Result<(), Fatal> {
        loop {
            tokio::select! {
                () = context.drain.cancelled() => return Ok(()),
                event = inputs.objects.next() => if self.specs.apply(event) { self.look_soon() },
                is_open = inputs.monitor.changed() => {
                    if !is_open && context.drain.is_cancelled() {
                        return Ok(());
                    }
                    if !is_open {
                        return Err(Fatal::temporary("the kernel no longer tells of changed links"));
                    }
                    self.look_soon();
                }
                Ok(()) = inputs.dhcp.changed() => {
                    self.dhcp = inputs.dhcp.borrow_and_update().clone();
                    self.look_soon();
                }
                Some(command) = inputs.commands.recv() => self.answer(command).await,
                () = sleep_until(self.next) => self.reconcile().await,
            }
        }
    }

    fn look_soon(&mut self) {
        self.next = self.next.min(Instant::now() + GATHER);
    }

    /// Looks and acts once. Before the specs were told there is nothing to compare with.
    async fn reconcile(&mut self) {
        let pause = match self.specs.desired() {
            None => self.interval,
            Some(desired) => match self.pass(&desired).await {
                Ok(true) => self.interval,
                Ok(false) => RETRY_PAUSE,
                Err(error) => {
                    let reason = chain(&error);
                    tracing::error!(reason, "the node's links cannot be listed");
                    self.health.degrade(format!("the node's links cannot be listed: {reason}"));
                    RETRY_PAUSE
                }
            },
        };
        self.next = Instant::now() + pause;
    }

    /// Answers whether nothing is left that a later look could mend.
    async fn pass(&mut self, desired: &Desired) -> Result<bool, NetlinkError> {
        metrics::reconciled();
        let is_round = Instant::now() >= self.next_round;
        let mut seen = observe(&self.netlink, desired).await?;
        let plan = plan(desired, &seen.observed);
        let mut faults = Faults::of(&plan);
        self.perform(&plan, &mut faults).await;
        self.say(plan.problems);
        if !plan.steps.is_empty() {
            seen = observe(&self.netlink, desired).await?;
        }
        if let Err(failure) = self.filter.ensure(nft_document(desired), is_round).await {
            tracing::warn!(%failure, "the nftables table is not set");
            faults.without_filter(desired, &failure.to_string());
        }
        self.miss_taps(desired, &seen, &mut faults);
        self.want_dhcp(desired);
        let statuses = self.statuses(desired, &faults);
        self.reports.networks(&statuses, desired, &seen);
        if is_round {
            self.reports.stats(desired, &seen);
            self.next_round = Instant::now() + self.interval;
        }
        self.show(statuses, seen);
        self.health.ok();
        Ok(!faults.can_pass)
    }

    /// Performs the steps in their order, but none on a link of which one failed.
    async fn perform(&self, plan: &Plan, faults: &mut Faults) {
        let mut failed = BTreeSet::new();
        for step in &plan.steps {
            if step.link().is_some_and(|link| failed.contains(link)) {
                continue;
            }
            match perform(&self.netlink, step).await {
                Ok(()) => tracing::info!(%step, "step performed"),
                Err(error) => {
                    let reason = chain(&error);
                    tracing::warn!(%step, reason, "step failed");
                    failed.extend(step.link());
                    faults.failed(step.network(), format!("cannot {step}: {reason}"));
                }
            }
            metrics::step(step.link().is_none_or(|link| !failed.contains(link)));
        }
    }

    /// Says what stands in the way, once.
    fn say(&mut self, problems: Vec<Problem>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!(network = %problem.network(), %problem, "a network cannot be what its spec says");
        }
        self.problems = problems;
    }

    /// A tap that somebody removed cannot be given back to the QEMU that held it: it is said.
    fn miss_taps(&mut self, desired: &Desired, seen: &Observation, faults: &mut Faults) {
        let before = std::mem::take(&mut self.missing);
        for tap in desired.taps.values().filter(|tap| self.specs.runs(tap.system) && !is_present(tap, seen)) {
            let since = before.get(&tap.link).copied().unwrap_or_else(Instant::now);
            if since.elapsed() >= TAP_MISSED_AFTER {
                faults.lost_tap(tap);
            }
            self.missing.insert(tap.link.clone(), since);
        }
    }

    fn want_dhcp(&self, desired: &Desired) {
        let served = desired.networks.iter().filter(|(_, network)| network.dhcp);
        let wanted = Some(served.map(|(uid, network)| (*uid, network.clone())).collect());
        self.wanted.send_if_modified(|current| {
            let is_changed = *current != wanted;
            *current = wanted;
            is_changed
        });
    }

    fn statuses(&self, desired: &Desired, faults: &Faults) -> BTreeMap<Uid, NetworkStatus> {
        let rejected = desired.rejected.iter().map(|rejected| rejected.uid);
        let networks = desired.networks.keys().copied().chain(rejected);
        networks.map(|uid| (uid, self.status(uid, desired, faults))).collect()
    }

    fn status(&self, uid: Uid, desired: &Desired, faults: &Faults) -> NetworkStatus {
        let mut reasons = faults.reasons.get(&uid).cloned().unwrap_or_default();
        if desired.networks.get(&uid).is_some_and(|network| network.dhcp) {
            match self.dhcp.get(&uid) {
                Some(Ok(())) => {}
                Some(Err(reason)) => reasons.push(format!("DHCP: {reason}")),
                None => reasons.push("DHCP: its server is being started".to_owned()),
            }
        }
        let state = if reasons.is_empty() { NetworkState::Up } else { NetworkState::Degraded };
        NetworkStatus { state, reason: reasons.join("; "), is_final: faults.is_final.contains(&uid) }
    }

    fn show(&self, networks: BTreeMap<Uid, NetworkStatus>, seen: Observation) {
        let up = networks.values().filter(|status| status.state == NetworkState::Up).count();
        metrics::networks(networks.len(), up);
        let served = self.dhcp.keys().copied().collect();
        self.snapshot.send_replace(Some(Arc::new(Snapshot { observed: seen.observed, networks, served })));
    }

    async fn answer(&mut self, command: OpenTap) {
        let OpenTap { request, system, answer } = command;
        let result = match TapPlan::new(&self.node, &self.specs, &request, system.as_ref()) {
            Ok(tap) => self.open(tap).await,
            Err(error) => Err(error),
        };
        // A caller that is gone drops the descriptor and with it the tap.
        drop(answer.send(result));
        self.look_soon();
    }

    async fn open(&mut self, tap: TapPlan) -> Result<(OpenTapReply, OwnedFd), OpenError> {
        let mut bridge = tap.bridge(&self.netlink).await?;
        if bridge.is_none() {
            self.reconcile().await;
            bridge = tap.bridge(&self.netlink).await?;
        }
        match bridge {
            Some(bridge) => tap.open(&self.netlink, &bridge).await,
            None => Err(self.no_bridge(&tap)),
        }
    }

    fn no_bridge(&self, tap: &TapPlan) -> OpenError {
        let network = tap.network();
        let snapshot = self.snapshot.borrow().clone();
        let status = snapshot.as_ref().and_then(|snapshot| snapshot.networks.get(&network.uid));
        let reason = status.map_or_else(|| "its bridge is missing".to_owned(), |status| status.reason.clone());
        OpenError::NoBridge { network: network.name.to_string(), reason }
    }
}

/// What keeps networks from being up.
#[derive(Debug, Default)]
struct Faults {
    reasons: BTreeMap<Uid, Vec<String>>,
    /// Networks that only somebody else can help.
    is_final: BTreeSet<Uid>,
    /// Whether trying again can help any of it.
    can_pass: bool,
}

impl Faults {
    fn of(plan: &Plan) -> Self {
        let mut faults = Self::default();
        for problem in &plan.problems {
            faults.reasons.entry(problem.network()).or_default().push(problem.to_string());
            faults.is_final.insert(problem.network());
        }
        faults
    }

    fn failed(&mut self, network: Option<Uid>, reason: String) {
        self.can_pass = true;
        if let Some(network) = network {
            self.reasons.entry(network).or_default().push(reason);
        }
    }

    fn lost_tap(&mut self, tap: &DesiredTap) {
        let DesiredTap { link, system_name, nic, .. } = tap;
        let reason = format!(
            "somebody removed the link {link}: interface {nic} of system {system_name} is cut off until the system is \
             stopped and started"
        );
        self.reasons.entry(tap.network).or_default().push(reason);
    }

    fn without_filter(&mut self, desired: &Desired, reason: &str) {
        self.can_pass = true;
        for network in desired.networks.values().filter(|network| network.nat) {
            self.reasons.entry(network.uid).or_default().push(format!("NAT: {reason}"));
        }
    }
}
