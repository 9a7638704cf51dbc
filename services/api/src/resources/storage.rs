//! Pools, images and volumes.

use acp_base::{ByteSize, Failure, Name};
use acp_wire_api::{
    cluster::{self, Get, GetRequest},
    storage::{
        CloneVolume, CloneVolumeRequest, CreatePool, CreatePoolRequest, CreateVolume, CreateVolumeRequest, DeleteImage,
        DeleteVolume, DeleteVolumeRequest, ExpandVolume, ExpandVolumeRequest, ImageRequest, ImportImage,
        ImportImageRequest, VolumeReply,
    },
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::views::{Image, Pool, View as _, Volume, list, show};
use crate::{
    answer::{Accepted, Created, Done, Found},
    call::Call,
    operation::Operation,
};

pub(super) fn operations() -> Vec<Operation> {
    let all = pools().into_iter().chain(images()).chain(volumes());
    all.map(Operation::of_node).collect()
}

fn pools() -> Vec<Operation> {
    vec![
        Operation::get("/pools", "listPools", "Lists the pools that a node knows.", list::<Pool>)
            .paged()
            .calls::<cluster::List>(),
        Operation::post(
            "/pools",
            "createPool",
            "Declares a pool and prepares it; answers when it is ready.",
            create_pool,
        )
        .calls::<CreatePool>(),
        Operation::get("/pools/{name}", "getPool", "Answers one pool.", show::<Pool>).calls::<Get>(),
    ]
}

fn images() -> Vec<Operation> {
    vec![
        Operation::get("/images", "listImages", "Lists the images that a node knows.", list::<Image>)
            .paged()
            .calls::<cluster::List>(),
        Operation::post("/images", "importImage", "Starts the job that fetches an image from its `url`.", import_image)
            .calls::<ImportImage>(),
        Operation::get("/images/{name}", "getImage", "Answers one image.", show::<Image>).calls::<Get>(),
        Operation::delete("/images/{name}", "deleteImage", "Removes an image that nothing depends on.", delete_image)
            .calls::<DeleteImage>(),
    ]
}

fn volumes() -> Vec<Operation> {
    const ONE: &str = "/volumes/{pool}/{volume}";
    vec![
        Operation::get("/volumes", "listVolumes", "Lists the volumes that a node knows.", list::<Volume>)
            .paged()
            .calls::<cluster::List>(),
        Operation::post(
            "/volumes",
            "createVolume",
            "Makes a volume: empty, or a linked clone of an image.",
            create_volume,
        )
        .calls::<CreateVolume>(),
        Operation::get(ONE, "getVolume", "Answers one volume.", get_volume).calls::<Get>(),
        Operation::delete(ONE, "deleteVolume", "Removes a volume that nothing depends on.", delete_volume)
            .calls::<DeleteVolume>(),
        Operation::post(
            "/volumes/{pool}/{volume}/clone",
            "cloneVolume",
            "Copies a volume, or links to it.",
            clone_volume,
        )
        .calls::<CloneVolume>(),
        Operation::post("/volumes/{pool}/{volume}/expand", "expandVolume", "Makes a volume larger.", expand_volume)
            .calls::<ExpandVolume>(),
    ]
}

/// An image that is fetched.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Import {
    /// The new image.
    name: Name,
    /// The pool; absent: `default`.
    #[serde(default)]
    pool: Option<Name>,
    /// `http://` or `https://`; files of a node are imported by acpctl.
    url: String,
    /// What people shall read about where it came from; absent: the URL without credentials.
    #[serde(default)]
    source: Option<String>,
    /// The SHA-256 the file must have, 64 hexadecimal digits.
    #[serde(default)]
    sha256: Option<String>,
}

/// The clone of a volume.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Clone {
    /// The new volume in the same pool.
    target: Name,
    /// Whether the clone shares the blocks of its source, which can then neither be used for writing nor deleted.
    #[serde(default)]
    linked: bool,
}

/// The new size of a volume.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Expand {
    /// In bytes, a multiple of 512, not below the present one.
    size_bytes: ByteSize,
}

async fn create_pool(call: Call, request: CreatePoolRequest) -> Result<Created<Pool>, Failure> {
    let name = request.name.clone();
    call.ask::<CreatePool>(request).await?;
    super::made(&call, name, "pools").await
}

async fn import_image(call: Call, image: Import) -> Result<Accepted, Failure> {
    let Import { name, pool, url, source, sha256 } = image;
    let request = ImportImageRequest { name, pool, url: Some(url), source, sha256 };
    let started = call.ask::<ImportImage>(request).await?;
    Ok(Accepted::new(&call, &started, None))
}

async fn delete_image(call: Call) -> Result<Done, Failure> {
    call.ask::<DeleteImage>(ImageRequest { name: call.path("name")? }).await?;
    Ok(Done)
}

async fn create_volume(call: Call, request: CreateVolumeRequest) -> Result<Created<VolumeReply>, Failure> {
    let href = call.href(&format!("/volumes/{}/{}", request.pool, request.volume));
    Ok(Created(href, call.ask::<CreateVolume>(request).await?))
}

async fn get_volume(call: Call) -> Result<Found<Volume>, Failure> {
    let (pool, volume) = volume(&call)?;
    let name = Some(format!("{pool}/{volume}"));
    let reply = call
        .ask::<Get>(GetRequest {
            kind: Volume::KIND,
            name,
            uid: None,
            node: None,
            min_index: None,
            linearizable: false,
            here: None,
        })
        .await?;
    Ok(Found(Volume::of(reply.object)))
}

async fn delete_volume(call: Call) -> Result<Done, Failure> {
    let (pool, volume) = volume(&call)?;
    call.ask::<DeleteVolume>(DeleteVolumeRequest { pool, volume, if_exists: false }).await?;
    Ok(Done)
}

async fn clone_volume(call: Call, how: Clone) -> Result<Accepted, Failure> {
    let (pool, volume) = volume(&call)?;
    let request = CloneVolumeRequest { pool, volume, target: how.target, linked: how.linked };
    let started = call.ask::<CloneVolume>(request).await?;
    Ok(Accepted::new(&call, &started, None))
}

async fn expand_volume(call: Call, how: Expand) -> Result<Found<VolumeReply>, Failure> {
    let (pool, volume) = volume(&call)?;
    Ok(Found(call.ask::<ExpandVolume>(ExpandVolumeRequest { pool, volume, size_bytes: how.size_bytes }).await?))
}

fn volume(call: &Call) -> Result<(Name, Name), Failure> {
    Ok((call.path("pool")?, call.path("volume")?))
}
