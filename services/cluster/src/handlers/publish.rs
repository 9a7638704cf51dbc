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
    let reporter = format!("{}@{}", reporter(&call.caller), app.here());
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
/// reporters apart, it protects nothing: root may say what it likes.
fn reporter(caller: &Caller) -> String {
    match caller.daemon() {
        Some(noun) => noun.to_owned(),
        None if caller.uid == 0 && is_process(caller.pid, ROOT_SERVICE) => ROOT_SERVICE.to_owned(),
        None => caller.actor(),
    }
}

fn is_process(pid: u32, noun: &str) -> bool {
    let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    command.trim_end().strip_prefix("acp-") == Some(noun)
}
