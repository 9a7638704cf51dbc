//! The whole comparison: what was acknowledged, what the node says, what the host shows.

use std::collections::{BTreeMap, BTreeSet};

use acp_dev_testkit::{Layout, process::Identity, varlink};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    faults::DAEMONS,
    look::{self, Seen},
    model::{Belief, Item, Kind, Model, PREFIX, Power},
    tight,
};
use crate::world::units;

/// States in which a system may stay.
const SETTLED: [&str; 3] = ["stopped", "running", "failed"];

/// Everything of one look.
struct Node<'a> {
    layout: &'a Layout,
    objects: Vec<Seen>,
    units: Vec<Value>,
    links: Vec<String>,
}

/// What does not agree on a node, each in a sentence; empty when everything does. `objects` are those that are at home there, as
/// it tells of them; `hurt` are systems whose guest was ended by a fault: they may be down.
pub(super) fn differences<'a>(
    layout: &Layout,
    objects: Vec<Seen>,
    models: impl Iterator<Item = &'a Model> + Clone,
    hurt: &BTreeSet<String>,
) -> Result<Vec<String>> {
    let node = Node { layout, objects, units: units(layout)?, links: layout.namespace().links()? };
    let mut found = Vec::new();
    found.extend(models.clone().flat_map(|model| &model.items).flat_map(|item| node.item(item, hurt)));
    found.extend(node.strangers(models));
    found.extend(node.systems());
    found.extend(node.claims());
    found.extend(node.units_and_groups());
    found.extend(node.networks());
    found.extend(node.pools());
    found.extend(node.records());
    found.extend(look::unfinished(layout, "hypervisor")?);
    found.extend(look::unfinished(layout, "storage")?);
    Ok(found)
}

/// Takes in what was found of everything that was unclear, and what identifies the rest.
pub(super) fn learn<'a>(objects: &[Seen], models: impl Iterator<Item = &'a mut Model>) {
    for model in models {
        let rest = model.rest;
        let settled = |item: &&mut Item| item.doubted.is_none_or(|since| since.elapsed() >= rest);
        for item in model.items.iter_mut().filter(settled) {
            match objects.iter().find(|seen| seen.kind == item.kind.noun() && seen.name == item.name) {
                None => item.forget(),
                Some(seen) => learn_item(item, seen),
            }
        }
    }
}

fn learn_item(item: &mut Item, seen: &Seen) {
    item.belief = Belief::Present;
    let Seen { uid, version, spec, .. } = seen.clone();
    item.seen = Some(super::model::Seen { uid, version, spec });
    match item.kind {
        Kind::System => {
            item.power = match (seen.status["intent"] == "on", seen.state() == "running") {
                (true, true) => Power::On,
                (false, _) => Power::Off,
                // A fault has ended its guest for good.
                (true, false) => Power::Unclear,
            };
            item.network = seen.spec["nics"][0]["network"].as_str().map(str::to_owned);
            item.qemu = (seen.state() == "running").then(|| process(seen)).flatten();
        }
        Kind::Volume => {
            item.sizes = seen.status["size_bytes"].as_u64().map(|bytes| bytes >> 20).into_iter().collect();
            let pool = item.name.split('/').next().unwrap_or_default();
            item.source = seen.status["backing"]["name"].as_str().map(|name| format!("{pool}/{name}"));
        }
        Kind::Image | Kind::Network => {}
    }
}

fn process(seen: &Seen) -> Option<Identity> {
    Identity::of(i32::try_from(seen.status["pid"].as_i64()?).ok()?)
}

/// The log verifies, and is not shorter than it was; answers its last index.
pub(super) fn log(layout: &Layout, before: u64) -> Result<u64, String> {
    let verified = varlink::call(&layout.socket("cluster"), "acp.cluster.VerifyLog", json!({}))
        .map_err(|error| format!("{error:#}"))?;
    let last = verified["last"].as_u64().ok_or_else(|| format!("no last index: {verified}"))?;
    match (verified["broken_at"].is_null(), last >= before) {
        (true, true) => Ok(last),
        (false, _) => Err(format!("the log does not verify: {verified}")),
        (true, false) => Err(format!("the log has lost entries: it ended at {before} and now ends at {last}")),
    }
}

impl Node<'_> {
    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Seen> {
        self.objects.iter().filter(move |seen| seen.kind == kind)
    }

    fn item(&self, item: &Item, hurt: &BTreeSet<String>) -> Vec<String> {
        let found = self.of_kind(item.kind.noun()).find(|seen| seen.name == item.name);
        let called = format!("{} {}", item.kind.noun(), item.name);
        match (item.belief, found) {
            (Belief::Present, None) => vec![format!("{called} was acknowledged and is lost")],
            (Belief::Absent, Some(seen)) => vec![format!("{called} is there and must not be: {}", seen.status)],
            (Belief::Absent | Belief::Unclear, _) => Vec::new(),
            (Belief::Present, Some(seen)) => {
                let mut wrong = declared(item, seen);
                wrong.extend(match item.kind {
                    Kind::System => power(item, seen, hurt.contains(&item.name)),
                    Kind::Volume => size(item, seen),
                    Kind::Image => present(seen),
                    Kind::Network => None,
                });
                wrong.into_iter().map(|what| format!("{called} {what}")).collect()
            }
        }
    }

    /// Objects with our names that no model knows.
    fn strangers<'a>(&self, models: impl Iterator<Item = &'a Model>) -> Vec<String> {
        let known: BTreeSet<(&str, &str)> =
            models.flat_map(|model| &model.items).map(|item| (item.kind.noun(), item.name.as_str())).collect();
        let disks: BTreeSet<String> = self.disks().collect();
        let kinds = ["system", "volume", "image", "network"];
        let ours = self.objects.iter().filter(|seen| kinds.contains(&seen.kind.as_str()));
        let ours = ours.filter(|seen| seen.name.split('/').next_back().is_some_and(|name| name.starts_with(PREFIX)));
        let strange = ours.filter(|seen| {
            let is_disk = seen.kind == "volume" && disks.contains(&seen.name);
            !known.contains(&(seen.kind.as_str(), seen.name.as_str())) && !is_disk && seen.name != super::witness::NAME
        });
        strange.map(|seen| format!("{} {} belongs to nobody", seen.kind, seen.name)).collect()
    }

    /// The volumes that systems have.
    fn disks(&self) -> impl Iterator<Item = String> {
        let disks = self.of_kind("system").flat_map(|system| system.spec["disks"].as_array().into_iter().flatten());
        disks.map(|disk| {
            let text = |key: &str| disk[key].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("pool"), text("volume"))
        })
    }

    fn systems(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for system in self.of_kind("system") {
            let (state, status) = (system.state(), &system.status);
            if !SETTLED.contains(&state) {
                wrong.push(format!("system {} stays {status}", system.name));
            }
            if status["job"].is_string() {
                wrong.push(format!("system {} has an unfinished job: {status}", system.name));
            }
            if (state == "running") != process(system).is_some() {
                wrong.push(format!("system {} is {state} and its process says otherwise: {status}", system.name));
            }
        }
        let volumes: BTreeSet<&str> = self.of_kind("volume").map(|volume| volume.name.as_str()).collect();
        let missing = self.disks().filter(|disk| !volumes.contains(disk.as_str()));
        wrong.extend(missing.map(|disk| format!("the disk {disk} of a system is missing")));
        wrong
    }

    /// MAC addresses and IP addresses are used once.
    fn claims(&self) -> Vec<String> {
        let nics = self.of_kind("system").flat_map(|system| system.spec["nics"].as_array().into_iter().flatten());
        let claims = nics.flat_map(|nic| {
            [format!("{}", nic["mac"]), format!("{} in {}", nic["address"], nic["network"])].into_iter()
        });
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        claims.for_each(|claim| *counts.entry(claim).or_default() += 1);
        counts.into_iter().filter(|(_, count)| *count > 1).map(|(claim, _)| format!("{claim} is used twice")).collect()
    }

    fn units_and_groups(&self) -> Vec<String> {
        let mut expected: BTreeSet<String> = DAEMONS.map(str::to_owned).into_iter().collect();
        expected.extend(self.of_kind("pool").map(|pool| format!("storage-worker@{}", pool.name)));
        let networks = self.of_kind("network").filter(|network| network.spec["dhcp"] == true);
        expected.extend(networks.map(|network| format!("dnsmasq@{}", network.simple())));
        let running = self.of_kind("system").filter(|system| system.state() == "running");
        expected.extend(running.flat_map(|system| ["qemu", "vmm"].map(|unit| format!("{unit}@{}", system.simple()))));
        let name = |unit: &Value| unit["name"].as_str().unwrap_or_default().to_owned();
        let mut wrong = compare("units", &expected, &self.units.iter().map(name).collect());
        let groups = look::groups(self.layout);
        wrong.extend(groups.iter().flat_map(|groups| compare("control groups", &expected, groups)));
        let unready = self.units.iter().filter(|unit| unit["meta"]["state"] != "ready");
        wrong.extend(unready.map(|unit| format!("unit {} is {}", unit["name"], unit["meta"])));
        wrong
    }

    fn networks(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let down = self.of_kind("network").filter(|network| network.state() != "up");
        wrong.extend(down.map(|network| format!("network {} is {}", network.name, network.status)));
        let running = self.of_kind("system").filter(|system| system.state() == "running");
        let taps: usize = running.map(|system| nics(system).count()).sum();
        let count = |prefix: &str| self.links.iter().filter(|link| link.starts_with(prefix)).count();
        let bridges = self.of_kind("network").count();
        if (count("acpt"), count("acpb")) != (taps, bridges) {
            wrong.push(format!("there ought to be {taps} taps and {bridges} bridges: {:?}", self.links));
        }
        let root = self.layout.state().join("network/dhcp");
        let expected = self.of_kind("network").filter(|network| network.spec["dhcp"] == true);
        wrong.extend(compare("DHCP directories", &expected.map(Seen::simple).collect(), &look::names(&root)));
        for network in self.of_kind("network") {
            let hosts = self.of_kind("system").flat_map(nics).filter(|nic| nic["network"] == network.name.as_str());
            let hosts = hosts.filter_map(|nic| Some(nic["mac"].as_str()?.replace(':', "-"))).collect();
            let files = look::names(&root.join(network.simple()));
            wrong.extend(compare(&format!("guests in the DHCP directory of {}", network.name), &hosts, &files));
        }
        wrong
    }

    fn pools(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for pool in self.of_kind("pool") {
            if pool.state() != "ready" {
                wrong.push(format!("pool {} is {}", pool.name, pool.status));
            }
            let path = std::path::Path::new(pool.status["path"].as_str().unwrap_or_default());
            let volumes =
                self.of_kind("volume").filter_map(|volume| volume.name.strip_prefix(&pool.name)?.strip_prefix('/'));
            let files = look::names(&path.join("volumes"));
            wrong.extend(compare(&format!("volumes of {}", pool.name), &volumes.map(str::to_owned).collect(), &files));
            let images = self.of_kind("image").filter(|image| image.spec["pool"] == pool.name.as_str());
            let files = look::names(&path.join("images"));
            wrong.extend(compare(&format!("images of {}", pool.name), &images.map(Seen::simple).collect(), &files));
            wrong.extend(compare(
                &format!("staged files of {}", pool.name),
                &BTreeSet::new(),
                &look::names(&path.join("staging")),
            ));
        }
        wrong
    }

    /// What daemons keep beside the objects.
    fn records(&self) -> Vec<String> {
        let state = self.layout.state();
        let systems: BTreeSet<String> = self.of_kind("system").map(|system| system.uid.clone()).collect();
        let mut wrong = compare("records of the hypervisor", &systems, &look::names(&state.join("hypervisor/systems")));
        let images: BTreeSet<String> = self.of_kind("image").map(|image| image.uid.clone()).collect();
        // A deletion that was interrupted before the object was gone leaves its plan, which counts no more.
        let removals = look::names(&state.join("storage/removals")).difference(&images).cloned().collect();
        wrong.extend(compare("planned removals", &BTreeSet::new(), &removals));
        wrong
    }
}

fn nics(system: &Seen) -> impl Iterator<Item = &Value> {
    system.spec["nics"].as_array().into_iter().flatten()
}

/// The declaration is the one that was acknowledged.
fn declared(item: &Item, seen: &Seen) -> Vec<String> {
    let Some(before) = &item.seen else { return Vec::new() };
    let mut wrong = Vec::new();
    if before.uid != seen.uid {
        wrong.push(format!("is another one: {} was {}", seen.uid, before.uid));
    }
    if before.version > seen.version {
        wrong.push(format!("went back from version {} to {}", before.version, seen.version));
    }
    if before.version == seen.version && before.spec != seen.spec {
        wrong.push(format!("was declared as {} and is now {}", before.spec, seen.spec));
    }
    wrong
}

fn power(item: &Item, seen: &Seen, is_hurt: bool) -> Option<String> {
    let status = &seen.status;
    let (is_on, is_running) = (status["intent"] == "on", seen.state() == "running");
    let contradicts = match item.power {
        Power::Unclear => false,
        Power::On => !is_on || (!is_running && !is_hurt),
        Power::Off => is_on || is_running,
    };
    if contradicts {
        return Some(format!("was last told to be {:?} and is {status}", item.power));
    }
    let before = item.qemu.filter(|_process| !is_hurt && item.power == Power::On)?;
    (process(seen) != Some(before))
        .then(|| format!("was not touched and has another process than {before:?}: {status}"))
}

fn size(item: &Item, seen: &Seen) -> Option<String> {
    let bytes = seen.status["size_bytes"].as_u64().unwrap_or_default();
    let fits = item.sizes.iter().any(|mib| mib << 20 == bytes) && seen.status["reason"] == "";
    (!fits).then(|| format!("ought to have {:?} MiB and is {}", item.sizes, seen.status))
}

fn present(seen: &Seen) -> Option<String> {
    (seen.status["present"] != true).then(|| format!("has no file: {}", seen.status))
}

fn compare(what: &str, expected: &BTreeSet<String>, found: &BTreeSet<String>) -> Vec<String> {
    let missing: Vec<&String> = expected.difference(found).collect();
    let left: Vec<&String> = found.difference(expected).collect();
    let say = |word: &str, names: &[&String]| format!("{what} {word}: {names:?}");
    let missing = (!missing.is_empty()).then(|| say("missing", &missing));
    missing.into_iter().chain((!left.is_empty()).then(|| say("left over", &left))).collect()
}

/// The processes of the daemons by name, with their descriptors and memory in bytes.
pub(super) fn footprint(layout: &Layout) -> Result<BTreeMap<String, (usize, u64)>> {
    let mut found = BTreeMap::new();
    for noun in ["framework"].into_iter().chain(DAEMONS) {
        let health = varlink::call(&layout.socket(noun), "acp.daemon.GetHealth", json!({}))?;
        let pid = i32::try_from(health["pid"].as_i64().context("a pid")?)?;
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        found.insert(noun.to_owned(), (descriptors, acp_dev_testkit::process::pss_bytes(pid)?));
    }
    Ok(found)
}

/// The pool that is made for the soak alone, and the names of its own objects.
pub(super) fn leftovers(layout: &Layout) -> Result<Vec<String>> {
    let ours = look::objects(layout)?.into_iter().filter(|seen| {
        let kinds = ["system", "volume", "image", "network", "pool"];
        let name = seen.name.split('/').next_back().unwrap_or_default();
        kinds.contains(&seen.kind.as_str()) && (name.starts_with(PREFIX) || seen.name == tight::POOL)
    });
    Ok(ours.map(|seen| format!("{} {}", seen.kind, seen.name)).collect())
}
