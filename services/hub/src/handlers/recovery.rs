//! What is done when the majority is gone for good, or everything is.

use std::{sync::Arc, time::Duration};

use acp_base::{Failure, Name, to_base64};
use acp_core_cdb::State;
use acp_io_daemon::{Call, wall_now};
use acp_io_pki::Authority;
use acp_wire_api::hub::{self as api, BackupReply, QuorumStatus};
use tokio::time::Instant;

use super::App;
use crate::{
    error::pki_failure,
    founding::{BACKUP_VERSION, read_image},
    seat::{blocking, no_log},
};

/// How long a quorum that was heard counts as there.
const HEARD_MAX: Duration = Duration::from_secs(3);

/// How long a backup waits for a quorum, so that it holds everything acknowledged; without one it holds what is here.
const LINEAR_LIMIT: Duration = Duration::from_secs(2);

pub(super) async fn recover(app: Arc<App>, call: Call<api::Recover>) -> Result<QuorumStatus, Failure> {
    let lost = app.lost()?;
    if call.request.plan {
        return Ok(QuorumStatus { degraded: lost, ..app.quorum() });
    }
    tracing::warn!(actor = call.caller.actor(), lost, "the log begins anew with this node alone");
    app.founding.recover().await?;
    Ok(app.quorum())
}

pub(super) async fn backup(app: Arc<App>, call: Call<api::Backup>) -> Result<BackupReply, Failure> {
    let deadline = call.context.deadline.min(Instant::now() + LINEAR_LIMIT);
    if let Err(failure) = app.linear(deadline).await {
        tracing::warn!(reason = %failure, "the backup holds what this hub has: there is no quorum");
    }
    let image = app.replica.read(State::image).ok_or_else(no_log)?;
    let (index, hash) = (image.index(), image.hash().to_string());
    let directory = app.seat.directory();
    let authority = blocking(move || Authority::export(&directory)).await?.map_err(|error| pki_failure(&error))?;
    let image = to_base64(&blocking(move || image.encode()).await?);
    let snapshot = app.snapshot();
    tracing::info!(actor = call.caller.actor(), index, "backup made");
    Ok(BackupReply {
        version: BACKUP_VERSION,
        cluster: app.replica.position().borrow().cluster.ok_or_else(no_log)?,
        name: snapshot.state.founded().map(|founded| founded.name.to_string()).unwrap_or_default(),
        index,
        hash,
        time_ms: wall_now().0,
        image,
        authority: authority.unwrap_or_default(),
    })
}

pub(super) async fn restore(app: Arc<App>, call: Call<api::Restore>) -> Result<QuorumStatus, Failure> {
    let api::RestoreRequest { backup, plan } = call.request;
    let said = app.restorable(&backup).await?;
    if plan {
        return Ok(QuorumStatus { degraded: said, ..app.quorum() });
    }
    tracing::warn!(actor = call.caller.actor(), index = backup.index, "the log begins anew with a backup");
    app.founding.restore(&backup).await?;
    Ok(app.quorum())
}

impl App {
    /// What recovering would lose, in a sentence; refused while there is a quorum.
    fn lost(&self) -> Result<String, Failure> {
        let status = self.seat.status().borrow().clone();
        let at = *self.replica.position().borrow();
        at.cluster.ok_or_else(no_log)?;
        let heard = status.quorum_heard.map(|heard| heard.elapsed());
        if status.leader.is_some() && heard.is_some_and(|heard| heard < HEARD_MAX) {
            return Err(Failure::precondition("the control plane has its quorum: nothing has to be recovered"));
        }
        let since = match heard {
            Some(heard) => format!("no quorum was heard for {} s", heard.as_secs()),
            None => "no quorum was heard since this hub started".to_owned(),
        };
        let others: Vec<Name> = status
            .voters
            .iter()
            .filter(|uid| Some(**uid) != self.replica.here())
            .filter_map(|uid| self.name_of(*uid))
            .collect();
        Ok(format!(
            "this hub has entry {}, ordered at {}; what the voters {} had acknowledged after it is lost; {since}",
            at.index,
            at.time,
            others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        ))
    }

    /// What restoring would do, in a sentence, or why it cannot be done.
    async fn restorable(&self, backup: &BackupReply) -> Result<String, Failure> {
        if backup.version > BACKUP_VERSION {
            let text = format!("the backup has layout {}, this version reads up to {BACKUP_VERSION}", backup.version);
            return Err(Failure::precondition(text));
        }
        self.may_begin_with(backup).await?;
        let here = self.replica.here().ok_or_else(no_log)?;
        let (_image, state) = read_image(&backup.image)?;
        let is_whole = state.index() == backup.index
            && state.hash().to_string() == backup.hash
            && state.identity().is_some_and(|identity| identity.cluster == backup.cluster);
        if !is_whole {
            return Err(Failure::invalid(
                "the backup's image is not what it says: it was changed or mixed with another",
            ));
        }
        let (members, objects) = (state.members().members(), state.len());
        let (index, name) = (backup.index, &backup.name);
        if state.members().founded().is_none() && state.get(here).is_some() {
            return Ok(format!("the log of this node alone begins anew at entry {index} with {objects} objects"));
        }
        if !members.contains_key(&here) {
            let text =
                format!("the backup does not know node {here}, which this is: restore it on a node that it knows");
            return Err(Failure::precondition(text));
        }
        let members = members.len();
        Ok(format!(
            "cluster {name} begins anew at entry {index} with {members} members and {objects} objects; this node orders, the others are offline until they are in the new epoch"
        ))
    }

    /// A node that is in no cluster may begin with a backup, and one that orders its cluster's log alone with one of that cluster:
    /// other voters would go on without it.
    async fn may_begin_with(&self, backup: &BackupReply) -> Result<(), Failure> {
        let member_of = self.founding.member_of().await?.map(|cluster| cluster.uid);
        let snapshot = self.snapshot();
        let Some(founded) = snapshot.state.founded() else {
            return match member_of {
                None => Ok(()),
                Some(_) => Err(Failure::precondition("this node is in a cluster: it has to leave first")),
            };
        };
        let name = &founded.name;
        let others = self.seat.status().borrow().voters.iter().filter(|uid| Some(**uid) != self.replica.here()).count();
        let text = if founded.uid != backup.cluster {
            format!("this node is in the cluster {name}, and the backup is not of it: it has to leave first")
        } else if member_of != Some(founded.uid) {
            format!(
                "the log of cluster {name} is here already; acpctl cluster init {name} makes this node a member again"
            )
        } else if others > 0 {
            format!("this node is in the cluster {name}, which has {others} more voters: it has to leave first")
        } else {
            return Ok(());
        };
        Err(Failure::precondition(text))
    }
}
