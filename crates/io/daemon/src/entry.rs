//! From `main` to the daemon's own `run` and back.

use std::{collections::BTreeMap, future::Future, io, path::Path, process::ExitCode, sync::Arc, time::Duration};

use acp_base::Name;
use acp_io_client::Client;
use acp_wire_api::Interface;
use clap::{CommandFactory, FromArgMatches};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Fatal, Health, Identities, Paths, Tasks, arguments::Arguments, config, listener, notify, telemetry,
};

/// How long tasks may take to end after the drain began.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How long they may take when the daemon gives up: somebody is about to start it again, and callers wait for that.
const GIVING_UP_LIMIT: Duration = Duration::from_millis(500);

/// A daemon: a noun, its interfaces, its configuration and what it does.
pub trait Daemon {
    /// The noun that everything is named by: process, socket, interface, configuration, user.
    const NOUN: &'static str;
    /// The interfaces it answers, besides the common ones.
    const INTERFACES: fn() -> Vec<Interface>;
    /// Its configuration file as a type.
    type Config: DeserializeOwned + Default + schemars::JsonSchema + std::fmt::Debug + Send + 'static;

    /// The node's name, for the daemon that knows it by configuration.
    fn node_name(_config: &Self::Config) -> Option<Name> {
        None
    }

    /// The group that may open the socket, when the daemon binds it itself.
    fn socket_gid(_config: &Self::Config) -> Option<u32> {
        None
    }

    /// Does the daemon's work until the context's drain is cancelled.
    fn run(config: Self::Config, context: Context) -> impl Future<Output = Result<(), Fatal>> + Send;
}

/// The whole `main` of a daemon.
pub fn main<D: Daemon>() -> ExitCode {
    let arguments = match parse::<D>() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    if arguments.config_schema {
        return print(&schemars::schema_for!(D::Config).to_value().to_string());
    }
    match start::<D>(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            // Before logging stands, the standard error output is all there is.
            tracing::error!(reason = %fatal, "giving up");
            if !tracing::dispatcher::has_been_set() {
                drop(io::Write::write_all(&mut io::stderr(), format!("acp-{}: {fatal}\n", D::NOUN).as_bytes()));
            }
            fatal.exit_code()
        }
    }
}

fn parse<D: Daemon>() -> Result<Arguments, ExitCode> {
    let command = Arguments::command().name(format!("acp-{}", D::NOUN)).version(env!("CARGO_PKG_VERSION"));
    let parsed = command.try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches));
    parsed.map_err(|error| {
        // Nothing can be done about an output that is closed.
        drop(error.print());
        if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS }
    })
}

fn print(text: &str) -> ExitCode {
    match io::Write::write_all(&mut io::stdout(), format!("{text}\n").as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_closed) => ExitCode::from(74),
    }
}

fn start<D: Daemon>(arguments: Arguments) -> Result<(), Fatal> {
    let config: D::Config = config::read(&arguments.config_dir, D::NOUN)?;
    if arguments.check_config {
        return Ok(());
    }
    let log = telemetry::start(arguments.log_format, &arguments.log_level)?;
    telemetry::metrics();
    end_with_a_panic();
    raise_descriptor_limit();
    let instance = std::env::var("ACP_INSTANCE").ok().filter(|instance| !instance.is_empty());
    let paths = paths::<D>(&arguments, instance.as_deref())?;
    acp_io_failpoint::watch(paths.run.join("failpoints"));
    let node = node_name::<D>(&config, arguments.node)?;
    let context = Context {
        noun: D::NOUN,
        node,
        instance,
        client: Client::new(&paths.run),
        incarnation: incarnation(&paths.state),
        paths,
        tasks: Tasks::default(),
        drain: CancellationToken::new(),
        health: Health::default(),
        identities: Identities::parse(&std::env::var("ACP_IDENTITIES").unwrap_or_default())?,
        log,
        interfaces: Arc::new(with_common(D::INTERFACES())),
        listeners: Arc::new(std::sync::Mutex::new(inherited()?)),
        socket_gid: D::socket_gid(&config),
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build();
    let runtime = runtime.map_err(|error| Fatal::temporary(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(supervised::<D>(config, context))
}

/// Threads for calls that block, such as file system calls: few, because memory is promised.
const BLOCKING_THREADS_MAX: usize = 8;

fn inherited() -> Result<BTreeMap<String, std::os::unix::net::UnixListener>, Fatal> {
    listener::inherited()
}

async fn supervised<D: Daemon>(config: D::Config, context: Context) -> Result<(), Fatal> {
    let watch = |kind| signal(kind).map_err(|error| Fatal::internal(format!("cannot watch for signals: {error}")));
    let (mut terminate, mut interrupt) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    let (tasks, drain) = (context.tasks.clone(), context.drain.clone());
    // A daemon that ends in order, however long that takes, is alive until it has.
    let ended = CancellationToken::new();
    tasks.spawn("watchdog", notify::feed_watchdog(context.health.clone(), drain.clone(), ended.clone()));
    let signalled = drain.clone();
    tasks.spawn("signals", async move {
        tokio::select! {
            _term = terminate.recv() => {}
            _int = interrupt.recv() => {}
            () = signalled.cancelled() => {}
        }
        notify::stopping();
        signalled.cancel();
    });
    let result = D::run(config, context).await;
    drain.cancel();
    ended.cancel();
    let limit = if result.is_ok() { DRAIN_LIMIT } else { GIVING_UP_LIMIT };
    if !tasks.join(limit).await {
        tracing::warn!(tasks = tasks.count(), "tasks did not end with the drain");
    }
    result
}

/// The interfaces of a daemon with those that all of them have.
pub(crate) fn with_common(mut interfaces: Vec<Interface>) -> Vec<Interface> {
    interfaces.push(acp_wire_api::daemon::interface());
    interfaces.push(acp_wire_api::error::interface());
    interfaces
}

fn paths<D: Daemon>(arguments: &Arguments, instance: Option<&str>) -> Result<Paths, Fatal> {
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|error| Fatal::config(format!("{}: {error}", path.display())));
    let bin = match &arguments.bin_dir {
        Some(bin) => absolute(bin)?,
        None => std::env::current_exe()
            .ok()
            .and_then(|program| program.parent().map(Path::to_owned))
            .ok_or_else(|| Fatal::config("the program's own directory is unknown: give --bin-dir"))?,
    };
    let state_root = absolute(&arguments.state_dir)?;
    let mut state = state_root.join(D::NOUN);
    if let Some(instance) = instance {
        state.push(instance);
    }
    Ok(Paths {
        run: absolute(&arguments.run_dir)?,
        state,
        state_root,
        log: absolute(&arguments.log_dir)?,
        config: absolute(&arguments.config_dir)?,
        bin,
    })
}

fn node_name<D: Daemon>(config: &D::Config, given: Option<Name>) -> Result<Name, Fatal> {
    if let Some(name) = given.or_else(|| D::node_name(config)) {
        return Ok(name);
    }
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    let short = host.split('.').next().unwrap_or_default();
    short.parse().map_err(|error| {
        Fatal::config(format!(
            "the host name {short:?} cannot be the node's name ({error}): give --node or set it in the configuration"
        ))
    })
}

/// Wall time of the start in milliseconds, but above every earlier life's, which is kept in the state directory.
fn incarnation(state: &Path) -> u64 {
    let path = state.join("incarnation");
    let before = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    let now = crate::wall_now().0.max(before + 1);
    let aside = state.join("incarnation.new");
    let written = std::fs::write(&aside, now.to_string()).and_then(|()| std::fs::rename(&aside, &path));
    if let Err(error) = written {
        tracing::debug!(%error, "the incarnation is not kept: no state directory");
    }
    now
}

/// A release aborts on a panic. So does every other build, lest tests meet a daemon that lives on with a task missing.
fn end_with_a_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
}

/// A daemon holds a descriptor per connection; the usual soft limit of 1,024 is below the bound on connections.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}
