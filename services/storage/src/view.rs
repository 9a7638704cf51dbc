//! What the daemon knows, as a snapshot for handlers and jobs.

use std::{collections::BTreeMap, sync::Arc};

use acp_base::{Name, Uid};
use acp_wire_api::worker::{FileInfo, ScanReply};
use acp_wire_model::{Kind, image::ImageSpec};

use crate::keeper::KeeperHandle;

/// The pools and images of this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Whether every declared pool has been seen once.
    pub(crate) is_synced: bool,
    pub(crate) pools: BTreeMap<Name, PoolView>,
    pub(crate) images: BTreeMap<Uid, ImageView>,
}

/// A pool of this node.
#[derive(Clone, Debug)]
pub(crate) struct PoolView {
    pub(crate) uid: Uid,
    pub(crate) path: String,
    pub(crate) status: Status,
    pub(crate) keeper: KeeperHandle,
}

/// What is known of a pool.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// It has not been looked at.
    Starting,
    /// Its worker answers.
    Ready(Arc<ScanReply>),
    /// It cannot be used, and why; what was there when it last could.
    Failed { reason: String, last: Option<Arc<ScanReply>> },
}

/// A declared image.
#[derive(Clone, Debug)]
pub(crate) struct ImageView {
    pub(crate) name: Name,
    pub(crate) spec: ImageSpec,
}

impl Status {
    /// The files, also those of a failed pool when it last could be looked at.
    pub(crate) fn files(&self) -> &[FileInfo] {
        match self {
            Self::Ready(scan) | Self::Failed { last: Some(scan), .. } => &scan.files,
            Self::Starting | Self::Failed { last: None, .. } => &[],
        }
    }
}

impl PoolView {
    /// A volume of the pool.
    pub(crate) fn volume(&self, name: &Name) -> Option<&FileInfo> {
        self.status.files().iter().find(|info| info.file.kind == Kind::Volume && info.file.name == name.as_str())
    }

    /// The names of the volumes directly above an image.
    pub(crate) fn above_image(&self, uid: Uid) -> Vec<String> {
        let uid = uid.to_string();
        let above =
            self.status.files().iter().filter(|info| {
                info.backing.as_ref().is_some_and(|below| below.kind == Kind::Image && below.name == uid)
            });
        above.map(|info| info.file.name.clone()).collect()
    }
}
