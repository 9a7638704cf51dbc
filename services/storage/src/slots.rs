//! What the daemon says of pools, volumes and images.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::{Name, Uid};
use acp_io_client::Reporter;
use acp_wire_api::worker::{FileInfo, ScanReply};
use acp_wire_model::{
    Kind,
    image::ImageMeta,
    object::Facet,
    pool::{PoolMeta, PoolState},
    volume::{Backing, VolumeMeta},
};

use crate::{
    identity::volume_uid,
    view::{ImageView, PoolView, Status},
};

/// Keeps the published slots equal to what is known.
#[derive(Debug)]
pub(crate) struct Slots {
    reporter: Reporter,
    volumes: BTreeMap<Uid, BTreeSet<Uid>>,
}

impl Slots {
    pub(crate) fn new(reporter: Reporter) -> Self {
        Self { reporter, volumes: BTreeMap::new() }
    }

    /// Says all there is to say of a pool.
    pub(crate) fn publish(&mut self, name: &Name, pool: &PoolView, images: &BTreeMap<Uid, ImageView>) {
        let reason = match &pool.status {
            Status::Starting => return,
            Status::Ready(scan) => {
                self.reporter.put(Kind::Pool, pool.uid, None, Facet::Stats, &scan.stats);
                String::new()
            }
            Status::Failed { reason, .. } => reason.clone(),
        };
        let state = if reason.is_empty() { PoolState::Ready } else { PoolState::Failed };
        let meta = PoolMeta { state, reason: reason.clone(), path: pool.path.clone() };
        self.reporter.put(Kind::Pool, pool.uid, None, Facet::Meta, &meta);
        let failed = if reason.is_empty() {
            reason
        } else {
            format!("its pool {name:?} has failed: {reason}", name = name.as_str())
        };
        self.publish_volumes(name, pool, images, &failed);
        self.publish_images(name, pool, images, &failed);
    }

    /// Takes back all that was said of a pool and its volumes.
    pub(crate) fn withdraw(&mut self, pool: Uid) {
        self.reporter.remove(Kind::Pool, pool);
        for volume in self.volumes.remove(&pool).unwrap_or_default() {
            self.reporter.remove(Kind::Volume, volume);
        }
    }

    /// Takes back what was said of an image.
    pub(crate) fn withdraw_image(&self, image: Uid) {
        self.reporter.remove(Kind::Image, image);
    }

    fn publish_volumes(&mut self, name: &Name, pool: &PoolView, images: &BTreeMap<Uid, ImageView>, failed: &str) {
        let mut present = BTreeSet::new();
        for info in pool.status.files().iter().filter(|info| info.file.kind == Kind::Volume) {
            let Ok(volume) = info.file.name.parse::<Name>() else { continue };
            let uid = volume_uid(pool.uid, &volume, &info.identity);
            let meta = volume_meta(name, &volume, info, images, failed);
            self.reporter.put(Kind::Volume, uid, Some(format!("{name}/{volume}")), Facet::Meta, &meta);
            present.insert(uid);
        }
        let before = self.volumes.insert(pool.uid, present.clone()).unwrap_or_default();
        for gone in before.difference(&present) {
            self.reporter.remove(Kind::Volume, *gone);
        }
    }

    fn publish_images(&self, name: &Name, pool: &PoolView, images: &BTreeMap<Uid, ImageView>, failed: &str) {
        for (uid, image) in images.iter().filter(|(_, image)| image.spec.pool == *name) {
            let reason = if failed.is_empty() { image_problem(*uid, image, &pool.status) } else { failed.to_owned() };
            let meta = ImageMeta { present: reason.is_empty(), reason };
            self.reporter.put(Kind::Image, *uid, None, Facet::Meta, &meta);
        }
    }
}

fn volume_meta(
    pool: &Name,
    volume: &Name,
    info: &FileInfo,
    images: &BTreeMap<Uid, ImageView>,
    failed: &str,
) -> VolumeMeta {
    VolumeMeta {
        pool: pool.clone(),
        volume: volume.clone(),
        format: info.format,
        size_bytes: info.virtual_size_bytes,
        allocated_bytes: info.allocated_bytes,
        backing: info
            .backing
            .as_ref()
            .map(|below| Backing { kind: below.kind, name: image_name(below.kind, &below.name, images) }),
        reason: if failed.is_empty() { info.reason.clone() } else { failed.to_owned() },
    }
}

/// An image's name where its uid is known, else the uid.
fn image_name(kind: Kind, name: &str, images: &BTreeMap<Uid, ImageView>) -> String {
    let uid = (kind == Kind::Image).then(|| name.parse::<Uid>().ok()).flatten();
    let image = uid.and_then(|uid| images.get(&uid));
    image.map_or_else(|| name.to_owned(), |image| image.name.to_string())
}

fn image_problem(uid: Uid, image: &ImageView, status: &Status) -> String {
    let uid = uid.to_string();
    let file = status.files().iter().find(|info| info.file.kind == Kind::Image && info.file.name == uid);
    match file {
        None => "its file is missing".to_owned(),
        Some(info) if !info.reason.is_empty() => info.reason.clone(),
        Some(info) if info.file_bytes != image.spec.size_bytes => format!(
            "its file has {} bytes where {} were imported",
            info.file_bytes.bytes(),
            image.spec.size_bytes.bytes()
        ),
        Some(_) => String::new(),
    }
}

/// The scan of a pool that is ready.
pub(crate) fn ready_scan(status: &Status) -> Option<&ScanReply> {
    match status {
        Status::Ready(scan) => Some(scan),
        Status::Starting | Status::Failed { .. } => None,
    }
}
