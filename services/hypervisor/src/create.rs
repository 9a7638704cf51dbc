//! From a request to a declaration: what is asked is checked, completed and proposed to the cluster database.

use acp_base::{ByteSize, Change, Code, Failure, Name, Uid};
use acp_io_client::{Client, find_declared};
use acp_io_daemon::new_uid;
use acp_io_failpoint::point;
use acp_wire_api::{
    cluster::{Create, CreateRequest, GetRequest, WriteReply},
    hypervisor::{CreateSystemReply, CreateSystemRequest},
    storage::{OpenVolume, VolumeRequest},
};
use acp_wire_model::{
    Kind, Object,
    image::ImageSpec,
    system::{DiskSpec, NicSpec, SystemSpec},
};
use futures_util::future::try_join_all;
use tokio::sync::{mpsc, oneshot};

use crate::service::Message;

/// Virtual processors: what QEMU's q35 takes in one socket.
const CPUS: std::ops::RangeInclusive<u32> = 1..=512;
/// The least memory a guest can have: below, no kernel of today unpacks itself.
const MEMORY_MIN: ByteSize = ByteSize::mib(32);
const MEMORY_DEFAULT: ByteSize = ByteSize::mib(256);
/// Interfaces of one system, as in the model.
const NICS_MAX: usize = 16;
/// Sizes of disks are counted in sectors.
const SECTOR: u64 = 512;
/// The pool of a disk that comes from no image.
const POOL_DEFAULT: &str = "default";

/// Declares the system and has its job begun. Runs to its end even when its caller has gone, so that the owner learns what
/// became of the declaration.
pub(crate) async fn create(
    client: Client,
    owner: mpsc::Sender<Message>,
    node: Name,
    request: CreateSystemRequest,
) -> Result<CreateSystemReply, Failure> {
    check(&request)?;
    let spec = complete(&client, node, &request).await?;
    let uid = new_uid();
    owner.send(Message::Proposing { uid }).await.map_err(|_closed| ending())?;
    let written = match propose(&client, uid, &request.name, &spec).await {
        Ok(written) => written,
        Err(failure) => {
            // What became of the declaration is the failure, whether or not the owner still hears of it.
            drop(owner.send(Message::NotDeclared { uid }).await);
            return Err(failure);
        }
    };
    // From here on the system is declared: its job begins in the hypervisor's next life, if not in this one.
    let unfinished = || ending().changed(Change::Partial);
    let (reply, answer) = oneshot::channel();
    let spec: SystemSpec = serde_json::from_value(written.spec)
        .map_err(|error| Failure::internal(format!("the declaration came back as something else: {error}")))
        .map_err(|failure| failure.changed(Change::Partial))?;
    let message = Message::Declared { uid, name: request.name, spec: Box::new(spec), reply };
    owner.send(message).await.map_err(|_closed| unfinished())?;
    let job = answer.await.map_err(|_dropped| unfinished())??;
    Ok(CreateSystemReply { uid, index: written.index, job })
}

fn ending() -> Failure {
    Failure::unavailable("the hypervisor is ending")
}

fn check(request: &CreateSystemRequest) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::invalid(text));
    let memory = memory(request);
    if let Some(cpus) = request.cpus.filter(|cpus| !CPUS.contains(cpus)) {
        return refuse(format!("cpus: {cpus} is not between {} and {}", CPUS.start(), CPUS.end()));
    }
    if memory < MEMORY_MIN {
        return refuse(format!("memory_bytes: {memory} is less than the least, {MEMORY_MIN}"));
    }
    if !memory.0.is_multiple_of(ByteSize::mib(1).0) {
        return refuse(format!("memory_bytes: {} is not a whole number of MiB", memory.0));
    }
    if let Some(disk) = request.disk_bytes.filter(|disk| disk.0 == 0 || !disk.0.is_multiple_of(SECTOR)) {
        return refuse(format!("disk_bytes: {} is not a whole number of {SECTOR} byte sectors above 0", disk.0));
    }
    if request.image.is_none() && request.disk_bytes.is_none() {
        return refuse("disk_bytes: a system that is made from no image needs the size of its disk".to_owned());
    }
    if request.networks.len() > NICS_MAX {
        return refuse(format!("networks: {} are more than the most, {NICS_MAX}", request.networks.len()));
    }
    Ok(())
}

fn memory(request: &CreateSystemRequest) -> ByteSize {
    request.memory_bytes.unwrap_or(MEMORY_DEFAULT)
}

/// The spec, after everything it names was found.
async fn complete(client: &Client, node: Name, request: &CreateSystemRequest) -> Result<SystemSpec, Failure> {
    let here = Some(&node);
    let image = match &request.image {
        Some(name) => Some((name, find(client, here, Kind::Image, name.as_str()).await?)),
        None => None,
    };
    let disk = disk(request, image)?;
    let pool = async { find(client, here, Kind::Pool, disk.pool.as_str()).await.map(drop) };
    let networks = try_join_all(request.networks.iter().map(|name| find(client, here, Kind::Network, name.as_str())));
    let free = no_volume(client, &disk);
    let (pool, networks, free) = futures_util::future::join3(pool, networks, free).await;
    pool.and(networks.map(drop)).and(free)?;
    Ok(SystemSpec {
        node,
        cpus: request.cpus.unwrap_or(1),
        memory_bytes: memory(request),
        disks: vec![disk],
        nics: request.networks.iter().map(|name| NicSpec { network: name.clone(), mac: None, address: None }).collect(),
        autostart: request.autostart,
        floating: request.floating,
    })
}

fn disk(request: &CreateSystemRequest, image: Option<(&Name, Object)>) -> Result<DiskSpec, Failure> {
    let default = || POOL_DEFAULT.parse::<Name>().expect("the default pool's name is a name");
    let Some((name, object)) = image else {
        let size_bytes = request.disk_bytes.ok_or_else(|| Failure::invalid("disk_bytes: it is missing"))?;
        let pool = request.pool.clone().unwrap_or_else(default);
        return Ok(DiskSpec { pool, volume: request.name.clone(), size_bytes, image: None });
    };
    let image: ImageSpec = object
        .spec_as()
        .map_err(|error| Failure::internal(format!("the declaration of image {name} cannot be read: {error}")))?;
    if let Some(pool) = request.pool.as_ref().filter(|pool| **pool != image.pool) {
        return Err(Failure::invalid(format!(
            "pool: image {name} lies in pool {}, and a linked clone of it can only lie there, not in {pool}",
            image.pool
        )));
    }
    let least = ByteSize(image.virtual_size_bytes.0.next_multiple_of(SECTOR));
    let size_bytes = request.disk_bytes.unwrap_or(least);
    if size_bytes < least {
        return Err(Failure::invalid(format!(
            "disk_bytes: {} is less than the {} of image {name}; a disk can be larger than its image, not smaller",
            size_bytes.0, least.0
        )));
    }
    Ok(DiskSpec { pool: image.pool, volume: request.name.clone(), size_bytes, image: Some(name.clone()) })
}

/// An object by its name: of a kind that every node has its own of, the one of this node.
async fn find(client: &Client, node: Option<&Name>, kind: Kind, name: &str) -> Result<Object, Failure> {
    let request = GetRequest {
        kind,
        name: Some(name.to_owned()),
        uid: None,
        node: node.cloned(),
        min_index: None,
        linearizable: false,
        here: Some(true),
    };
    match find_declared(&client.service("cluster"), request).await {
        Ok(reply) => Ok(reply.object),
        Err(failure) if failure.code == Code::NotFound => {
            Err(Failure::not_found(format!("there is no {kind} {name:?}; see: acpctl {kind} list")))
        }
        Err(failure) => Err(failure),
    }
}

/// A volume that exists belongs to somebody else: it must neither be written by this system nor deleted with it. What is
/// reported may lie behind what was just removed, so the storage service has the last word where one is reported.
async fn no_volume(client: &Client, disk: &DiskSpec) -> Result<(), Failure> {
    let name = format!("{}/{}", disk.pool, disk.volume);
    match find(client, None, Kind::Volume, &name).await {
        Ok(_reported) => {}
        Err(failure) if failure.code == Code::NotFound => return Ok(()),
        Err(failure) => return Err(failure),
    }
    let request = VolumeRequest { pool: disk.pool.clone(), volume: disk.volume.clone() };
    match client.service("storage").call_fds::<OpenVolume>(request, Vec::new()).await {
        Err(failure) if failure.code == Code::NotFound => Ok(()),
        Err(failure) if matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded) => Err(failure),
        // It is there, and perhaps no disk at all.
        Ok(_) | Err(_) => Err(Failure::new(
            Code::AlreadyExists,
            format!("volume {name} exists already; delete it or give the system another name"),
        )),
    }
}

async fn propose(client: &Client, uid: Uid, name: &Name, spec: &SystemSpec) -> Result<WriteReply, Failure> {
    let spec = serde_json::to_value(spec)
        .map_err(|error| Failure::internal(format!("the declaration cannot be written: {error}")))?;
    let request = CreateRequest { kind: Kind::System, name: name.clone(), uid: Some(uid), spec };
    let written = client.service("cluster").call::<Create>(request).await?;
    // As when the answer is lost: the system exists.
    point("hypervisor.create.declared").map_err(|injected| Failure::from(injected).changed(Change::Unknown))?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> CreateSystemRequest {
        CreateSystemRequest {
            name: "demo".parse().expect("a name"),
            image: Some("base".parse().expect("a name")),
            cpus: None,
            memory_bytes: None,
            disk_bytes: None,
            pool: None,
            networks: Vec::new(),
            autostart: false,
            floating: false,
        }
    }

    fn image(virtual_size: u64) -> Object {
        let spec = serde_json::json!({
            "pool": "fast", "format": "qcow2", "size_bytes": 1, "virtual_size_bytes": virtual_size, "sha256": "",
        });
        Object { kind: Kind::Image, name: "base".into(), uid: Uid::from_u128(1), version: 1, spec, slots: Vec::new() }
    }

    #[test]
    fn bad_values_are_named() {
        let refused = |change: fn(&mut CreateSystemRequest)| {
            let mut request = request();
            change(&mut request);
            check(&request).expect_err("out of range").message
        };
        assert!(refused(|r| r.cpus = Some(0)).starts_with("cpus: 0 is not between 1 and 512"));
        assert!(refused(|r| r.memory_bytes = Some(ByteSize::mib(16))).starts_with("memory_bytes: 16MiB is less"));
        assert!(refused(|r| r.memory_bytes = Some(ByteSize((64 << 20) + 1))).contains("whole number of MiB"));
        assert!(refused(|r| r.disk_bytes = Some(ByteSize(1000))).starts_with("disk_bytes: 1000 is not a whole number"));
        assert!(refused(|r| r.image = None).starts_with("disk_bytes: a system that is made from no image"));
        assert!(refused(|r| r.networks = vec!["n".parse().expect("a name"); 17]).starts_with("networks: 17 are more"));
        assert_eq!(check(&request()), Ok(()));
    }

    #[test]
    fn the_disk_follows_its_image() {
        let name: Name = "base".parse().expect("a name");
        let made = disk(&request(), Some((&name, image(1000)))).expect("fits");
        assert_eq!((made.pool.as_str(), made.size_bytes, made.image), ("fast", ByteSize(1024), Some(name.clone())));
        let small = CreateSystemRequest { disk_bytes: Some(ByteSize(512)), ..request() };
        let refused = disk(&small, Some((&name, image(1000)))).expect_err("too small");
        assert!(refused.message.starts_with("disk_bytes: 512 is less than the 1024 of image base"), "{refused}");
        let elsewhere = CreateSystemRequest { pool: Some("slow".parse().expect("a name")), ..request() };
        assert!(disk(&elsewhere, Some((&name, image(1)))).is_err());
        let empty = CreateSystemRequest { image: None, disk_bytes: Some(ByteSize::gib(1)), ..request() };
        assert_eq!(disk(&empty, None).expect("an empty disk").pool.as_str(), "default");
    }
}
