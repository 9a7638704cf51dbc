//! What the world reads: systems, measurements, the node.

use acp_base::{ByteSize, Uid};
use acp_core_system::Report;
use acp_io_daemon::{boot_now, wall_now};
use acp_wire_api::{framework::Unit, hypervisor::GetNodeReply};
use acp_wire_model::{
    Kind,
    object::Facet,
    system::{SystemMeta, SystemState, SystemStats},
};

use super::Owner;
use crate::{
    effects::{QEMU, unit_name},
    host::{HostLook, percent},
    metrics,
};

impl Owner {
    /// A system's state has changed.
    pub(super) fn reported(&mut self, uid: Uid, report: Report) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let before = entry.report.as_ref().map(|report| report.state);
        if before != Some(report.state) {
            entry.since = wall_now();
            tracing::info!(system = %entry.name, state = ?report.state, reason = report.reason, "system changed");
        }
        match report.state {
            SystemState::Running | SystemState::Paused => entry.has_run = true,
            SystemState::Stopping => {}
            _ if std::mem::take(&mut entry.has_run) => {
                if let Some(exit) = report.exit {
                    metrics::exited(exit);
                }
            }
            _ => {}
        }
        entry.report = Some(report);
    }

    /// Publishes a system if anything of it has changed.
    pub(super) fn publish_system(&mut self, uid: Uid) {
        let pid = self.qemu_pid(uid);
        let node = self.context.node.clone();
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let Some(report) = &entry.report else { return };
        let runs = matches!(report.state, SystemState::Running | SystemState::Paused);
        let meta = SystemMeta {
            state: report.state,
            intent: report.intent,
            reason: reason(report, &entry.lease.borrow().reason),
            exit: report.exit,
            node,
            pid,
            accelerator: entry.accelerator.filter(|_| runs).map(|accelerator| accelerator.name().to_owned()),
            since_ms: entry.since.0,
            job: entry.job().map(acp_io_jobs::JobHandle::id),
        };
        if entry.published.as_ref() != Some(&meta) {
            self.reporter.put(Kind::System, uid, None, Facet::Meta, &meta);
            entry.published = Some(meta);
        }
    }

    /// New measurements: systems, node; and what could not be kept before is written again.
    pub(super) fn measured(&mut self, units: &[Unit]) {
        for unit in units.iter().filter(|unit| unit.meta.template == QEMU) {
            self.measure(unit);
        }
        self.look_at_node();
        self.publish_node();
        let unsaved: Vec<Uid> = self.entries.values().filter(|entry| entry.is_unsaved).map(|entry| entry.uid).collect();
        for uid in &unsaved {
            self.save_now(*uid);
        }
        self.say_health();
        metrics::systems(self.entries.len());
    }

    /// Says what this daemon does without.
    pub(super) fn say_health(&self) {
        if self.entries.values().any(|entry| entry.is_unsaved) {
            self.context.health.degrade("power intents cannot be written: the state directory refuses; see the log");
        } else if self.units.is_none() {
            self.context.health.degrade("the framework does not answer: nothing can be started or stopped");
        } else if !self.leases.trouble().is_empty() {
            self.context.health.degrade(self.leases.trouble());
        } else if let Some(orphans) = self.orphans() {
            self.context.health.degrade(orphans);
        } else {
            self.context.health.ok();
        }
    }

    /// Systems that the cluster database does not know, in a sentence.
    fn orphans(&self) -> Option<String> {
        let orphans = self.entries.values().filter(|entry| entry.orphan);
        let names: Vec<String> = orphans.map(|entry| format!("{} ({})", entry.name, entry.uid)).collect();
        (!names.is_empty()).then(|| {
            format!(
                "systems of this node that the cluster does not know go on as they are: {}; end one with: acpctl system delete",
                names.join(", ")
            )
        })
    }

    fn measure(&mut self, unit: &Unit) {
        let now_ms = boot_now().as_nanos() / 1_000_000;
        let entry = self.entries.values_mut().find(|entry| unit_name(QEMU, entry.uid) == unit.name);
        let Some(entry) = entry else { return };
        entry.used = ByteSize(unit.stats.memory_bytes);
        let cpu_ms = unit.stats.cpu_ms;
        let earlier = entry.measured.replace((cpu_ms, now_ms));
        let cpu_percent = match earlier {
            Some((before, at)) if now_ms > at => percent(cpu_ms.saturating_sub(before), now_ms - at),
            _ => 0.0,
        };
        let stats = SystemStats { cpu_percent, memory_bytes: unit.stats.memory_bytes };
        self.reporter.put(Kind::System, entry.uid, None, Facet::Stats, &stats);
    }

    /// Looks at the host.
    pub(super) fn look_at_node(&mut self) {
        let look = match HostLook::take() {
            Ok(look) => look,
            Err(error) => {
                tracing::warn!(%error, "/proc cannot be read");
                return;
            }
        };
        let committed: u64 = self.promises(None).iter().map(|promise| promise.limit.0).sum();
        self.node_stats = acp_wire_model::node::NodeStats {
            cpu_percent: look.cpu_percent_since(&self.last_look),
            memory_available_bytes: look.memory_available.0,
            memory_committed_bytes: committed,
            load_1: look.load_1,
            uptime_s: look.uptime_s,
        };
        self.last_look = look;
        self.node_meta.memory_bytes = look.memory_total.0;
        self.node_meta.cpus =
            std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        self.node_meta.kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        if let Some(verdict) = &*self.verdict.borrow() {
            self.node_meta.accelerator = verdict.accelerator.name().to_owned();
            self.node_meta.accelerator_reason.clone_from(&verdict.reason);
            self.node_meta.qemu.clone_from(&verdict.qemu);
        }
    }

    pub(super) fn publish_node(&self) {
        if let Some(uid) = self.node_uid {
            self.reporter.put(Kind::Node, uid, None, Facet::Meta, &self.node_meta);
            self.reporter.put(Kind::Node, uid, None, Facet::Stats, &self.node_stats);
        }
    }

    pub(super) fn node(&self) -> GetNodeReply {
        GetNodeReply { meta: self.node_meta.clone(), stats: self.node_stats.clone() }
    }
}

/// Why a system is in its state. A lease that it has not says more than what followed from that.
fn reason(report: &Report, lease: &str) -> String {
    if lease.is_empty() || report.state == SystemState::Stopped { report.reason.clone() } else { lease.to_owned() }
}
