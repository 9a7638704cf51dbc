//! S9: what somebody changed behind our back.
#![expect(clippy::print_stdout, reason = "how long each took is part of the result")]

use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{process::Identity, wait_for};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::outage::{self, Subject};
use crate::{
    harness::Case,
    world::{LIMIT, World},
};

/// The cases of this line.
pub(crate) const CASES: &[Case] =
    &[Case { name: "survive::s9_what_was_removed_behind_our_back_is_mended_or_told", run: behind }];

/// How often the network service, the framework and a pool's keeper look whether all is as it should be.
const NETWORK_ROUND: Duration = Duration::from_secs(5);
const FRAMEWORK_ROUND: Duration = Duration::from_secs(10);
const POOL_ROUND: Duration = Duration::from_secs(30);
/// How long the mending itself may take, beside guests of another node that flood theirs.
const WORK: Duration = Duration::from_secs(6);

fn behind(world: &World) -> Result<()> {
    let subject = outage::started(world, "kept")?;
    let address = world.wait_greeting("kept", 1)?;
    // What takes longest to be noticed is done first, and watched beside all else.
    let files = remove_files(world)?;
    thread::scope(|scope| {
        let told = scope.spawn(|| files_are_told(world, files));
        let mended = others_are_mended(world, &subject, address);
        let told = told.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        mended.and(told)
    })?;
    world.stop_system("kept")?;
    world.delete("kept")
}

fn others_are_mended(world: &World, subject: &Subject<'_>, address: IpAddr) -> Result<()> {
    network_is_mended(world, address)?;
    hosts_are_mended(world)?;
    let sockets = remove_sockets(world, subject)?;
    sockets_are_mended(subject, sockets)?;
    ensure!(Subject::of(&world.node, "kept")?.qemu == subject.qemu, "mending cost the guest its life");
    a_lost_tap_is_told(world, subject)
}

fn object(world: &World, kind: &str, name: &str) -> Result<Value> {
    let mut reply = world.call("cluster", "acp.cluster.Get", json!({ "kind": kind, "name": name }))?;
    Ok(reply["object"].take())
}

fn meta(world: &World, kind: &str, name: &str) -> Result<Value> {
    let object = object(world, kind, name)?;
    let slots = object["slots"].as_array().context("an object has slots")?;
    Ok(slots.iter().find(|slot| slot["facet"] == "meta").map(|slot| slot["data"].clone()).unwrap_or_default())
}

/// Runs a program in the node's network namespace.
fn in_network(world: &World, words: &[&str]) -> Result<String> {
    let out = world.node.layout().namespace().run(|| Ok(Command::new(words[0]).args(&words[1..]).output()?))?;
    if !out.status.success() {
        bail!("{words:?} ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Waits until something is mended or told, which has to be so within a round of whoever looks after it.
fn within<T>(what: &str, since: Instant, round: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let found = wait_for(what, LIMIT * 2, || look().map_err(|error| format!("{error:#}")))?;
    let taken = since.elapsed();
    println!("    {what}: after {:.1} s", taken.as_secs_f64());
    ensure!(taken <= round + WORK, "{what}: after {taken:?}, not within {round:?}");
    Ok(found)
}

/// The bridge and the filter come back as they were, and the guest is reached again.
fn network_is_mended(world: &World, address: IpAddr) -> Result<()> {
    let table = ["nft", "-s", "list", "table", "inet", "acp"];
    let before = in_network(world, &table)?;
    let bridge = meta(world, "network", "default")?["link"].as_str().context("a network has a link")?.to_owned();
    let at = Instant::now();
    in_network(world, &["nft", "flush", "ruleset"])?;
    in_network(world, &["ip", "link", "delete", &bridge])?;
    within("the deleted bridge carries the guest", at, NETWORK_ROUND, || world.page(address).map(drop))?;
    within("the flushed filter is back", at, NETWORK_ROUND, || {
        let now = in_network(world, &table)?;
        ensure!(now == before, "{now}");
        Ok(())
    })?;
    within("the network is up", at, NETWORK_ROUND, || is_up(world))
}

fn is_up(world: &World) -> Result<()> {
    let meta = meta(world, "network", "default")?;
    ensure!(meta["state"] == "up", "{meta}");
    Ok(())
}

/// The DHCP server's list of guests comes back, and the server hears of it: the guest gets its address again.
fn hosts_are_mended(world: &World) -> Result<()> {
    let uid = object(world, "network", "default")?["uid"].as_str().context("a network has a uid")?.replace('-', "");
    let directory = world.node.layout().state().join("network/dhcp").join(uid);
    let list = || -> Result<Vec<PathBuf>> { fs::read_dir(&directory)?.map(|file| Ok(file?.path())).collect() };
    let before = list()?;
    ensure!(!before.is_empty(), "{} holds no guest", directory.display());
    let at = Instant::now();
    fs::remove_dir_all(&directory)?;
    within("the removed list of guests is back", at, NETWORK_ROUND, || {
        let now = list()?;
        ensure!(now == before, "{now:?}");
        Ok(())
    })?;
    world.node.run(&["--yes", "system", "reset", "kept"])?;
    world.wait_greeting("kept", 2).map(drop)
}

/// Since when the sockets are gone, and the processes that listened there.
type Removed = (Instant, Vec<(String, Identity)>);

/// Sockets of a daemon, of a guest's monitor and of the framework itself.
fn remove_sockets(world: &World, subject: &Subject<'_>) -> Result<Removed> {
    let units = ["hypervisor".to_owned(), subject.unit("vmm"), "framework".to_owned()];
    let before =
        units.into_iter().map(|unit| Ok((unit.clone(), subject.process(&unit)?))).collect::<Result<Vec<_>>>()?;
    let at = Instant::now();
    for (unit, _process) in &before {
        fs::remove_file(world.node.socket(&unit.replace('@', "/")))?;
    }
    Ok((at, before))
}

fn sockets_are_mended(subject: &Subject<'_>, (at, before): Removed) -> Result<()> {
    for (unit, process) in before {
        within(&format!("{unit} is found again"), at, FRAMEWORK_ROUND, || subject.works(&unit, process))?;
    }
    Ok(())
}

/// A tap cannot be given back to the QEMU that held it: the network says whose it was, until the system is started anew.
fn a_lost_tap_is_told(world: &World, subject: &Subject<'_>) -> Result<()> {
    let before = meta(world, "network", "default")?;
    let link = before["taps"][0]["link"].as_str().with_context(|| format!("no tap in {before}"))?.to_owned();
    let at = Instant::now();
    in_network(world, &["ip", "link", "delete", &link])?;
    within("the lost tap is told", at, NETWORK_ROUND, || {
        let meta = meta(world, "network", "default")?;
        let reason = meta["reason"].to_string();
        ensure!(meta["state"] == "degraded" && reason.contains(&link) && reason.contains(subject.name), "{meta}");
        Ok(())
    })?;
    world.stop_system("kept")?;
    world.start_system("kept")?;
    within("the network is up after a start", Instant::now(), NETWORK_ROUND, || is_up(world))
}

/// Files of an image and of a volume; answers since when they are gone, and the files.
fn remove_files(world: &World) -> Result<Instant> {
    world.node.run(&["image", "import", "gone", world.image_text()?, "--wait"])?;
    world.node.run(&["volume", "create", "default/gone", "--size", "4MiB"])?;
    let image = object(world, "image", "gone")?["uid"].as_str().context("an image has a uid")?.replace('-', "");
    let pool = world.node.layout().state().join("storage/pools/default");
    let at = Instant::now();
    fs::remove_file(pool.join(format!("images/{image}.qcow2")))?;
    fs::remove_file(pool.join("volumes/gone.qcow2"))?;
    Ok(at)
}

/// The image says that its file is missing; the volume, which is nothing but its file, is not listed any more.
fn files_are_told(world: &World, at: Instant) -> Result<()> {
    within("the missing files are told", at, POOL_ROUND, || {
        let image = meta(world, "image", "gone")?;
        ensure!(image["present"] == false && image["reason"].to_string().contains("missing"), "{image}");
        let volumes = world.node.json(&["volume", "list"])?;
        ensure!(!volumes.to_string().contains("default/gone"), "{volumes}");
        Ok(())
    })?;
    world.node.run(&["--yes", "image", "delete", "gone"]).map(drop)
}
