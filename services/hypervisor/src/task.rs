//! What a job's file holds of its task, so that a successor takes it up.

use std::time::Duration;

use acp_base::Uid;
use acp_core_system::{Task, policy};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The detail of every job of this service.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Detail {
    /// The system.
    pub(crate) uid: Uid,
    /// For a shutdown: how long the guest may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    /// For a shutdown: whether it is stopped then.
    #[serde(default)]
    force: bool,
}

/// The detail of a task's job.
pub(crate) fn detail(uid: Uid, task: Task) -> Value {
    let detail = match task {
        Task::Shutdown { timeout, force } => {
            Detail { uid, timeout_ms: Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)), force }
        }
        Task::Create | Task::Start | Task::Stop | Task::Delete => Detail { uid, timeout_ms: None, force: false },
    };
    serde_json::to_value(detail).expect("a struct of plain fields is JSON")
}

/// The system and task of an interrupted job.
pub(crate) fn read(verb: &str, detail: &Value) -> Option<(Uid, Task)> {
    let detail: Detail = serde_json::from_value(detail.clone()).ok()?;
    let timeout = detail.timeout_ms.map_or(policy::SHUTDOWN_DEFAULT, Duration::from_millis);
    let tasks = [Task::Create, Task::Start, Task::Stop, Task::Shutdown { timeout, force: detail.force }, Task::Delete];
    let task = tasks.into_iter().find(|task| task.verb() == verb)?;
    Some((detail.uid, task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_comes_back() {
        let uid = Uid::from_u128(9);
        let shutdown = Task::Shutdown { timeout: Duration::from_millis(1500), force: true };
        for task in [Task::Create, Task::Start, Task::Stop, shutdown, Task::Delete] {
            assert_eq!(read(task.verb(), &detail(uid, task)), Some((uid, task)));
        }
        assert_eq!(read("system-dance", &detail(uid, Task::Start)), None);
        assert_eq!(read("system-start", &Value::Null), None);
    }
}
