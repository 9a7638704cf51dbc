//! What an upgrade has still to restart: processes whose program was replaced on disk since they started.

use acp_io_unit::{guard, procfs, record::Started};
use acp_wire_api::framework::{Replaced, Role, Unit};

use crate::{
    catalog::{OWN_GROUP, UnitName},
    service::Handle,
    template::Restart,
};

/// Every such process, the guard and this one first, then units in start order.
pub(crate) fn list(handle: &Handle) -> Vec<Replaced> {
    let guard = guard::of_this_process().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    let guard = guard.and_then(|pid| look(OWN_GROUP, Role::Guard, pid, false));
    let own = look(OWN_GROUP, Role::Main, std::process::id(), false);
    let units = handle.snapshot.borrow().clone();
    guard.into_iter().chain(own).chain(units.iter().flat_map(|unit| of_unit(handle, unit))).collect()
}

fn of_unit(handle: &Handle, unit: &Unit) -> Vec<Replaced> {
    let Some(pid) = unit.meta.pid else { return Vec::new() };
    let template = unit.name.parse::<UnitName>().ok().and_then(|name| handle.site.catalog.get(&name.template));
    let is_kept = template.is_some_and(|template| template.restart == Restart::Never);
    let main = look(&unit.name, Role::Main, pid, is_kept);
    let started = Started::read(&handle.site.records(&unit.name)).filter(|started| started.pid == pid);
    let shim = started.and_then(|started| look(&unit.name, Role::Shim, started.shim_pid, is_kept));
    main.into_iter().chain(shim).collect()
}

fn look(unit: &str, role: Role, pid: u32, is_kept: bool) -> Option<Replaced> {
    let program = procfs::replaced_program(pid)?.display().to_string();
    Some(Replaced { unit: unit.to_owned(), role, pid, program, is_kept })
}
