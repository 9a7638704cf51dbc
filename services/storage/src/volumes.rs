//! Volumes: making, cloning, enlarging, removing, opening.

use std::os::fd::OwnedFd;

use acp_base::{Code, Failure, Name};
use acp_io_daemon::{Call, Caller};
use acp_wire_api::{
    Empty,
    cluster::{List, ListRequest},
    jobs::Started,
    storage::{
        CloneVolume, CreateVolume, CreateVolumeRequest, DeleteVolume, ExpandVolume, OpenVolume, OpenVolumeReply,
        VolumeReply,
    },
    worker::{self as worker_api, FileInfo, FileRef, FileRequest},
};
use acp_wire_model::{Kind, image::DiskFormat, system::SystemSpec};

use crate::{
    api::{Api, image_file, volume_file},
    jobs::{self, CloneDetail},
};

/// Makes a volume: empty, or a linked clone of an image.
pub(crate) async fn create(api: Api, call: Call<CreateVolume>) -> Result<VolumeReply, Failure> {
    let request = call.request;
    api.ready_pool(&request.pool).await?;
    let backing = backing(&api, &request).await?;
    let order = worker_api::CreateRequest {
        name: request.volume.to_string(),
        format: request.format.unwrap_or(DiskFormat::Qcow2),
        size_bytes: request.size_bytes,
        backing: backing.clone(),
    };
    let worker = api.worker(&request.pool);
    let info = match api.hear(&request.pool, worker.call::<worker_api::Create>(order)).await {
        Err(failure) if failure.code == Code::AlreadyExists && is_hypervisor(&call.caller) => {
            grown(&api, &request, backing.as_ref()).await.ok_or(failure)?
        }
        made => made?,
    };
    api.changed(&request.pool).await;
    Ok(reply(&info))
}

async fn backing(api: &Api, request: &CreateVolumeRequest) -> Result<Option<FileRef>, Failure> {
    let Some(name) = &request.image else { return Ok(None) };
    let (uid, spec) = api.image(name).await?;
    if spec.pool != request.pool {
        let text = format!(
            "the image {name} lies in pool {}, and a linked clone lies in the pool of its image: choose that pool",
            spec.pool
        );
        return Err(Failure::precondition(text));
    }
    Ok(Some(image_file(uid)))
}

/// The volume that a system had, if an operator enlarged it since: the system's spec still names the first size.
async fn grown(api: &Api, request: &CreateVolumeRequest, backing: Option<&FileRef>) -> Option<FileInfo> {
    let pool = api.fresh_pool(&request.pool).await.ok()?;
    let info = pool.volume(&request.volume)?;
    let is_large = request.size_bytes.is_none_or(|size| info.virtual_size_bytes >= size);
    let is_same = info.backing.as_ref() == backing && info.format == request.format.unwrap_or(DiskFormat::Qcow2);
    (is_large && is_same).then(|| info.clone())
}

/// Clones a volume: linked at once, else by a job.
pub(crate) async fn clone(api: Api, call: Call<CloneVolume>) -> Result<Started, Failure> {
    let request = call.request;
    let pool = api.fresh_pool(&request.pool).await?;
    if pool.volume(&request.volume).is_none() {
        return Err(no_volume(&request.pool, &request.volume));
    }
    if pool.volume(&request.target).is_some() {
        let text =
            format!("there is a volume {} in pool {} already: choose another name", request.target, request.pool);
        return Err(Failure::new(Code::AlreadyExists, text));
    }
    if request.linked {
        let order = worker_api::CreateRequest {
            name: request.target.to_string(),
            format: DiskFormat::Qcow2,
            size_bytes: None,
            backing: Some(volume_file(&request.volume)),
        };
        let worker = api.worker(&request.pool);
        api.hear(&request.pool, worker.call::<worker_api::Create>(order)).await?;
        api.changed(&request.pool).await;
        return Ok(Started { job: None });
    }
    let detail = CloneDetail { pool: request.pool, source: request.volume, target: request.target };
    jobs::start_clone(&api, detail)
}

/// Makes a volume larger.
pub(crate) async fn expand(api: Api, call: Call<ExpandVolume>) -> Result<VolumeReply, Failure> {
    let request = call.request;
    api.ready_pool(&request.pool).await?;
    let order = worker_api::ExpandRequest { name: request.volume.to_string(), size_bytes: request.size_bytes };
    let worker = api.worker(&request.pool);
    let info = api.hear(&request.pool, worker.call::<worker_api::Expand>(order)).await?;
    api.changed(&request.pool).await;
    Ok(reply(&info))
}

/// Removes a volume that nothing depends on.
pub(crate) async fn delete(api: Api, call: Call<DeleteVolume>) -> Result<Empty, Failure> {
    let request = call.request;
    let pool = api.fresh_pool(&request.pool).await?;
    if pool.volume(&request.volume).is_none() {
        return if request.if_exists { Ok(Empty {}) } else { Err(no_volume(&request.pool, &request.volume)) };
    }
    let name = format!("{}/{}", request.pool, request.volume);
    if let Some(job) = api.jobs.running_on(Kind::Volume, &name) {
        let text = format!("the job {} works on the volume {name}: cancel it or wait for its end", job.id());
        return Err(Failure::precondition(text));
    }
    if !is_hypervisor(&call.caller) {
        check_unused(&api, &request.pool, &request.volume).await?;
    }
    let order = FileRequest { file: volume_file(&request.volume) };
    let worker = api.worker(&request.pool);
    api.hear(&request.pool, worker.call::<worker_api::Remove>(order)).await?;
    api.changed(&request.pool).await;
    Ok(Empty {})
}

/// Refuses a volume that the spec of a system names.
async fn check_unused(api: &Api, pool: &Name, volume: &Name) -> Result<(), Failure> {
    let request = ListRequest { kind: Some(Kind::System), selectors: Vec::new(), min_index: None, here: Some(true) };
    let mut systems = api.cluster().stream::<List>(request).await?.bounded();
    while let Some(batch) = systems.next().await {
        for system in batch?.objects {
            let Ok(spec) = system.spec_as::<SystemSpec>() else { continue };
            let uses = spec.disks.iter().any(|disk| disk.pool == *pool && disk.volume == *volume);
            if spec.node == api.context.node && uses {
                let text = format!("the volume {pool}/{volume} is a disk of system {}: delete that first", system.name);
                return Err(Failure::precondition(text));
            }
        }
    }
    Ok(())
}

/// Opens a volume and all below it.
pub(crate) async fn open(api: Api, call: Call<OpenVolume>) -> Result<(OpenVolumeReply, Vec<OwnedFd>), Failure> {
    let request = call.request;
    api.ready_pool(&request.pool).await?;
    let order = FileRequest { file: volume_file(&request.volume) };
    let worker = api.worker(&request.pool);
    let (opened, fds) = api.hear(&request.pool, worker.call_fds::<worker_api::Open>(order, Vec::new())).await?;
    Ok((OpenVolumeReply { layers: opened.layers }, fds))
}

/// The hypervisor may remove what its own systems' specs still name.
fn is_hypervisor(caller: &Caller) -> bool {
    caller.daemon() == Some("hypervisor")
}

fn no_volume(pool: &Name, volume: &Name) -> Failure {
    Failure::not_found(format!(
        "there is no volume {volume} in pool {pool}: `acpctl volume list` shows those there are"
    ))
}

fn reply(info: &FileInfo) -> VolumeReply {
    VolumeReply { format: info.format, size_bytes: info.virtual_size_bytes }
}
