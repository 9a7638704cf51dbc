//! The rules of systems.

use std::collections::BTreeSet;

use acp_base::Code;
use acp_wire_model::system::{DiskSpec, SystemSpec};

use super::{Subject, nics};
use crate::{
    limits::{CPUS_MAX, DEVICES_MAX, DISK_MAX, MEMORY_MAX, MEMORY_MIN, MEMORY_STEP, SECTOR},
    refusal::Refusal,
    spec::Spec,
    state::State,
};

pub(super) fn admit(state: &State, subject: Subject<'_>, mut spec: SystemSpec) -> Result<SystemSpec, Refusal> {
    bounds(&spec)?;
    stays_with_its_lease(state, subject, &spec)?;
    let mut own = BTreeSet::new();
    for (position, disk) in spec.disks.iter().enumerate() {
        let place = format!("disks[{position}]");
        if !own.insert((&disk.pool, &disk.volume)) {
            return Err(Refusal::invalid(format!("the volume {}/{} is named twice", disk.pool, disk.volume)).at(place));
        }
        admit_disk(state, subject, &spec, disk).map_err(|refusal| refusal.at(place))?;
    }
    let old = match subject.old {
        Some(Spec::System(old)) => old.nics.as_slice(),
        _ => &[],
    };
    nics::admit(state, (subject.uid, &spec.node), old, &mut spec.nics)?;
    Ok(spec)
}

/// While a node runs it under a lease, another must not come to run it without one.
fn stays_with_its_lease(state: &State, subject: Subject<'_>, spec: &SystemSpec) -> Result<(), Refusal> {
    let Some(Spec::System(old)) = subject.old else { return Ok(()) };
    let holder = state.lease(subject.uid).and_then(|lease| lease.holder);
    let moves = (&old.node, old.floating) != (&spec.node, spec.floating);
    match holder.filter(|_| moves) {
        Some(holder) => Err(Refusal::precondition(format!(
            "{} has the lease of this system: stop it before you change \"node\" or \"floating\"",
            state.describe(holder)
        ))),
        None => Ok(()),
    }
}

fn bounds(spec: &SystemSpec) -> Result<(), Refusal> {
    let memory = spec.memory_bytes;
    if !(1..=CPUS_MAX).contains(&spec.cpus) {
        return Err(Refusal::invalid(format!("cpus is {}; a system has 1 to {CPUS_MAX}", spec.cpus)));
    }
    if !(MEMORY_MIN..=MEMORY_MAX).contains(&memory) {
        return Err(Refusal::invalid(format!("memory_bytes is {memory}; a system has {MEMORY_MIN} to {MEMORY_MAX}")));
    }
    if !memory.bytes().is_multiple_of(MEMORY_STEP.bytes()) {
        let bytes = memory.bytes();
        return Err(Refusal::invalid(format!("memory_bytes is {bytes}, which is no multiple of {MEMORY_STEP}")));
    }
    for (field, count) in [("disks", spec.disks.len()), ("nics", spec.nics.len())] {
        if count > DEVICES_MAX {
            return Err(Refusal::invalid(format!("{field} has {count} entries; a system has at most {DEVICES_MAX}")));
        }
    }
    Ok(())
}

fn admit_disk(state: &State, subject: Subject<'_>, system: &SystemSpec, disk: &DiskSpec) -> Result<(), Refusal> {
    let size = disk.size_bytes;
    if size < SECTOR || size > DISK_MAX || !size.bytes().is_multiple_of(SECTOR.bytes()) {
        let bytes = size.bytes();
        return Err(Refusal::invalid(format!(
            "size_bytes is {bytes}; a disk has a multiple of {SECTOR} up to {DISK_MAX}"
        )));
    }
    state.pool_spec(Some(&system.node), &disk.pool)?;
    from_image(state, system, disk)?;
    match state.claims().volume_holder(&(system.node.clone(), disk.pool.clone()), &disk.volume) {
        Some(holder) if holder != subject.uid => Err(Refusal::new(
            Code::AlreadyExists,
            format!("the volume {}/{} is a disk of {} already", disk.pool, disk.volume, state.describe(holder)),
        )),
        _ => Ok(()),
    }
}

fn from_image(state: &State, system: &SystemSpec, disk: &DiskSpec) -> Result<(), Refusal> {
    let Some(name) = &disk.image else { return Ok(()) };
    let image = state.image_spec(&system.node, name)?;
    if image.pool != disk.pool {
        let (on, pool) = (&image.pool, &disk.pool);
        return Err(Refusal::invalid(format!("image {:?} lies in pool {on}, the disk in {pool}", name.as_str())));
    }
    if disk.size_bytes < image.virtual_size_bytes {
        let (size, least) = (disk.size_bytes, image.virtual_size_bytes);
        return Err(Refusal::invalid(format!(
            "size_bytes is {size}, the disk of image {:?} has {least}",
            name.as_str()
        )));
    }
    Ok(())
}
