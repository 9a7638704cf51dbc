//! `acp.storage`: volumes that are names in a set.

use acp_base::{ByteSize, Failure};
use acp_io_daemon::Router;
use acp_wire_api::{
    Empty,
    storage::{CreateVolume, DeleteVolume, Layer, OpenVolume, OpenVolumeReply, VolumeReply},
};
use acp_wire_model::image::DiskFormat;

use super::World;

pub(crate) fn router(world: &World) -> Router {
    let mut router = Router::new();
    let w = world.clone();
    router.once::<CreateVolume, _, _>(move |call| {
        let world = w.clone();
        async move {
            let name = format!("{}/{}", call.request.pool, call.request.volume);
            world.called::<CreateVolume>(&name).await?;
            world.change(|state| state.volumes.insert(name));
            let size_bytes = call.request.size_bytes.unwrap_or(ByteSize(0));
            Ok(VolumeReply { format: DiskFormat::Qcow2, size_bytes })
        }
    });
    let w = world.clone();
    router.once::<DeleteVolume, _, _>(move |call| {
        let world = w.clone();
        async move {
            let name = format!("{}/{}", call.request.pool, call.request.volume);
            world.called::<DeleteVolume>(&name).await?;
            let was_there = world.change(|state| state.volumes.remove(&name));
            if was_there || call.request.if_exists { Ok(Empty {}) } else { Err(Failure::not_found("no such volume")) }
        }
    });
    let w = world.clone();
    router.once_fds::<OpenVolume, _, _>(move |call| {
        let world = w.clone();
        async move {
            let name = format!("{}/{}", call.request.pool, call.request.volume);
            world.called::<OpenVolume>(&name).await?;
            if !world.lock().volumes.contains(&name) {
                return Err(Failure::not_found(format!("there is no volume {name}")));
            }
            let open = || std::fs::File::open("/dev/null").expect("it is always there").into();
            let layer = |writable| Layer { format: DiskFormat::Qcow2, writable };
            Ok((OpenVolumeReply { layers: vec![layer(true), layer(false)] }, vec![open(), open()]))
        }
    });
    router
}
