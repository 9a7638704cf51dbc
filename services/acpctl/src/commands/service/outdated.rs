//! What an upgrade leaves behind: processes that run programs which are no longer those on disk.

use std::time::Duration;

use acp_base::{Code, Failure};
use acp_wire_api::{
    Empty,
    framework::{ListReplaced, Replaced, RestartFramework, Role},
};
use tokio::time::{Instant, sleep};

use super::FRAMEWORK;
use crate::{
    output::{Column, Style::Plain, to_value},
    session::Session,
};

const COLUMNS: &[Column] = &[
    Column("UNIT", "/unit", Plain),
    Column("ROLE", "/role", Plain),
    Column("PID", "/pid", Plain),
    Column("PROGRAM", "/program", Plain),
    Column("STAYS", "/is_kept", Plain),
];

/// How long the framework may take to be there anew: it reads its records and adopts its units, milliseconds each.
const RENEWAL_MAX: Duration = Duration::from_secs(30);
/// The pause between two looks at it.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn list(session: &mut Session) -> Result<u8, Failure> {
    let processes = replaced(session).await?;
    let rows = processes.iter().map(to_value).collect::<Result<Vec<_>, _>>()?;
    session.out.list(&rows, COLUMNS)?;
    Ok(crate::DONE)
}

async fn replaced(session: &Session) -> Result<Vec<Replaced>, Failure> {
    Ok(session.call::<ListReplaced>(FRAMEWORK, Empty {}).await?.processes)
}

/// Restarts the framework first, since it says how units are started, then one unit after the other. The first that does not
/// become ready ends it, so that a bad program stops one service and not all.
pub(super) async fn restart(session: &mut Session) -> Result<u8, Failure> {
    let processes = replaced(session).await?;
    if processes.iter().any(is_framework) {
        renew(session).await?;
    }
    let mut names: Vec<String> =
        replaced(session).await?.into_iter().filter(|process| !process.is_kept).map(|process| process.unit).collect();
    names.dedup();
    for name in names {
        match super::restart(session, name).await {
            // Who had started it has put another in its place, or needs none, since it was started anew itself.
            Err(failure) if failure.code == Code::NotFound => {}
            restarted => drop(restarted?),
        }
    }
    for kept in processes.into_iter().filter(|process| process.is_kept && process.role == Role::Main) {
        let line = format!("{} keeps the old program until its system is stopped and started", kept.unit);
        session.out.item(&line, &to_value(&kept)?)?;
    }
    Ok(crate::DONE)
}

fn is_framework(process: &Replaced) -> bool {
    process.unit == FRAMEWORK
}

/// Has the guard start the framework and itself anew, and waits until both are.
async fn renew(session: &mut Session) -> Result<(), Failure> {
    match session.call::<RestartFramework>(FRAMEWORK, Empty {}).await {
        Ok(Empty {}) => {}
        // It may be gone before it has answered.
        Err(failure) if failure.code == Code::Unavailable => {}
        Err(failure) => return Err(failure),
    }
    let deadline = Instant::now() + RENEWAL_MAX;
    while replaced(session).await.is_ok_and(|processes| processes.iter().any(is_framework)) {
        if Instant::now() >= deadline {
            let text = "the framework still runs its old program; see: acpctl service log framework";
            return Err(Failure::new(Code::DeadlineExceeded, text.to_owned()));
        }
        sleep(LOOK_PAUSE).await;
    }
    session.out.item("framework is ready", &serde_json::json!({ "name": FRAMEWORK, "state": "ready" }))
}
