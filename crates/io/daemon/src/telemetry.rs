//! Logs and metrics of the process.

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use acp_base::Failure;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::{Fatal, arguments::LogFormat};

/// Changes what is logged while the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct LogControl {
    handle: Option<reload::Handle<Targets, Registry>>,
    current: Arc<Mutex<String>>,
}

impl LogControl {
    /// For daemons that run inside a test, whose logs belong to the test.
    pub(crate) fn detached() -> Self {
        Self { handle: None, current: Arc::default() }
    }

    /// Puts another filter in force and answers the one before.
    pub(crate) fn set(&self, filter: &str) -> Result<String, Failure> {
        let parsed = parse_filter(filter).map_err(Failure::invalid)?;
        if let Some(handle) = &self.handle {
            handle
                .reload(parsed)
                .map_err(|error| Failure::internal(format!("cannot change the log filter: {error}")))?;
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut *current, filter.to_owned()))
    }
}

/// A level alone, or levels by module after it. Without regular expressions, which every daemon would carry along.
fn parse_filter(filter: &str) -> Result<Targets, String> {
    // A bare word that is no level would count as a module's name.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let stray = filter.split(',').find(|part| !part.contains('=') && !is_level(part));
    match (stray, filter.parse::<Targets>()) {
        (None, Ok(targets)) => Ok(hush(filter, targets)),
        _ => Err(format!(
            "{filter:?} is no log level: use off, error, warn, info, debug, trace or a filter like info,acp_cluster=debug"
        )),
    }
}

/// Libraries that tell their whole inner life at level info; what an operator needs of it our own crates say.
const CHATTY: [&str; 1] = ["openraft"];

/// Lets chatty libraries warn and no more, unless the filter names them.
fn hush(filter: &str, targets: Targets) -> Targets {
    let most = targets.default_level().unwrap_or(LevelFilter::OFF).min(LevelFilter::WARN);
    CHATTY
        .iter()
        .filter(|name| !filter.contains(**name))
        .fold(targets, |targets, name| targets.with_target(*name, most))
}

/// Starts logging to the standard error output, or to the journal.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<LogControl, Fatal> {
    let (layer, handle) = reload::Layer::new(parse_filter(filter).map_err(Fatal::config)?);
    let registry = Registry::default().with(layer);
    let human = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json | LogFormat::Journald => false,
    };
    let started = if format == LogFormat::Journald {
        let journald = tracing_journald::layer()
            .map_err(|error| Fatal::config(format!("the journal does not take logs: {error}")))?;
        registry.with(journald).try_init()
    } else if human {
        registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).try_init()
    } else {
        let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
        registry.with(json.with_span_list(false).with_writer(std::io::stderr)).try_init()
    };
    started.map_err(|error| Fatal::internal(format!("cannot start logging: {error}")))?;
    Ok(LogControl { handle: Some(handle), current: Arc::new(Mutex::new(filter.to_owned())) })
}

/// The process's metrics in Prometheus' text format.
pub(crate) fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("metrics go to another recorder of this process");
        }
        handle
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_read_and_the_rest_is_refused() {
        for good in ["off", "info", "TRACE", "info,acp_cluster=debug", "warn,acp_io_daemon::server=trace"] {
            parse_filter(good).unwrap_or_else(|error| panic!("{error}"));
        }
        for bad in ["loud", "", "info,acp_cluster=loud", "a=b=c"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }
}
