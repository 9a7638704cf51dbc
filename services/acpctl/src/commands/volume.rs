//! `acpctl volume`.

use acp_base::Failure;
use acp_wire_api::storage::{
    CloneVolume, CloneVolumeRequest, CreateVolume, CreateVolumeRequest, DeleteVolume, DeleteVolumeRequest,
    ExpandVolume, ExpandVolumeRequest, VolumeReply,
};
use acp_wire_model::Kind;
use serde_json::json;

use super::list;
use crate::{
    args::{VolumeName, VolumeVerb},
    session::Session,
    wait,
};

pub(super) async fn run(session: &mut Session, verb: VolumeVerb) -> Result<u8, Failure> {
    match verb {
        VolumeVerb::List => list(session, Kind::Volume).await,
        VolumeVerb::Create { name, size, image, format } => {
            let VolumeName { pool, volume } = name.clone();
            let format = format.map(Into::into);
            let request = CreateVolumeRequest { pool, volume, size_bytes: size, image, format };
            let volume = session.call_patiently::<CreateVolume>("storage", request).await?;
            say(session, &name, &volume)
        }
        VolumeVerb::Clone { source, target, linked, wait } => {
            if source.pool != target.pool {
                return Err(Failure::invalid(format!(
                    "a clone lies in the pool of its source: name it {}/{}",
                    source.pool, target.volume
                )));
            }
            let VolumeName { pool, volume } = source;
            let done = format!("volume {target} is made");
            let request = CloneVolumeRequest { pool, volume, target: target.volume, linked };
            let started = session.call::<CloneVolume>("storage", request).await?;
            wait::conclude(session, "storage", started, wait.wait, &done).await
        }
        VolumeVerb::Expand { name, size } => {
            let VolumeName { pool, volume } = name.clone();
            let request = ExpandVolumeRequest { pool, volume, size_bytes: size };
            let volume = session.call_patiently::<ExpandVolume>("storage", request).await?;
            say(session, &name, &volume)
        }
        VolumeVerb::Delete { name } => {
            session.confirm(&format!("delete volume {name} and what is on it"))?;
            let VolumeName { pool, volume } = name.clone();
            session.call::<DeleteVolume>("storage", DeleteVolumeRequest { pool, volume, if_exists: false }).await?;
            session.out.done(&format!("volume {name} is deleted"), &json!({ "name": name.to_string() }))?;
            Ok(crate::DONE)
        }
    }
}

fn say(session: &mut Session, name: &VolumeName, volume: &VolumeReply) -> Result<u8, Failure> {
    let sentence = format!("volume {name} has {}", volume.size_bytes);
    let fields = json!({ "name": name.to_string(), "format": volume.format, "size_bytes": volume.size_bytes });
    session.out.done(&sentence, &fields)?;
    Ok(crate::DONE)
}
