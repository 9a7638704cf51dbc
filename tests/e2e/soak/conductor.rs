//! One soak: clients, witness and faults at the same time, with a full comparison every so often and at the end.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, bail, ensure};

use super::{
    Plan, failpoints,
    faults::{self, Fault},
    load::{self, Door, Shared},
    look,
    model::{Kind, Model},
    random::Random,
    tight::{self, Tight},
    verify,
    witness::Witness,
};
use crate::world::World;

/// Faults between two full comparisons.
const FAULTS_PER_LOOK: u64 = 20;
/// How long the node may take until everything agrees once nobody changes anything: cleaning up is tried again after at
/// most 30 s.
const AGREE_LIMIT: Duration = Duration::from_secs(90);
/// How many operations end, at most, between two faults.
const OPERATIONS_BETWEEN: u64 = 6;
/// The longest pause between two faults, should operations not end.
const BETWEEN_MAX: Duration = Duration::from_secs(2);
/// How often progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
/// Descriptors that a daemon may have more at the end than at the start: connections that others keep open.
const DESCRIPTORS_GROWTH_MAX: usize = 24;
/// Bytes that a daemon may take more at the end than at the start: what allocators keep.
const MEMORY_GROWTH_MAX: u64 = 32 << 20;

/// The size of the image that clients import.
const DISK_BYTES: usize = 1 << 20;

/// The stream of the conductor; clients have those from 1.
const CONDUCTOR: u64 = 0;

/// Everything that is at work.
pub(super) struct Soak<'a> {
    pub(super) world: &'a World,
    pub(super) shared: Shared,
    pub(super) witness: Witness,
    pub(super) tight: Tight,
    /// Systems whose guest a fault has ended since everything was last compared.
    hurt: Mutex<BTreeSet<String>>,
    /// The log's last index that was seen.
    index: Mutex<u64>,
    longest_agreement: Mutex<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Soaks and answers the closing table; a failure says what did not hold, and the last events.
pub(super) fn run(world: &World, plan: Plan, say: &dyn Fn(&str)) -> Result<String> {
    let soak = Soak::prepare(world)?;
    let before = verify::footprint(world.node.layout())?;
    let result = soak.conduct(plan, say);
    let result = match (result, soak.shared.journal.defects()) {
        (result, None) => result,
        (Ok(()), Some(defects)) => Err(anyhow::anyhow!("{defects}")),
        (Err(error), Some(defects)) => Err(error.context(defects)),
    };
    let ended = result.and_then(|()| soak.end(&before));
    match ended {
        Ok(footprint) => Ok(soak.summary(plan, &footprint)),
        Err(error) => bail!("seed {}: {error:#}\n    last events:{}", plan.seed, soak.shared.journal.time_line()),
    }
}

impl<'a> Soak<'a> {
    fn prepare(world: &'a World) -> Result<Self> {
        failpoints::trace(world)?;
        let disk = world.scratch("soak")?.join("disk.raw");
        fs::write(&disk, boot_disk())?;
        let disk = disk.to_str().context("a path without strange characters")?.to_owned();
        let tight = Tight::make(world)?;
        let soak = Self {
            world,
            witness: Witness::make(world)?,
            tight,
            shared: Shared::new(disk, (0..load::CLIENTS).map(|client| Model::new(client, Some(tight::POOL)))),
            hurt: Mutex::default(),
            index: Mutex::default(),
            longest_agreement: Mutex::default(),
        };
        soak.agree().context("before the first fault")?;
        Ok(soak)
    }

    /// A fault has ended this system's guest.
    pub(super) fn hurt(&self, name: &str) {
        lock(&self.hurt).insert(name.to_owned());
    }

    /// A fault may have ended any system's guest.
    pub(super) fn hurt_all(&self) {
        for client in 0..load::CLIENTS {
            let names = Model::new(client, None).items.into_iter().filter(|item| item.kind == Kind::System);
            names.for_each(|item| self.hurt(&item.name));
        }
    }

    fn conduct(&self, plan: Plan, say: &dyn Fn(&str)) -> Result<()> {
        thread::scope(|scope| {
            for client in 0..load::CLIENTS {
                let random = Random::stream(plan.seed, u64::try_from(client).unwrap_or_default() + 1);
                let door = Door::own(self.world.node.layout());
                scope.spawn(move || load::work(&door, &self.shared, client, random));
            }
            scope.spawn(|| self.witness.watch(self.world, &self.shared.journal, &self.shared.stop));
            let result = self.break_things(plan, say);
            self.shared.stop.end();
            result
        })
    }

    fn break_things(&self, plan: Plan, say: &dyn Fn(&str)) -> Result<()> {
        let mut random = Random::stream(plan.seed, CONDUCTOR);
        let journal = &self.shared.journal;
        let began = Instant::now();
        let (mut said, mut looked) = (began, 0);
        while began.elapsed() < plan.time {
            self.strike(&mut random)?;
            if let Some(defects) = journal.defects() {
                bail!("{defects}");
            }
            if journal.faults() >= looked + FAULTS_PER_LOOK {
                looked = journal.faults();
                self.agree()?;
            }
            if said.elapsed() >= PROGRESS_EVERY {
                said = Instant::now();
                say(&self.progress());
            }
            self.let_pass(random.below(OPERATIONS_BETWEEN));
        }
        self.agree()
    }

    fn strike(&self, random: &mut Random) -> Result<()> {
        let has_failpoints = !failpoints::known(self.world).is_empty();
        let fault = Fault::draw(random, has_failpoints);
        let journal = &self.shared.journal;
        journal.note(&format!("fault {fault:?} ..."));
        let began = Instant::now();
        let hit = fault.strike(self, random).with_context(|| format!("{fault:?}"))?;
        if let Some(hit) = hit {
            journal.fault(&format!("{fault:?}"), began.elapsed());
            journal.note(&format!("fault {fault:?}: {hit} ({:.2} s)", began.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    /// Lets so many operations end before the next fault.
    fn let_pass(&self, operations: u64) {
        let (target, began) = (self.shared.journal.operations() + operations, Instant::now());
        while self.shared.journal.operations() < target && began.elapsed() < BETWEEN_MAX {
            if self.shared.stop.wait_for_end(Duration::from_millis(20)) {
                return;
            }
        }
    }

    /// Has everybody pause, waits until all agree, and takes in what was unclear.
    fn agree(&self) -> Result<()> {
        let pause = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut models: Vec<MutexGuard<'_, Model>> = self.shared.models.iter().map(lock).collect();
        failpoints::disarm(self.world)?;
        let began = Instant::now();
        faults::wait_ready(self.world)?;
        let hurt = lock(&self.hurt).clone();
        let layout = self.world.node.layout();
        let differences = |models: &[MutexGuard<'_, Model>]| {
            verify::differences(layout, look::objects(layout)?, models.iter().map(|model| &**model), &hurt)
        };
        wait_for("everything to agree", AGREE_LIMIT, || match differences(&models) {
            Ok(found) if found.is_empty() => Ok(()),
            Ok(found) => Err(found.join("\n    ")),
            Err(error) => Err(format!("{error:#}")),
        })?;
        verify::learn(&look::objects(layout)?, models.iter_mut().map(|model| &mut **model));
        self.check_log()?;
        lock(&self.hurt).clear();
        let took = began.elapsed();
        let mut longest = lock(&self.longest_agreement);
        *longest = longest.max(took);
        self.shared.journal.note(&format!("everything agrees ({:.2} s)", took.as_secs_f64()));
        drop(longest);
        drop(pause);
        Ok(())
    }

    fn check_log(&self) -> Result<()> {
        let mut index = lock(&self.index);
        *index = verify::log(self.world.node.layout(), *index).map_err(anyhow::Error::msg)?;
        Ok(())
    }

    fn progress(&self) -> String {
        let (journal, watched) = (&self.shared.journal, self.witness.watched());
        format!(
            "{:>5.0} s: {} faults, {} operations, {} pages of the witness, at most {:.1} s apart",
            journal.elapsed().as_secs_f64(),
            journal.faults(),
            journal.operations(),
            watched.pages,
            watched.longest.as_secs_f64(),
        )
    }

    /// Deletes everything; nothing may be left. Answers how the daemons have grown.
    fn end(&self, before: &std::collections::BTreeMap<String, (usize, u64)>) -> Result<String> {
        for model in &self.shared.models {
            load::delete_all(self.world.node.layout(), &mut lock(model))?;
        }
        self.witness.end(self.world)?;
        Tight::end(self.world)?;
        let layout = self.world.node.layout();
        wait_for("nothing to be left", AGREE_LIMIT, || {
            let left = verify::leftovers(layout).map_err(|error| format!("{error:#}"))?;
            let found = look::objects(layout)
                .and_then(|objects| verify::differences(layout, objects, std::iter::empty(), &BTreeSet::new()))
                .map_err(|error| format!("{error:#}"))?;
            if found.is_empty() && left.is_empty() { Ok(()) } else { Err([found, left].concat().join("\n    ")) }
        })?;
        self.check_log()?;
        failpoints::end(self.world)?;
        growth(before, &verify::footprint(self.world.node.layout())?)
    }

    fn summary(&self, plan: Plan, growth: &str) -> String {
        let longest = lock(&self.longest_agreement).as_secs_f64();
        format!(
            "{}\n{growth}\nseed {}: {}; all agreed at most {longest:.1} s after the load paused: nothing lost, nothing left",
            self.shared.journal.tables(),
            plan.seed,
            self.progress().trim_start(),
        )
    }
}

/// A disk that can be told from other files: a boot sector's mark and nothing else.
pub(super) fn boot_disk() -> Vec<u8> {
    let mut disk = vec![0; DISK_BYTES];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

type Footprint = std::collections::BTreeMap<String, (usize, u64)>;

fn growth(before: &Footprint, after: &Footprint) -> Result<String> {
    let mut text = format!("{:<28} {:>11} {:>20}\n", "daemon", "descriptors", "memory");
    for (noun, (descriptors, bytes)) in after {
        let (first_descriptors, first_bytes) = before.get(noun).copied().unwrap_or_default();
        let mib = |bytes: u64| bytes >> 20;
        text.push_str(&format!(
            "{noun:<28} {first_descriptors:>4} -> {descriptors:>3} {:>7} -> {:>3} MiB\n",
            mib(first_bytes),
            mib(*bytes)
        ));
        ensure!(
            *descriptors <= first_descriptors + DESCRIPTORS_GROWTH_MAX && *bytes <= first_bytes + MEMORY_GROWTH_MAX,
            "{noun} grew from {first_descriptors} descriptors and {first_bytes} bytes to {descriptors} and {bytes}"
        );
    }
    Ok(text)
}
