//! Slots of the calling service.

use std::sync::Arc;

use acp_base::Failure;
use acp_core_cdb::{Publication, SlotReport};
use acp_io_daemon::{Call, Caller, boot_now};
use acp_wire_api::cluster::{Publish, PublishReply, Report};

use super::App;

/// The one service of ACP that runs as root. Its processes cannot be told from other root processes by user.
const ROOT_SERVICE: &str = "framework";

pub(super) async fn publish(app: Arc<App>, call: Call<Publish>) -> Result<PublishReply, Failure> {
    let reporter = format!("{}@{}", reporter(&call.caller)?, app.here());
    let request = call.request;
    let publication = Publication {
        incarnation: request.incarnation,
        sequence: request.sequence,
        reports: request.reports.into_iter().map(slot_report).collect(),
        replace: request.replace,
    };
    let unknown = app.database.publish(boot_now(), reporter, publication).await?;
    Ok(PublishReply { unknown })
}

fn slot_report(report: Report) -> SlotReport {
    let Report { kind, uid, name, facet, data } = report;
    SlotReport { kind, uid, name, facet, data }
}

/// The service's noun; for root, `framework` if the process is the framework's and `root` if it is any other. This tells
/// reporters apart, it protects nothing: root may say what it likes. Whoever has ended since it asked is neither: nobody would
/// ever take back what it said as the other.
fn reporter(caller: &Caller) -> Result<String, Failure> {
    if let Some(noun) = caller.daemon() {
        return Ok(noun.to_owned());
    }
    if caller.uid == 0 && name_of(caller.pid)?.strip_prefix("acp-") == Some(ROOT_SERVICE) {
        return Ok(ROOT_SERVICE.to_owned());
    }
    Ok(caller.actor())
}

/// What the process is called.
fn name_of(pid: u32) -> Result<String, Failure> {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => Ok(name.trim_end().to_owned()),
        Err(_gone) => Err(Failure::unavailable(format!("process {pid}, which reported, has ended"))),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use acp_base::Code;

    use super::*;

    #[test]
    fn whoever_has_ended_reports_as_nobody() {
        let own = name_of(std::process::id()).expect("it runs");
        assert!(!own.is_empty() && !own.contains('\n'), "{own:?}");
        let mut ended = Command::new("true").spawn().expect("it is there");
        ended.wait().expect("it ends");
        let failure = name_of(ended.id()).expect_err("it has ended");
        assert_eq!(failure.code, Code::Unavailable);
    }
}
