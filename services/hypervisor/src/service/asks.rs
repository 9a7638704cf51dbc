//! What operators ask for.

use acp_base::{Code, Failure, Name, Uid};
use acp_core_system::{Input, Task, Verdict};
use acp_wire_api::jobs::Started;

use super::Owner;
use crate::entry::StartedReply;

/// Tasks that may wait for one system, for example for its disks to be made. Who asks more often is a loop.
const WAITING_MAX: usize = 16;

impl Owner {
    pub(super) fn ask(&mut self, name: &Name, task: Task, reply: StartedReply) {
        match self.find(name).map(|entry| entry.uid) {
            Some(uid) => self.ask_of(uid, task, reply),
            // A caller that is gone needs no answer.
            None => drop(reply.send(Err(self.unknown(name)))),
        }
    }

    fn ask_of(&mut self, uid: Uid, task: Task, reply: StartedReply) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let answer = match entry.system.admit(task) {
            Verdict::Begin { cancels } => self.begin(uid, task, cancels),
            Verdict::Nothing => Ok(Started { job: None }),
            Verdict::Refuse(failure) => Err(failure),
            Verdict::Wait if entry.waiting.len() < WAITING_MAX => return entry.waiting.push((task, reply)),
            Verdict::Wait => Err(Failure::new(
                Code::ResourceExhausted,
                format!("{WAITING_MAX} calls wait for system {} already; wait for them", entry.name),
            )),
        };
        // A caller that is gone needs no answer.
        drop(reply.send(answer));
    }

    /// Asks again for what waited, after a change of the system.
    pub(super) fn ask_again(&mut self, uid: Uid) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        for (task, reply) in std::mem::take(&mut entry.waiting) {
            if !reply.is_closed() {
                self.ask_of(uid, task, reply);
            }
        }
    }

    fn begin(&mut self, uid: Uid, task: Task, cancels: Option<Task>) -> Result<Started, Failure> {
        if task == Task::Start {
            self.refuse_early(uid)?;
        }
        let Some(entry) = self.entries.get_mut(&uid) else { return Ok(Started { job: None }) };
        if let Some(replaced) = cancels {
            let why = format!("system {} was asked to {} meanwhile", entry.name, verb(task));
            entry.finish(replaced, Err(Failure::new(Code::Cancelled, why)));
        }
        let name = entry.name.clone();
        let job = self.begin_job(uid, &name, task)?;
        let id = job.id();
        self.add_work(uid, task, job);
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.start_began = (task == Task::Start).then(tokio::time::Instant::now);
        }
        if let Err(failure) = self.try_drive(uid, Input::Begin(task)) {
            if let Some(entry) = self.entries.get_mut(&uid) {
                entry.finish(task, Err(failure.clone()));
            }
            return Err(failure);
        }
        Ok(Started { job: Some(id) })
    }

    /// A start that lacks memory is refused at once, without a job, where it can be known: once the accelerator is decided.
    fn refuse_early(&self, uid: Uid) -> Result<(), Failure> {
        let decided = self.verdict.borrow().as_ref().map(|verdict| verdict.accelerator);
        match (decided, self.entries.get(&uid)) {
            (Some(accelerator), Some(entry)) if entry.limit.is_none() => self.has_memory_for(uid, accelerator),
            _ => Ok(()),
        }
    }

    pub(super) fn ask_reset(&self, name: &Name) -> Result<Uid, Failure> {
        let entry = self.find(name).ok_or_else(|| self.unknown(name))?;
        entry.system.admit_reset().map(|()| entry.uid)
    }

    fn unknown(&self, name: &Name) -> Failure {
        if self.is_synced {
            return Failure::not_found(format!("there is no system {:?} on node {}", name.as_str(), self.context.node));
        }
        let why = "is not known here, and the cluster database does not answer; try again";
        Failure::unavailable(format!("system {:?} {why}", name.as_str()))
    }
}

/// The task in a sentence.
fn verb(task: Task) -> &'static str {
    task.verb().trim_start_matches("system-")
}
