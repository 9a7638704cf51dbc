//! `acp.daemon`: what every daemon answers about itself.

use std::sync::{Arc, OnceLock, Weak, atomic::Ordering};

use acp_base::Failure;
use acp_wire_api::daemon::{ActFor, GetHealth, GetMetrics, Health, Metrics, SetLogLevel, SetLogLevelReply};
use acp_wire_model::entry::FEATURE_LEVEL;

use super::Shared;
use crate::{Context, Router, telemetry};

type Slot = Arc<OnceLock<Weak<Shared>>>;

/// The health answers need the server that serves them; it is attached once it exists.
pub(super) fn add_routes(router: &mut Router, context: &Context) {
    let log = context.log.clone();
    let slot: Slot = Arc::default();
    router.attachment = Some(Arc::clone(&slot));
    let serving = Arc::clone(&slot);
    router.once::<GetHealth, _, _>(move |_call| std::future::ready(health(&slot)));
    router.once::<GetMetrics, _, _>(move |_call| {
        let handle = telemetry::metrics();
        if let Some(shared) = serving.get().and_then(Weak::upgrade) {
            metrics::gauge!("acp_connections").set(to_gauge(shared.connection_count()));
            metrics::gauge!("acp_held_bytes").set(to_gauge(shared.budget.held()));
        }
        handle.run_upkeep();
        std::future::ready(Ok(Metrics { text: handle.render() }))
    });
    // It changes the connection that it comes on, which answers it itself.
    router.once::<ActFor, _, _>(|_call| std::future::ready(Err(Failure::internal("a connection acts, not a handler"))));
    router.once::<SetLogLevel, _, _>(move |call| {
        let previous = log.set(&call.request.level);
        std::future::ready(previous.map(|previous| {
            tracing::info!(level = call.request.level, caller = call.caller.actor(), "log level changed");
            SetLogLevelReply { previous }
        }))
    });
}

fn to_gauge(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Tells the health answers which server they speak of.
pub(super) fn attach(shared: &Arc<Shared>) {
    if let Some(slot) = &shared.router.attachment {
        drop(slot.set(Arc::downgrade(shared)));
    }
}

fn health(slot: &Slot) -> Result<Health, Failure> {
    let shared = slot.get().and_then(Weak::upgrade).ok_or_else(|| Failure::unavailable("the daemon is starting"))?;
    let context = &shared.context;
    Ok(Health {
        service: context.noun.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: context.node_now().to_string(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        ready: context.health.is_announced(),
        reason: context.health.reason(),
        connections: u64::try_from(shared.connection_count()).unwrap_or(u64::MAX),
        calls: shared.calls.load(Ordering::Relaxed),
        feature_level: FEATURE_LEVEL,
    })
}
