//! `acpctl cluster backup` and `restore`: the whole control plane in one file.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::{Duration, Instant},
};

use acp_base::{ByteSize, Change, Code, Failure, Name, WallTime};
use acp_client::home::CLUSTER;
use acp_wire_api::{
    Empty,
    agent::{GetStatus, InitCluster, InitClusterRequest},
    cluster,
    hub::BackupReply,
};
use serde_json::json;

use super::{AGENT, is_root_here, root_key_of};
use crate::{
    error,
    output::{ago, now_ms, to_value},
    private_file::{self, Existing},
    root_key,
    session::Session,
};

/// How long this node's database may take to follow the restored log, which lies beside it.
const FOLLOWED_LIMIT: Duration = Duration::from_secs(15);
/// How often it is asked meanwhile.
const FOLLOWED_LOOK: Duration = Duration::from_millis(100);

/// The largest backup that is read, in bytes: the state of a cluster has some megabytes.
const BACKUP_BYTES_MAX: u64 = 1 << 30;

pub(super) async fn make(session: &mut Session, file: &Path, force: bool) -> Result<u8, Failure> {
    // Before the secret is asked for; the file itself is placed so that nothing is replaced by mistake.
    if !force && file.symlink_metadata().is_ok() {
        return Err(exists(file));
    }
    let backup = session.acp().quorum().backup().await?;
    let text = serde_json::to_string(&backup)
        .map_err(|error| Failure::internal(format!("the backup cannot be written: {error}")))?;
    let existing = if force { Existing::Replace } else { Existing::Keep };
    private_file::write(file, text.as_bytes(), existing).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(file),
        _ => Failure::precondition(format!("cannot write {}: {error}", file.display())),
    })?;
    let bytes = ByteSize(text.len() as u64);
    let sentence = format!("{} ({bytes}) holds {}", file.display(), holding(&backup));
    let fields = json!({
        "file": file, "bytes": bytes.0, "cluster": backup.cluster, "name": backup.name, "index": backup.index,
        "hash": backup.hash, "time_ms": backup.time_ms,
    });
    session.out.done(&sentence, &fields)?;
    if session.out.is_for_people() {
        error::say(
            "it is a secret: whoever has it can make themselves any node of this cluster. Keep it where root alone reads it",
        );
    }
    Ok(crate::DONE)
}

fn exists(file: &Path) -> Failure {
    let text = format!("{} is there already: name another file, or give --force to replace it", file.display());
    Failure::new(Code::AlreadyExists, text)
}

fn holding(backup: &BackupReply) -> String {
    let cluster = if backup.name.is_empty() {
        format!("the objects of node log {}", backup.cluster)
    } else {
        format!("cluster {} ({})", backup.name, backup.cluster)
    };
    let authority = if backup.authority.is_empty() { "" } else { ", and its authority's key" };
    format!("{cluster} up to entry {}: its objects, members, roles and keys{authority}", backup.index)
}

pub(super) async fn restore(session: &mut Session, file: &Path, is_plan: bool) -> Result<u8, Failure> {
    let backup = read(file)?;
    let made = WallTime(backup.time_ms);
    let age = ago(now_ms().saturating_sub(backup.time_ms));
    let held = format!("{} holds {}, made at {made}, {age}", file.display(), holding(&backup));
    if is_plan {
        let status = session.acp().quorum().restore(backup, true).await?;
        session.out.done(&format!("{held}\n{}", status.degraded), &to_value(&status)?)?;
        return Ok(crate::DONE);
    }
    error::say(&held);
    session.confirm(
        "begin a new epoch from this backup on this node; what was changed after the backup was made is lost",
    )?;
    let name = backup.name.clone();
    let status = session.acp().quorum().restore(backup, false).await?;
    let is_member = if name.is_empty() { true } else { become_member(session, &name).await? };
    wait_followed(session, &status.epoch).await?;
    let others = if name.is_empty() { "" } else { "; members that do not follow come back with: acpctl node rejoin" };
    let sentence = format!("node {} goes on in epoch {} as its only voter{others}", status.node, status.epoch);
    session.out.done(&sentence, &to_value(&status)?)?;
    if !is_member {
        error::say("root of this node has no rights on the others: use a key (acpctl key create, --key-file)");
    }
    Ok(crate::DONE)
}

/// Has the agent be a member of the cluster whose log its hub has now, unless it is one. Answers whether root of this node has
/// rights on the others, as far as that is known.
async fn become_member(session: &Session, name: &str) -> Result<bool, Failure> {
    let before = session.call::<GetStatus>(AGENT, Empty {}).await?;
    if before.cluster.is_some() {
        return Ok(true);
    }
    let name: Name = name.parse().map_err(|error| Failure::invalid(format!("the backup's name: {error}")))?;
    let root_key_hash = root_key_of(session, &before)?;
    let request = InitClusterRequest { name: name.clone(), address: None, root_key_hash };
    let joined = session.call::<InitCluster>(AGENT, request).await.map_err(|failure| {
        let text =
            format!("the log is restored; this node is no member yet, which acpctl cluster init {name} makes it");
        failure.context(text).changed(Change::Partial)
    })?;
    if !joined.root_key && is_root_here(session) {
        root_key::forget(before.root_key_path.as_ref())?;
    }
    Ok(joined.root_key)
}

/// Waits until this node's database is in the new epoch: what is read then is what the backup held.
async fn wait_followed(session: &Session, epoch: &str) -> Result<(), Failure> {
    let until = Instant::now() + FOLLOWED_LIMIT;
    loop {
        let status = session.daemon(CLUSTER)?.call::<cluster::GetStatus>(Empty {}).await?;
        if status.epoch == epoch {
            return Ok(());
        }
        if Instant::now() + FOLLOWED_LOOK >= until {
            let text = format!(
                "the log is restored; this node's database is in epoch {} still and not in {epoch}; see: acpctl cluster status",
                status.epoch
            );
            return Err(Failure::unavailable(text).changed(Change::Partial));
        }
        tokio::time::sleep(FOLLOWED_LOOK).await;
    }
}

fn read(file: &Path) -> Result<BackupReply, Failure> {
    let unreadable = |error: io::Error| {
        let text = format!("cannot read {}: {error}", file.display());
        if error.kind() == io::ErrorKind::NotFound { Failure::not_found(text) } else { Failure::precondition(text) }
    };
    let mut text = Vec::new();
    File::open(file).and_then(|file| file.take(BACKUP_BYTES_MAX).read_to_end(&mut text)).map_err(unreadable)?;
    serde_json::from_slice(&text).map_err(|error| {
        // The text is not repeated: it holds a key.
        Failure::new(
            Code::DataLoss,
            format!("{} is no whole backup: {:?} at line {}", file.display(), error.classify(), error.line()),
        )
    })
}
