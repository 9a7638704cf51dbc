//! The DHCP servers: a unit `dnsmasq@<network>` for each network that wants one.
//!
//! A reconciler of its own, so that a slow framework never delays a tap: it takes what is wanted from a watch channel and
//! says in another how it stands.
//!
//! dnsmasq runs as an own user without root. It needs CAP_NET_BIND_SERVICE for port 67, CAP_NET_RAW to ask the network
//! before it hands out an address, and CAP_NET_ADMIN to answer a guest that has no address yet; with any of them missing
//! no guest gets a lease (tried with dnsmasq 2.90, busybox udhcpc and the options of `acp_core_netplan::dhcp`). Its hosts
//! directory is described in [`hosts`].

pub(crate) mod hosts;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use acp_base::{Code, Failure, Uid};
use acp_core_netplan::{DesiredNetwork, dhcp::arguments};
use acp_io_client::Client;
use acp_io_daemon::{Context, wall_now};
use acp_io_failpoint::point;
use acp_wire_api::{Empty, framework};
use acp_wire_model::unit::{UnitMeta, UnitState};
use tokio::sync::watch;

use crate::{config::Config, error::chain, resolvers::name_servers};
use hosts::HostsDirectories;

/// The framework's template for a DHCP server.
const TEMPLATE: &str = "dnsmasq";

/// How long the framework may take for one call: making a unit is done when its process runs.
const FRAMEWORK_TIME_MAX: Duration = Duration::from_secs(10);

/// The pause before what failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long a dnsmasq must have run before it is replaced because of a host that is gone: several that go one after the other
/// cost one replacement.
const SETTLED_MS: u64 = 2_000;

/// The networks to be served; absent until the specs are known.
pub(crate) type Wanted = Option<BTreeMap<Uid, DesiredNetwork>>;

/// How it stands, by network; an ended network stays here until its unit is gone.
pub(crate) type Status = BTreeMap<Uid, Result<(), String>>;

/// The reconciler.
#[derive(Debug)]
pub(crate) struct Dhcp {
    client: Client,
    hosts: HostsDirectories,
    name_servers: Vec<Ipv4Addr>,
    interval: Duration,
    wanted: watch::Receiver<Wanted>,
    status: watch::Sender<Status>,
    /// The arguments each unit was asked for with in this life.
    asked: BTreeMap<Uid, Vec<String>>,
    /// Units that know something that no longer holds.
    outdated: BTreeSet<Uid>,
}

impl Dhcp {
    pub(crate) fn new(
        config: &Config,
        context: &Context,
        wanted: watch::Receiver<Wanted>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            client: context.client.clone(),
            hosts: HostsDirectories::new(&context.paths.state),
            name_servers: name_servers(config),
            interval: config.reconcile_interval(),
            wanted,
            status,
            asked: BTreeMap::new(),
            outdated: BTreeSet::new(),
        }
    }

    /// Reconciles after each change, from time to time, and sooner after a failure. Ends when nobody wants anything.
    pub(crate) async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let is_settled = match wanted {
                Some(wanted) => self.reconcile(&wanted).await,
                None => true,
            };
            let pause = if is_settled { self.interval } else { RETRY_PAUSE };
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Answers whether nothing is left to be done.
    async fn reconcile(&mut self, wanted: &BTreeMap<Uid, DesiredNetwork>) -> bool {
        let mut next = self.status.borrow().clone();
        let units = match self.units().await {
            Ok(units) => units,
            Err(failure) => {
                // Servers go on without the framework; only those never seen running are in doubt.
                for uid in wanted.keys() {
                    next.entry(*uid).or_insert_with(|| Err(format!("the framework cannot be asked for it: {failure}")));
                }
                self.publish(next);
                return false;
            }
        };
        let mut is_settled = true;
        let kept = self.hosts.list();
        let known: BTreeSet<Uid> = units.keys().chain(next.keys()).chain(&kept).copied().collect();
        for ended in known.into_iter().filter(|uid| !wanted.contains_key(uid)) {
            let result = self.end(ended).await;
            is_settled &= result.is_ok();
            match result {
                Ok(()) => drop(next.remove(&ended)),
                Err(reason) => drop(next.insert(ended, Err(reason))),
            }
        }
        for network in wanted.values() {
            let result = self.serve(network, units.get(&network.uid)).await;
            is_settled &= result.is_ok() && !self.outdated.contains(&network.uid);
            next.insert(network.uid, result);
        }
        self.publish(next);
        is_settled
    }

    fn publish(&self, next: Status) {
        self.status.send_if_modified(|status| {
            for (uid, result) in &next {
                if let (Err(reason), true) = (result, status.get(uid) != Some(result)) {
                    tracing::warn!(network = %uid, reason, "a DHCP server does not stand");
                }
            }
            let is_changed = *status != next;
            *status = next;
            is_changed
        });
    }

    async fn serve(&mut self, network: &DesiredNetwork, unit: Option<&UnitMeta>) -> Result<(), String> {
        let uid = network.uid;
        let running = unit.filter(|unit| is_running(unit.state));
        // A directory that is made anew is not the one that a running server listens to.
        let is_listened_to = running.is_none() || self.hosts.path(uid).is_dir();
        let updated = self.hosts.update(uid, &network.hosts);
        // A guest that was removed before it failed is removed no second time.
        if *updated.as_ref().unwrap_or(&true) || !is_listened_to {
            self.outdated.insert(uid);
        }
        updated.map_err(|error| chain(&error))?;
        let directory = self.hosts.path(uid).to_string_lossy().into_owned();
        let arguments = arguments(network, &directory, &self.name_servers);
        if running.is_some() && !self.asked.contains_key(&uid) {
            // It may have missed what an earlier life of this service changed last.
            self.outdated.insert(uid);
        }
        let meta = match running {
            Some(meta) if self.asked.get(&uid) == Some(&arguments) => meta.clone(),
            _ => self.spawn(uid, arguments.clone()).await.map_err(|failure| failure.to_string())?,
        };
        if self.outdated.contains(&uid) && wall_now().0.saturating_sub(meta.since_ms) >= SETTLED_MS {
            self.replace(uid, arguments).await.map_err(|failure| failure.to_string())?;
            return Ok(());
        }
        if is_running(meta.state) { Ok(()) } else { Err(unit_reason(&meta)) }
    }

    /// Asks for the unit; one with other arguments is replaced.
    async fn spawn(&mut self, uid: Uid, arguments: Vec<String>) -> Result<UnitMeta, Failure> {
        let request = framework::SpawnUnitRequest {
            template: TEMPLATE.to_owned(),
            instance: uid.simple(),
            arguments: arguments.clone(),
            fds: Vec::new(),
            environment: BTreeMap::new(),
            limits: framework::Limits::default(),
        };
        let reply = match self.call::<framework::SpawnUnit>(request.clone()).await {
            Err(failure) if matches!(failure.code, Code::AlreadyExists | Code::FailedPrecondition | Code::Conflict) => {
                self.call::<framework::RemoveUnit>(framework::UnitRequest { name: unit_name(uid) }).await?;
                self.call::<framework::SpawnUnit>(request).await?
            }
            result => result?,
        };
        point("network.dhcp.spawned")?;
        self.asked.insert(uid, arguments);
        tracing::info!(network = %uid, unit = reply.unit.name, "DHCP server asked for");
        Ok(reply.unit.meta)
    }

    /// Replaces a server that knows what no longer holds. A signal would make it forget the host, but not the lease, and so
    /// the address would be refused to its next owner until the lease runs out; a new one knows neither, and guests that hold a
    /// lease go on with it (`--dhcp-authoritative`).
    async fn replace(&mut self, uid: Uid, arguments: Vec<String>) -> Result<(), Failure> {
        self.call::<framework::RemoveUnit>(framework::UnitRequest { name: unit_name(uid) }).await?;
        self.asked.remove(&uid);
        point("network.dhcp.removed")?;
        self.spawn(uid, arguments).await?;
        self.outdated.remove(&uid);
        Ok(())
    }

    async fn end(&mut self, uid: Uid) -> Result<(), String> {
        let request = framework::UnitRequest { name: unit_name(uid) };
        self.call::<framework::RemoveUnit>(request).await.map_err(|failure| failure.to_string())?;
        self.asked.remove(&uid);
        self.outdated.remove(&uid);
        point("network.dhcp.ended").map_err(|injected| injected.to_string())?;
        self.hosts.remove(uid).map_err(|error| chain(&error))
    }

    /// Our units as the framework has them.
    async fn units(&self) -> Result<BTreeMap<Uid, UnitMeta>, Failure> {
        let reply = self.call::<framework::ListUnits>(Empty {}).await?;
        let ours = reply.units.into_iter().filter(|unit| unit.meta.template == TEMPLATE);
        Ok(ours.filter_map(|unit| Some((instance(&unit.name)?, unit.meta))).collect())
    }

    async fn call<M: acp_wire_api::Method>(&self, request: M::Request) -> Result<M::Reply, Failure> {
        self.client.service("framework").deadline(FRAMEWORK_TIME_MAX).call::<M>(request).await
    }
}

fn unit_name(uid: Uid) -> String {
    format!("{TEMPLATE}@{}", uid.simple())
}

fn instance(unit: &str) -> Option<Uid> {
    unit.strip_prefix(TEMPLATE)?.strip_prefix('@')?.parse().ok()
}

/// Whether its process runs or comes back by itself at once.
fn is_running(state: UnitState) -> bool {
    match state {
        UnitState::Waiting | UnitState::Starting | UnitState::Ready => true,
        UnitState::Stopped | UnitState::Stopping | UnitState::Backoff | UnitState::Failed => false,
    }
}

fn unit_reason(meta: &UnitMeta) -> String {
    let state = format!("{:?}", meta.state).to_lowercase();
    if meta.reason.is_empty() {
        format!("its unit is {state}")
    } else {
        format!("its unit is {state}: {}", meta.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_carry_the_network() {
        let uid = Uid::from_u128(7);
        assert_eq!(instance(&unit_name(uid)), Some(uid));
        for other in ["dnsmasq", "dnsmasq@", "dnsmasq@lan", "qemu@00000000000000000000000000000007"] {
            assert_eq!(instance(other), None, "{other}");
        }
    }
}
