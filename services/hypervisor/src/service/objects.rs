//! Declarations: what the cluster database says of systems.

use acp_base::{Code, Failure, Name, Uid};
use acp_core_system::{Durable, Input, Task};
use acp_io_client::ObjectEvent;
use acp_wire_api::cluster::{Get, GetRequest};
use acp_wire_model::{Kind, Object, system::SystemSpec};

use super::{Message, Owner};
use crate::{entry::Entry, persist::Record, task};

impl Owner {
    pub(super) fn take_object(&mut self, event: ObjectEvent) {
        match event {
            ObjectEvent::Put(object) if object.kind == Kind::System => self.put(object),
            ObjectEvent::Delete(object) if object.kind == Kind::System => self.spec_gone(object.uid),
            ObjectEvent::Put(_) | ObjectEvent::Delete(_) => {}
            ObjectEvent::Synced => self.synced(),
            ObjectEvent::Resync => self.seen.clear(),
        }
    }

    fn put(&mut self, object: Object) {
        self.seen.insert(object.uid);
        if let Some(stash) = self.proposing.get_mut(&object.uid) {
            *stash = Some(object);
            return;
        }
        let (Ok(spec), Ok(name)) = (object.spec_as::<SystemSpec>(), object.name.parse::<Name>()) else {
            tracing::error!(system = object.name, "a declaration cannot be read and is left alone");
            return;
        };
        self.found(object.uid);
        match self.entries.get_mut(&object.uid) {
            Some(entry) if entry.spec == spec && entry.name == name => {}
            Some(entry) => {
                // It is known by its identity, so the node has got another name; a system is not moved by its spec.
                if spec.node != self.context.node {
                    tracing::warn!(system = %name, node = %spec.node, "the spec names another node; the system stays here");
                }
                tracing::info!(system = %name, "the spec has changed; it counts from the next start");
                (entry.spec, entry.name) = (spec, name);
                self.save_now(object.uid);
            }
            None if spec.node == self.context.node => self.add(declared(object.uid, name, spec), None),
            None => {}
        }
    }

    /// What was missing is declared again.
    fn found(&mut self, uid: Uid) {
        if let Some(entry) = self.entries.get_mut(&uid).filter(|entry| entry.orphan) {
            tracing::info!(system = %entry.name, "the declaration of an orphan is there again");
            entry.orphan = false;
            self.say_health();
        }
    }

    /// A system that is new here; its record is written before anything is done for it.
    fn add(&mut self, record: Record, task: Option<Task>) {
        let uid = record.uid;
        tracing::info!(system = %record.name, uid = %uid, "a new system");
        self.entries.insert(uid, Entry::new(record, task, self.same_boot));
        self.save_now(uid);
        self.feed_units(uid);
    }

    /// Every declaration was said once: systems that were not are looked for one by one before they are believed gone,
    /// because a declaration can be younger than the state that was said.
    fn synced(&mut self) {
        self.is_synced = true;
        let missing: Vec<Uid> = self.entries.keys().filter(|uid| !self.seen.contains(uid)).copied().collect();
        for uid in missing {
            let (client, inbox) = (self.client.clone(), self.inbox.clone());
            self.spawn("declaration check", async move {
                let request = GetRequest {
                    kind: Kind::System,
                    name: None,
                    uid: Some(uid),
                    node: None,
                    min_index: None,
                    linearizable: false,
                    here: Some(true),
                };
                let answer = client.service("cluster").call::<Get>(request).await;
                if answer.is_err_and(|failure| failure.code == Code::NotFound) {
                    // An owner that is gone needs no news.
                    drop(inbox.send(Message::SpecMissing { uid }).await);
                }
            });
        }
    }

    /// The cluster database does not know the system, and nobody is known to have deleted it: this node has come to a log in
    /// which it is not. It goes on as it is until an operator decides, or until its declaration comes back.
    pub(super) fn spec_missing(&mut self, uid: Uid) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if self.seen.contains(&uid) || entry.orphan || entry.system.durable().deleting {
            return;
        }
        tracing::warn!(system = %entry.name, %uid, "a system is not declared and was not deleted: it is an orphan");
        entry.orphan = true;
        self.say_health();
    }

    /// The declaration was deleted: the log says so.
    fn spec_gone(&mut self, uid: Uid) {
        self.seen.remove(&uid);
        if let Some(stash) = self.proposing.get_mut(&uid) {
            *stash = None;
        }
        self.drive(uid, Input::SpecGone);
    }

    /// A caller's declaration stands: its job begins. Answers the job.
    pub(super) fn declared(&mut self, uid: Uid, name: Name, spec: SystemSpec) -> Result<Uid, Failure> {
        self.proposing.remove(&uid);
        self.seen.insert(uid);
        // Before its job: one that is found without a record after a death would be a job on nothing.
        if let Err(failure) = self.store.save(&declared(uid, name.clone(), spec.clone())) {
            tracing::warn!(system = %name, reason = %failure, "a new system cannot be recorded yet");
        }
        let job = match self.begin_job(uid, &name, Task::Create) {
            Ok(job) => job,
            Err(failure) => {
                self.add(declared(uid, name, spec), None);
                return Err(failure
                    .context("it was declared, but no job reports on its disks")
                    .changed(acp_base::Change::Partial));
            }
        };
        let id = job.id();
        self.entries.insert(uid, Entry::new(declared(uid, name, spec), Some(Task::Create), self.same_boot));
        self.save_now(uid);
        self.add_work(uid, Task::Create, job);
        self.feed_units(uid);
        Ok(id)
    }

    /// Whether the declaration stands is not known: if it was seen, it is taken for one without a job.
    pub(super) fn not_declared(&mut self, uid: Uid) {
        if let Some(Some(object)) = self.proposing.remove(&uid) {
            self.put(object);
        }
    }

    pub(super) fn begin_job(&self, uid: Uid, name: &Name, wanted: Task) -> Result<acp_io_jobs::JobHandle, Failure> {
        let detail = task::detail(uid, wanted);
        self.jobs.begin(wanted.verb(), Kind::System, name.as_str(), detail, wanted.cancellable())
    }
}

fn declared(uid: Uid, name: Name, spec: SystemSpec) -> Record {
    let Durable { power, made, deleting, exit, reason } = Durable::declared();
    Record { uid, name, spec, power, made, deleting, exit, reason, own_disks: None, leased: false }
}
