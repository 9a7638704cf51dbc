//! The daemon's start: reads what is kept, takes up what was interrupted, begins to listen.

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use acp_base::{Code, Failure, Uid};
use acp_core_system::Task;
use acp_io_client::{ObjectWatch, Reporter};
use acp_io_daemon::{Context, Fatal, Router};
use acp_io_jobs::{Interrupted, JobHandle, Jobs};
use acp_wire_api::{Empty, cluster::GetStatus, framework::GetHost};
use acp_wire_model::{Kind, system::PowerIntent};
use tokio::sync::{mpsc, watch};

use crate::{
    accelerator,
    config::Config,
    entry::Entry,
    handlers::Handlers,
    host, observe,
    persist::{self, Record, Store},
    service::{INBOX_MAX, Message, Owner, Setup},
    task,
};

/// The pause before a service that does not answer is asked again for what it knows of the node.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Runs the daemon until the drain.
pub(crate) async fn run(config: Config, context: Context) -> Result<(), Fatal> {
    let broken = |error: io::Error| unusable(&context, &error);
    let reporter = Reporter::new(context.client.clone(), context.incarnation);
    let (store, mut records) = Store::open(context.paths.state.join("systems")).map_err(broken)?;
    let (jobs, interrupted) =
        Jobs::open(&context.paths.state.join("jobs"), context.noun, reporter.clone()).map_err(refused)?;
    let boot = host::boot_id().map_err(broken)?;
    let same_boot = was_here(&context, &boot).map_err(broken)?;
    if !same_boot {
        autostart(&store, &mut records)?;
        // Last: a life that ends before leaves the rest to its successor.
        persist::write(&boot_file(&context), &boot).map_err(broken)?;
    }
    let at_work = take_up(&records, interrupted);
    let entries = entries(records, &at_work, same_boot);

    let (inbox, messages) = mpsc::channel(INBOX_MAX);
    let (decided, verdict) = watch::channel(None);
    let mut router = Router::new();
    Handlers::new(&context, inbox.clone()).routes(&mut router);
    acp_io_jobs::routes(&mut router, jobs.clone());
    let _server = context.serve(router)?;
    spawn_observers(&config, &context, &inbox, decided);
    context.tasks.spawn("reporter", reporter.clone().run(context.drain.clone()));
    let objects = ObjectWatch::new(context.client.clone(), vec![Kind::System]);
    let setup = Setup { config, store, jobs, reporter, verdict, entries, same_boot };
    let mut owner = Owner::new(&context, setup, inbox);
    owner.take_up(at_work);
    context.ready();
    owner.run(messages, objects).await;
    Ok(())
}

/// A file that somebody has to look at ends the daemon for good; a full disk may pass.
fn unusable(context: &Context, error: &io::Error) -> Fatal {
    let text = format!("{}: {error}", context.paths.state.display());
    if error.kind() == io::ErrorKind::InvalidData { Fatal::config(text) } else { Fatal::temporary(text) }
}

fn refused(failure: Failure) -> Fatal {
    match failure.code {
        Code::FailedPrecondition => Fatal::config(failure.message),
        _ => Fatal::temporary(failure.message),
    }
}

/// Holds the boot in which the last life had started what starts with the node.
fn boot_file(context: &Context) -> PathBuf {
    context.paths.state.join("boot")
}

/// Whether the host was not booted since an earlier life.
fn was_here(context: &Context, boot: &str) -> io::Result<bool> {
    let before: Option<String> = persist::read(&boot_file(context))?;
    Ok(before.as_deref() == Some(boot))
}

/// After a boot of the host, systems that start with their node are to run.
fn autostart(store: &Store, records: &mut [Record]) -> Result<(), Fatal> {
    for record in records.iter_mut().filter(|record| record.spec.autostart && record.power == PowerIntent::Off) {
        record.power = PowerIntent::On;
        store.save(record).map_err(|failure| Fatal::temporary(failure.message))?;
    }
    Ok(())
}

/// The interrupted jobs whose systems are known. A deletion whose system is gone has come to its end.
fn take_up(records: &[Record], interrupted: Vec<Interrupted>) -> Vec<(Uid, Task, JobHandle)> {
    let mut at_work = Vec::new();
    for (job, detail) in interrupted {
        let verb = job.job().map(|job| job.verb).unwrap_or_default();
        match task::read(&verb, &detail) {
            Some((uid, task)) if records.iter().any(|record| record.uid == uid) => at_work.push((uid, task, job)),
            Some((_uid, Task::Delete)) => job.finish(Ok(())),
            _ => job.finish(Err(Failure::not_found("nothing is known of its system any more; nothing was changed"))),
        }
    }
    at_work
}

fn entries(records: Vec<Record>, at_work: &[(Uid, Task, JobHandle)], same_boot: bool) -> Vec<Entry> {
    let tasks: BTreeMap<Uid, Task> = at_work.iter().map(|(uid, task, _job)| (*uid, *task)).collect();
    records
        .into_iter()
        .map(|record| {
            let task = tasks.get(&record.uid).copied();
            Entry::new(record, task, same_boot)
        })
        .collect()
}

fn spawn_observers(
    config: &Config,
    context: &Context,
    inbox: &mpsc::Sender<Message>,
    decided: watch::Sender<Option<accelerator::Verdict>>,
) {
    let client = context.client.clone();
    let spawn = |name, work: futures_util::future::BoxFuture<'static, ()>| {
        let drain = context.drain.clone();
        context.tasks.spawn(name, async move {
            tokio::select! {
                () = drain.cancelled() => {}
                () = work => {}
            }
        });
    };
    spawn("units", Box::pin(observe::units(client.clone(), inbox.clone())));
    let interval = config.stats_interval();
    spawn("measurements", Box::pin(observe::measurements(client.clone(), inbox.clone(), interval)));
    spawn("node", Box::pin(ask_about_node(client, inbox.clone())));
    let (config, state, inbox) = (config.clone(), context.paths.state.clone(), inbox.clone());
    spawn(
        "accelerator",
        Box::pin(async move {
            decided.send_replace(Some(accelerator::decide(&config, &state).await));
            // An owner that is gone needs no news.
            drop(inbox.send(Message::Accelerator).await);
        }),
    );
}

/// Learns the node's identity and the layout of its cgroups, however long the two services take.
async fn ask_about_node(client: acp_io_client::Client, inbox: mpsc::Sender<Message>) {
    let cgroups = async {
        loop {
            match client.service("framework").call::<GetHost>(Empty {}).await {
                Ok(host) => return Message::Cgroups(host.cgroups),
                Err(failure) => tracing::debug!(%failure, "the framework does not answer about the host"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    let identity = async {
        loop {
            match client.service("cluster").call::<GetStatus>(Empty {}).await {
                Ok(status) => return Message::NodeUid(status.node_uid),
                Err(failure) => tracing::debug!(%failure, "the cluster database does not answer about the node"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    let tell = |message| async {
        // An owner that is gone needs no news.
        drop(inbox.send(message).await);
    };
    futures_util::future::join(async { tell(cgroups.await).await }, async { tell(identity.await).await }).await;
}
