//! `acp.framework`: units that are entries in a table; a vmm unit gets a fake machine monitor at its socket.

use std::path::{Path, PathBuf};

use acp_base::Failure;
use acp_io_daemon::{Router, Sink, new_uid};
use acp_wire_api::{
    framework::{
        GetHost, GetUnit, Host, ListUnits, ListUnitsReply, RemoveUnit, RemoveUnitReply, SpawnUnit, SpawnUnitRequest,
        Unit, UnitReply, WatchUnits, WatchUnitsReply,
    },
    vmm::MachineState,
};
use acp_wire_model::unit::{UnitExit, UnitMeta, UnitState, UnitStats};

use super::{World, vmm};

pub(crate) fn router(world: &World, directory: &Path) -> Router {
    let mut router = Router::new();
    let (w, d) = (world.clone(), directory.to_owned());
    router.once_fds::<SpawnUnit, _, _>(move |call| {
        let (world, directory) = (w.clone(), d.clone());
        async move {
            assert_eq!(call.request.fds.len(), call.fds.len(), "every descriptor has a name");
            spawn(world, directory, call.request).await.map(|reply| (reply, Vec::new()))
        }
    });
    let w = world.clone();
    router.once::<RemoveUnit, _, _>(move |call| remove(w.clone(), call.request.name));
    let w = world.clone();
    router.once::<GetUnit, _, _>(move |call| {
        let unit = w.lock().units.get(&call.request.name).cloned();
        std::future::ready(unit.map(|unit| UnitReply { unit }).ok_or_else(|| Failure::not_found("no such unit")))
    });
    let w = world.clone();
    router.once::<ListUnits, _, _>(move |_call| {
        std::future::ready(Ok(ListUnitsReply { units: w.lock().units.values().cloned().collect() }))
    });
    router.once::<GetHost, _, _>(move |_call| {
        std::future::ready(Ok(Host {
            cgroups: "v2".to_owned(),
            controllers: Vec::new(),
            boot_id: "b".to_owned(),
            node: "test".to_owned(),
        }))
    });
    let w = world.clone();
    router.stream::<WatchUnits, _, _>(move |_call, sink| watch(w.clone(), sink));
    router
}

async fn spawn(world: World, directory: PathBuf, request: SpawnUnitRequest) -> Result<UnitReply, Failure> {
    world.called::<SpawnUnit>(&request.template).await?;
    let name = format!("{}@{}", request.template, request.instance);
    let running = world.lock().units.get(&name).filter(|unit| unit.meta.state == UnitState::Ready).cloned();
    if let Some(unit) = running {
        return Ok(UnitReply { unit });
    }
    let unit = unit(&name, &request.template);
    let instance = request.instance.clone();
    if request.template == "vmm" {
        vmm::serve(&world, &directory, &instance);
    } else {
        vmm::set(&world, &instance, MachineState::Prelaunch, false);
    }
    world.change(|state| {
        state.spawned.push(request);
        state.units.insert(name, unit.clone());
    });
    Ok(UnitReply { unit })
}

fn unit(name: &str, template: &str) -> Unit {
    let meta = UnitMeta {
        state: UnitState::Ready,
        reason: String::new(),
        template: template.to_owned(),
        pid: Some(4711),
        uid: 0,
        restarts: 0,
        exit: None,
        since_ms: 1,
    };
    Unit {
        name: name.to_owned(),
        uid: new_uid(),
        meta,
        stats: UnitStats { cpu_ms: 10, memory_bytes: 20, log_bytes: 30 },
    }
}

async fn remove(world: World, name: String) -> Result<RemoveUnitReply, Failure> {
    world.called::<RemoveUnit>(&name).await?;
    if let Some(instance) = name.strip_prefix("vmm@") {
        vmm::stop(&world, instance);
    }
    if let Some(instance) = name.strip_prefix("qemu@").filter(|instance| world.lock().machines.contains_key(*instance))
    {
        vmm::set(&world, instance, MachineState::Gone, false);
    }
    Ok(RemoveUnitReply { unit: world.change(|state| state.units.remove(&name)) })
}

async fn watch(world: World, sink: Sink<WatchUnits>) -> Result<WatchUnitsReply, Failure> {
    let mut changes = world.changed.subscribe();
    let mut told = None::<std::collections::BTreeMap<String, Unit>>;
    loop {
        changes.mark_unchanged();
        let now = world.lock().units.clone();
        let before = told.clone().unwrap_or_default();
        let units: Vec<Unit> =
            now.iter().filter(|(name, unit)| before.get(*name) != Some(unit)).map(|(_, unit)| unit.clone()).collect();
        let gone: Vec<String> = before.keys().filter(|name| !now.contains_key(*name)).cloned().collect();
        if told.is_none() || !units.is_empty() || !gone.is_empty() {
            sink.send(WatchUnitsReply { units, gone }).await?;
        }
        told = Some(now);
        changes.changed().await.map_err(|_gone| Failure::unavailable("the world is gone"))?;
    }
}

impl World {
    /// A system's QEMU ends this way, its monitor having said `last` before.
    pub(crate) fn end_qemu(&self, instance: &str, status: Option<i32>, signal: Option<i32>, by_guest: bool) {
        vmm::set(self, instance, MachineState::Gone, by_guest);
        self.change(|state| {
            let unit = state.units.get_mut(&format!("qemu@{instance}")).expect("QEMU was spawned");
            unit.meta.state = UnitState::Failed;
            unit.meta.pid = None;
            unit.meta.exit = Some(UnitExit { status, signal, out_of_memory: false, lost: false });
        });
    }
}
