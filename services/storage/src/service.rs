//! The one task that owns what the daemon knows: pools by their specs, their state by their keepers, images by theirs.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::{Name, Uid};
use acp_io_client::{ObjectEvent, ObjectWatch, Reporter};
use acp_io_daemon::Context;
use acp_wire_model::{Kind, Object, image::ImageSpec, pool::PoolSpec};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    keeper::{Finding, Keeper},
    metrics,
    persist::Records,
    slots::{self, Slots},
    view::{ImageView, PoolView, Status, View},
};

/// Findings that wait to be published: one a keeper is all there ever is.
const FINDINGS_MAX: usize = 64;

/// Follows specs and keepers; publishes views and slots.
#[derive(Debug)]
pub(crate) struct Service {
    config: Config,
    context: Context,
    records: Records,
    slots: Slots,
    view: watch::Sender<View>,
    state: View,
    /// Ends the keeper of each pool.
    keepers: BTreeMap<Name, CancellationToken>,
    /// The end of the last keeper of each name; one that is being removed has to end its worker first.
    ending: BTreeMap<Name, CancellationToken>,
    /// Objects not yet said again since the watch was lost; empty while it is in step.
    unseen: BTreeSet<Uid>,
}

impl Service {
    pub(crate) fn new(
        config: Config,
        context: Context,
        reporter: Reporter,
        records: Records,
        view: watch::Sender<View>,
    ) -> Self {
        Self {
            config,
            context,
            records,
            slots: Slots::new(reporter),
            view,
            state: View::default(),
            keepers: BTreeMap::new(),
            ending: BTreeMap::new(),
            unseen: BTreeSet::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let drain = self.context.drain.clone();
        let mut objects = ObjectWatch::new(self.context.client.clone(), vec![Kind::Pool, Kind::Image]);
        let (findings, mut incoming) = mpsc::channel(FINDINGS_MAX);
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                event = objects.next() => self.on_event(event, &findings),
                Some(finding) = incoming.recv() => self.on_finding(finding),
            }
            self.view.send_replace(self.state.clone());
        }
    }

    fn on_event(&mut self, event: ObjectEvent, findings: &mpsc::Sender<Finding>) {
        match event {
            ObjectEvent::Put(object) => {
                self.unseen.remove(&object.uid);
                self.put(&object, findings);
            }
            ObjectEvent::Delete(object) => self.delete(object.uid),
            ObjectEvent::Resync => {
                let pools = self.state.pools.values().map(|pool| pool.uid);
                self.unseen = pools.chain(self.state.images.keys().copied()).collect();
            }
            ObjectEvent::Synced => {
                for uid in std::mem::take(&mut self.unseen) {
                    self.delete(uid);
                }
                self.state.is_synced = true;
            }
        }
    }

    fn put(&mut self, object: &Object, findings: &mpsc::Sender<Finding>) {
        let Ok(name) = object.name.parse::<Name>() else { return };
        match object.kind {
            Kind::Pool => match object.spec_as::<PoolSpec>() {
                Ok(spec) if self.is_ours(object.uid, Some(&spec.node)) => {
                    self.put_pool(name, object.uid, &spec, findings)
                }
                Ok(_another_nodes) => {}
                Err(error) => tracing::error!(pool = %name, %error, "the spec of a pool cannot be read"),
            },
            Kind::Image => match object.spec_as::<ImageSpec>() {
                Ok(spec) if self.is_ours(object.uid, spec.node.as_ref()) => self.put_image(name, object.uid, spec),
                Ok(_another_nodes) => {}
                Err(error) => tracing::error!(image = %name, %error, "the spec of an image cannot be read"),
            },
            Kind::Node | Kind::System | Kind::Network | Kind::Volume | Kind::Service | Kind::Job => {}
        }
    }

    /// Whether an object is of this node. One that was stays so under whatever name of a node: it cannot move, so the node has
    /// got another name. One that names none is of the time before there were others.
    fn is_ours(&self, uid: Uid, node: Option<&Name>) -> bool {
        let is_known = self.state.images.contains_key(&uid) || self.state.pools.values().any(|pool| pool.uid == uid);
        is_known || node.is_none_or(|node| *node == self.context.node)
    }

    fn put_pool(&mut self, name: Name, uid: Uid, spec: &PoolSpec, findings: &mpsc::Sender<Finding>) {
        let path = spec.path.clone().unwrap_or_else(|| crate::pools::default_path(&self.context, &name));
        match self.state.pools.get(&name).map(|pool| (pool.uid, pool.path.clone())) {
            Some(known) if known == (uid, path.clone()) => return,
            Some((before, _)) => self.delete_pool(&name, before),
            None => {}
        }
        tracing::info!(pool = %name, path, "a pool is kept");
        let (removed, ended) = (CancellationToken::new(), CancellationToken::new());
        self.ending.retain(|_, ended| !ended.is_cancelled());
        let predecessor = self.ending.insert(name.clone(), ended.clone());
        let keeper = Keeper {
            config: self.config.clone(),
            context: self.context.clone(),
            records: self.records.clone(),
            name: name.clone(),
            uid,
            path: path.clone(),
            findings: findings.clone(),
            removed: removed.clone(),
            ended,
            predecessor,
        };
        let view = PoolView { uid, path, status: Status::Starting, keeper: keeper.start() };
        self.keepers.insert(name.clone(), removed);
        self.state.pools.insert(name, view);
    }

    fn put_image(&mut self, name: Name, uid: Uid, spec: ImageSpec) {
        let pool = spec.pool.clone();
        let known = self.state.images.insert(uid, ImageView { name, spec });
        if known.is_none() {
            self.publish(&pool);
        }
    }

    fn delete(&mut self, uid: Uid) {
        if self.state.images.remove(&uid).is_some() {
            self.slots.withdraw_image(uid);
        }
        let pool = self.state.pools.iter().find(|(_, pool)| pool.uid == uid).map(|(name, _)| name.clone());
        if let Some(name) = pool {
            self.delete_pool(&name, uid);
            self.records.forget_pool(uid);
        }
    }

    fn delete_pool(&mut self, name: &Name, uid: Uid) {
        tracing::info!(pool = %name, "a pool is kept no more");
        if let Some(removed) = self.keepers.remove(name) {
            removed.cancel();
        }
        self.state.pools.remove(name);
        self.slots.withdraw(uid);
        self.say_health();
    }

    fn on_finding(&mut self, finding: Finding) {
        let pool = self.state.pools.iter_mut().find(|(_, pool)| pool.uid == finding.pool);
        if let Some((name, pool)) = pool {
            let name = name.clone();
            note(&name, &mut pool.status, finding.result);
            metrics::pool(name.as_str(), slots::ready_scan(&pool.status));
            self.publish(&name);
            self.say_health();
        }
        // Whoever waits for the finding looks at the view next.
        self.view.send_replace(self.state.clone());
        if finding.published.send(()).is_err() {
            tracing::debug!("a keeper ended before its finding was published");
        }
    }

    fn publish(&mut self, name: &Name) {
        if let Some(pool) = self.state.pools.get(name) {
            self.slots.publish(name, pool, &self.state.images);
        }
    }

    fn say_health(&self) {
        let failed = |(name, pool): (&Name, &PoolView)| match &pool.status {
            Status::Failed { reason, .. } => Some(format!("pool {name}: {reason}")),
            Status::Starting | Status::Ready(_) => None,
        };
        let failures: Vec<_> = self.state.pools.iter().filter_map(failed).collect();
        self.context.health.degrade(failures.join("; "));
    }
}

/// Takes a finding over into the status; a change is logged.
fn note(name: &Name, status: &mut Status, result: Result<std::sync::Arc<acp_wire_api::worker::ScanReply>, String>) {
    let next = match result {
        Ok(scan) => Status::Ready(scan),
        Err(reason) => {
            let last = match status {
                Status::Ready(scan) => Some(scan.clone()),
                Status::Failed { last, .. } => last.clone(),
                Status::Starting => None,
            };
            Status::Failed { reason, last }
        }
    };
    match (&*status, &next) {
        (Status::Starting | Status::Failed { .. }, Status::Ready(_)) => tracing::info!(pool = %name, "pool ready"),
        (Status::Starting | Status::Ready(_), Status::Failed { reason, .. }) => {
            tracing::error!(pool = %name, reason, "pool failed");
        }
        _ => {}
    }
    *status = next;
}
