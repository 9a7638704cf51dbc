//! Snapshots, a part at a time.

use super::{Store, disk};
use crate::{
    error::OpenError,
    types::{LogId, SnapshotMeta},
};

impl Store {
    /// Stores a snapshot in the place of the one before, unless that covers more. Entries can be stored in between its parts;
    /// it counts from the last step on, whole.
    pub(crate) async fn save_snapshot(&self, meta: SnapshotMeta, image: &[u8]) -> Result<(), OpenError> {
        let last = meta.last_log_id;
        let saved = self.save_parts(meta, image).await;
        self.covered.send_modify(|covered| match (&saved, &mut *covered) {
            (Ok(()), Ok(covered)) => *covered = last.max(*covered),
            (Err(_), covered) => *covered = Err(()),
            (Ok(()), Err(())) => {}
        });
        saved
    }

    async fn save_parts(&self, meta: SnapshotMeta, image: &[u8]) -> Result<(), OpenError> {
        let id = self.run(|disk| Ok(disk.begin_snapshot())).await?;
        let mut parts = 0;
        for bytes in disk::parts_of(image) {
            let (part, bytes) = (parts, bytes.to_vec());
            self.run(move |disk| disk.write_part(id, part, &bytes)).await?;
            parts += 1;
        }
        self.run(move |disk| disk.end_snapshot(id, parts, meta)).await
    }

    /// Waits until a snapshot on disk stands for everything up to this entry.
    pub(crate) async fn covers(&self, upto: LogId) -> Result<(), OpenError> {
        let mut covered = self.covered.subscribe();
        let is_decided = |covered: &Result<Option<LogId>, ()>| covered.is_err() || *covered >= Ok(Some(upto));
        match covered.wait_for(is_decided).await.map(|covered| *covered) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(())) | Err(_) => Err(OpenError::Store {
                doing: "store entries",
                reason: "the snapshot before them was not stored".into(),
            }),
        }
    }

    /// As if a snapshot stood for everything and everything was stored: openraft's suite purges logs of which it never took a
    /// snapshot, and applies entries of which there is no log.
    #[cfg(test)]
    pub(crate) fn assume_covered(&self) {
        let everything =
            LogId::new(openraft::CommittedLeaderId::new(u64::MAX, crate::types::Voter::default()), u64::MAX);
        self.covered.send_modify(|covered| *covered = Ok(Some(everything)));
        self.durable.store(everything);
    }
}
