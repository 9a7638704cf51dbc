//! `acp.vmm`: one server a system; what it says outlives it, as QEMU outlives a real one.

use std::path::Path;

use acp_base::Failure;
use acp_io_daemon::{Router, Sink};
use acp_wire_api::{
    Empty,
    vmm::{ExtendLease, MachineState, MachineStatus, Powerdown, Quit, Reset, Resume, Watch},
};
use tokio::sync::watch;

use super::World;

fn status(state: MachineState, guest_shutdown: bool) -> MachineStatus {
    MachineStatus { state, run_state: String::new(), guest_shutdown, reason: String::new(), console_readers: 0 }
}

/// Says what a machine does.
pub(crate) fn set(world: &World, instance: &str, state: MachineState, by_guest: bool) {
    let mut guard = world.lock();
    let machine = guard
        .machines
        .entry(instance.to_owned())
        .or_insert_with(|| watch::Sender::new(status(MachineState::Connecting, false)));
    machine.send_replace(status(state, by_guest));
}

/// A machine monitor begins to serve.
pub(crate) fn serve(world: &World, directory: &Path, instance: &str) {
    let mut context = super::context("vmm", directory);
    context.instance = Some(instance.to_owned());
    world
        .lock()
        .machines
        .entry(instance.to_owned())
        .or_insert_with(|| watch::Sender::new(status(MachineState::Connecting, false)));
    context.serve(router(world, instance)).expect("a free socket");
    let key: &'static str = Box::leak(format!("vmm@{instance}").into_boxed_str());
    world.contexts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(key, context);
}

/// It ends, and its machine is forgotten with its QEMU.
pub(crate) fn stop(world: &World, instance: &str) {
    let key = format!("vmm@{instance}");
    let context = world.contexts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(key.as_str());
    if let Some(context) = context {
        context.drain.cancel();
    }
    world.lock().machines.remove(instance);
}

fn router(world: &World, instance: &str) -> Router {
    let mut router = Router::new();
    let (w, i) = (world.clone(), instance.to_owned());
    router.stream::<Watch, _, _>(move |_call, sink| follow(w.clone(), i.clone(), sink));
    let (w, i) = (world.clone(), instance.to_owned());
    router.once::<Resume, _, _>(move |_call| {
        let (world, instance) = (w.clone(), i.clone());
        async move {
            world.called::<Resume>("").await?;
            set(&world, &instance, MachineState::Running, false);
            Ok(status(MachineState::Running, false))
        }
    });
    let (w, i) = (world.clone(), instance.to_owned());
    router.once::<Quit, _, _>(move |_call| {
        let (world, instance) = (w.clone(), i.clone());
        async move {
            world.called::<Quit>("").await?;
            world.end_qemu(&instance, Some(0), None, false);
            Ok(Empty {})
        }
    });
    let (w, i) = (world.clone(), instance.to_owned());
    router.once::<ExtendLease, _, _>(move |call| {
        let (world, instance) = (w.clone(), i.clone());
        async move {
            world.called::<ExtendLease>("").await?;
            world.change(|state| state.extended.push(call.request));
            let machine = world.lock().machines.get(&instance).map(|machine| machine.borrow().clone());
            machine.ok_or_else(|| Failure::unavailable("no such machine"))
        }
    });
    let w = world.clone();
    router.once::<Powerdown, _, _>(move |_call| press::<Powerdown>(w.clone()));
    let w = world.clone();
    router.once::<Reset, _, _>(move |_call| press::<Reset>(w.clone()));
    router
}

async fn press<M: acp_wire_api::Method>(world: World) -> Result<Empty, Failure> {
    world.called::<M>("").await?;
    Ok(Empty {})
}

async fn follow(world: World, instance: String, sink: Sink<Watch>) -> Result<MachineStatus, Failure> {
    let gone = || Failure::unavailable("no such machine");
    let mut machine = world.lock().machines.get(&instance).map(watch::Sender::subscribe).ok_or_else(gone)?;
    loop {
        let status = machine.borrow_and_update().clone();
        sink.send(status).await?;
        machine.changed().await.map_err(|_gone| gone())?;
    }
}
