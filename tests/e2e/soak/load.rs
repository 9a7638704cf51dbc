//! The clients: each makes, uses and ends objects of its own, one operation after the other, as fast as they are answered.

use std::{
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use acp_dev_testkit::{Layout, process::Identity};
use anyhow::{Context as _, Result};

use super::{
    ask::{Answer, ask, must},
    journal::Journal,
    look,
    model::{Belief, Item, Kind, Model, Power, Verb},
    random::Random,
    stop::Stop,
};

/// Clients at once: with the witness as many guests as two processors can emulate.
pub(super) const CLIENTS: usize = 3;
/// The pause of a client while the node is down, or who could help is not there.
const AWAY_PAUSE: Duration = Duration::from_millis(100);
/// Sizes of volumes in MiB, by which they grow, too.
const STEP_MIB: u64 = 4;
/// The largest volume of a soak in MiB.
const SIZE_MIB_MAX: u64 = 32;

/// What clients and conductor share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) journal: Journal,
    pub(super) stop: Stop,
    /// Held for reading by each operation, for writing to have none.
    pub(super) gate: RwLock<()>,
    /// Whether the node has no power at the moment.
    pub(super) is_away: AtomicBool,
    pub(super) models: Vec<Mutex<Model>>,
    /// A small disk to import as an image.
    pub(super) disk: String,
}

impl Shared {
    pub(super) fn new(disk: String, models: impl Iterator<Item = Model>) -> Self {
        Self {
            journal: Journal::new(),
            stop: Stop::default(),
            gate: RwLock::default(),
            is_away: AtomicBool::new(false),
            models: models.map(Mutex::new).collect(),
            disk,
        }
    }
}

/// The way of a client to the node that its objects are on.
#[derive(Clone, Debug)]
pub(super) struct Door {
    home: Layout,
    /// Its name, if others are asked to pass things on.
    name: Option<String>,
    /// The nodes that are asked, each as likely as another.
    asked: Vec<Layout>,
}

impl Door {
    /// The node itself is asked.
    pub(super) fn own(home: &Layout) -> Self {
        Self { home: home.clone(), name: None, asked: vec![home.clone()] }
    }

    /// Any of these is asked, and passes on to the node of this name what it does not do itself.
    pub(super) fn any(home: &Layout, name: String, asked: Vec<Layout>) -> Self {
        Self { home: home.clone(), name: Some(name), asked }
    }

    /// Who is asked this time, and in which words.
    fn enter(&self, words: &[String], random: &mut Random) -> (&Layout, Vec<String>) {
        let to = self.name.iter().flat_map(|name| ["--node".to_owned(), name.clone()]);
        // A stream of decisions stays the same whether or not there is a choice.
        let drawn = if self.asked.len() > 1 { random.pick(&self.asked) } else { self.asked.first() };
        // A file lies on one node, and is handed over there.
        let asked = drawn.filter(|_node| !words.iter().any(|word| word == "import")).unwrap_or(&self.home);
        (asked, to.chain(words.iter().cloned()).collect())
    }
}

/// Works until the soak is over or something contradicts what was acknowledged.
pub(super) fn work(door: &Door, shared: &Shared, client: usize, mut random: Random) {
    while !shared.stop.wait_for_end(Duration::ZERO) {
        if shared.is_away.load(Ordering::SeqCst) {
            shared.stop.wait_for_end(AWAY_PAUSE);
            continue;
        }
        let pass = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        let mut model = shared.models[client].lock().unwrap_or_else(PoisonError::into_inner);
        let result = operate(door, shared, client, &mut model, &mut random);
        drop((model, pass));
        if let Err(error) = result {
            shared.journal.defect(format!("client {client}: {error:#}"));
            return shared.stop.end();
        }
    }
}

fn operate(door: &Door, shared: &Shared, client: usize, model: &mut Model, random: &mut Random) -> Result<()> {
    let Some((at, verb)) = random.weighed(&model.choices()) else {
        shared.stop.wait_for_end(AWAY_PAUSE);
        return Ok(());
    };
    let plan = Plan::of(model, at, verb, client, &shared.disk, random);
    let began = Instant::now();
    let (asked, words) = door.enter(&plan.words, random);
    let answer = ask(asked, &words)?;
    let (took, line) = (began.elapsed(), words.join(" "));
    if matches!(&answer, Answer::Failed { code, .. } if code == "Unavailable") {
        shared.stop.wait_for_end(AWAY_PAUSE);
    }
    let end = match &answer {
        Answer::Done => "ok",
        Answer::Failed { code, .. } => code,
    };
    shared.journal.operation(&plan.called, end, took);
    shared.journal.note(&format!("client {client}: {line}: {} ({:.2} s)", answer.brief(), took.as_secs_f64()));
    model.items[at].doubt(&answer);
    plan.apply(&mut model.items[at], &answer)
        .and_then(
            |()| {
                if answer.is_excused() || is_answer_of_the_model(&answer) { Ok(()) } else { Err(answer.brief()) }
            },
        )
        .map_err(|why| anyhow::anyhow!("{line}: {why}"))?;
    if verb == Verb::Start && answer == Answer::Done {
        model.items[at].qemu = process(&door.home, &model.items[at].name);
    }
    Ok(())
}

/// Answers whose truth the model knows and has judged.
fn is_answer_of_the_model(answer: &Answer) -> bool {
    matches!(answer, Answer::Failed { code, .. } if code == "NotFound" || code == "AlreadyExists")
}

/// The process of a system that was started just now; nothing if that cannot be told.
fn process(layout: &Layout, name: &str) -> Option<Identity> {
    let objects = look::objects(layout).ok()?;
    let status = &objects.iter().find(|seen| seen.kind == "system" && seen.name == name)?.status;
    let pid = status["pid"].as_i64().filter(|_pid| status["state"] == "running")?;
    Identity::of(i32::try_from(pid).ok()?)
}

/// One operation with everything drawn that it needs.
struct Plan {
    verb: Verb,
    words: Vec<String>,
    /// As the tables name it.
    called: String,
    network: Option<String>,
    source: Option<String>,
    sizes: Vec<u64>,
}

impl Plan {
    fn of(model: &Model, at: usize, verb: Verb, client: usize, disk: &str, random: &mut Random) -> Self {
        let item = &model.items[at];
        let (noun, name) = (item.kind.noun(), item.name.as_str());
        let mut plan =
            Self { verb, words: Vec::new(), called: String::new(), network: None, source: None, sizes: Vec::new() };
        let size = item.sizes.iter().max().copied().unwrap_or_default();
        let line = match (verb, item.kind) {
            (Verb::Create, Kind::System) => {
                let own = model.items.iter().find(|item| item.kind == Kind::Network);
                let own = own.filter(|own| own.belief == Belief::Present && random.below(2) == 0);
                let network = own.map_or("default", |own| own.name.as_str());
                plan.network = Some(network.to_owned());
                format!("system create {name} --image demo --memory 64MiB --network {network} --wait")
            }
            (Verb::Create, Kind::Volume) => {
                plan.sizes = vec![STEP_MIB];
                let format = if random.below(3) == 0 { "raw" } else { "qcow2" };
                format!("volume create {name} --size {STEP_MIB}MiB --format {format}")
            }
            (Verb::Create, Kind::Image) => format!("image import {name} {disk} --wait"),
            (Verb::Create, Kind::Network) => format!("network create {name} --address 10.{}.0.1/24", 90 + client),
            (Verb::Clone { from, linked }, _) => {
                let source = &model.items[from];
                plan.sizes.clone_from(&source.sizes);
                plan.source = linked.then(|| source.name.clone());
                let linked = if linked { " --linked" } else { "" };
                format!("volume clone {} {name}{linked} --wait", source.name)
            }
            (Verb::Expand, _) => {
                let mib = (size + STEP_MIB).min(SIZE_MIB_MAX);
                plan.sizes = vec![mib];
                format!("volume expand {name} --size {mib}MiB")
            }
            (Verb::Start, _) => format!("system start {name} --wait"),
            (Verb::Stop, _) => format!("--yes system stop {name} --wait"),
            (Verb::Shutdown, _) => format!("--yes system shutdown {name} --within 1s --force --wait"),
            (Verb::Reset, _) => format!("--yes system reset {name}"),
            (Verb::Delete, Kind::System) => format!("--yes system delete {name} --wait"),
            (Verb::Delete, _) => format!("--yes {noun} delete {name}"),
        };
        plan.words = line.split(' ').map(str::to_owned).collect();
        plan.called = plan.words.iter().filter(|word| *word != "--yes").take(2).cloned().collect::<Vec<_>>().join(" ");
        plan
    }

    /// Takes in how it ended.
    fn apply(self, item: &mut Item, answer: &Answer) -> Result<(), String> {
        match self.verb {
            Verb::Create | Verb::Clone { .. } => {
                (item.network, item.source) = (self.network, self.source);
                item.sizes = self.sizes;
                item.created(answer)
            }
            Verb::Expand => item.expanded(&self.sizes, answer),
            Verb::Start => item.powered(Power::On, answer),
            Verb::Stop | Verb::Shutdown => item.powered(Power::Off, answer),
            // Nothing that is kept changes.
            Verb::Reset => Ok(()),
            Verb::Delete => item.deleted(answer),
        }
    }
}

/// Deletes what a client has left: clones before their sources, systems before their networks.
pub(super) fn delete_all(layout: &Layout, model: &mut Model) -> Result<()> {
    let rank = |kind: Kind| match kind {
        Kind::System => 0,
        Kind::Volume => 1,
        Kind::Image | Kind::Network => 2,
    };
    let mut left: Vec<_> = model.items.drain(..).filter(|item| item.belief == Belief::Present).collect();
    left.sort_by_key(|item| rank(item.kind));
    while !left.is_empty() {
        let is_source = |name: &String| left.iter().any(|other| other.source.as_ref() == Some(name));
        let at = left.iter().position(|item| !is_source(&item.name)).context("clones of each other")?;
        let item = left.remove(at);
        let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (noun, name) = (item.kind.noun(), &item.name);
        if item.power == Power::On {
            must(layout, &words(format!("--yes system stop {name} --wait")))?;
        }
        let wait = if item.kind == Kind::System { " --wait" } else { "" };
        must(layout, &words(format!("--yes {noun} delete {name}{wait}")))?;
    }
    Ok(())
}
