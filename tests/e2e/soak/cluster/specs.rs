//! Specs that clients declare, change, read and delete through any node: images without a file, from which nothing on a host
//! follows.
//!
//! An operation whose end is not known may still come to pass; its object is left alone until that can be no more, and looked at
//! then.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use acp_dev_testkit::objects;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    super::{ask::Answer, load::Shared, random::Random},
    sites,
};
use crate::quorum::{
    Five,
    five::{NODES, ask},
};

/// Clients at once.
pub(super) const CLIENTS: usize = 4;
/// Objects of each.
const OBJECTS: usize = 6;
/// How their names begin.
const PREFIX: &str = "spec-";
/// The pool that they are declared in, on n1.
const POOL: &str = "specs";
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an operation may come to pass that nobody has answered: its deadline, and what a node that stood still adds.
pub(super) const REST: Duration = Duration::from_secs(20);
/// The pause between two operations of a client.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether an object is one of these.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Absent,
    Present {
        uid: String,
        value: u64,
    },
    /// Since when, and what it may hold if it is there; it may be away, too, if an end or a beginning was asked for.
    Unclear {
        since: Instant,
        values: BTreeSet<u64>,
        may_be_away: bool,
    },
}

#[derive(Debug)]
struct Spec {
    name: String,
    known: Known,
}

/// All of them, by client.
#[derive(Debug)]
pub(super) struct Specs {
    clients: Vec<Mutex<Vec<Spec>>>,
    values: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer with what it says, or that there was none.
type Ended = Result<Value, Answer>;

fn call(five: &Five, node: usize, method: &str, parameters: &Value) -> Ended {
    let lost = |error: anyhow::Error| Answer::Failed {
        code: "Unavailable".to_owned(),
        message: format!("{error:#}"),
        is_unchanged: false,
    };
    // Whoever does not reach its node has asked nothing.
    let mut connection = five.connect(node).map_err(|error| match lost(error) {
        Answer::Failed { code, message, .. } => Answer::Failed { code, message, is_unchanged: true },
        Answer::Done => Answer::Done,
    })?;
    let answer = ask(&mut connection, PATIENCE, method, parameters).map_err(lost)?;
    answer.map_err(|refused| Answer::Failed {
        code: refused.code,
        message: refused.message,
        is_unchanged: refused.changed == "none",
    })
}

fn value_of(object: &Value) -> Result<u64> {
    let source = object["spec"]["source"].as_str().with_context(|| format!("no source in {object}"))?;
    source.strip_prefix('v').and_then(|digits| digits.parse().ok()).with_context(|| format!("{source:?} is no value"))
}

/// The object as it was found: its id and value.
fn found(object: &Value) -> Result<(String, u64)> {
    Ok((object["uid"].as_str().context("an object has a uid")?.to_owned(), value_of(object)?))
}

impl Spec {
    /// What is wrong if this was found for certain, nothing being under way.
    fn contradiction(&self, seen: Option<&(String, u64)>) -> Option<String> {
        let fits = match (&self.known, seen) {
            (Known::Absent, seen) => seen.is_none(),
            (Known::Present { uid, value }, Some(seen)) => (uid, value) == (&seen.0, &seen.1),
            (Known::Present { .. }, None) => false,
            (Known::Unclear { may_be_away, .. }, None) => *may_be_away,
            (Known::Unclear { values, .. }, Some((_, value))) => values.contains(value),
        };
        (!fits).then(|| format!("{} is known as {:?} and found as {seen:?}", self.name, self.known))
    }

    fn learn(&mut self, seen: Option<(String, u64)>) {
        self.known = match seen {
            None => Known::Absent,
            Some((uid, value)) => Known::Present { uid, value },
        };
    }

    /// An operation ended without saying what it came to; it would have left these values, or nothing.
    fn doubt(&mut self, value: Option<u64>) {
        let mut values: BTreeSet<u64> = value.into_iter().collect();
        let may_be_away = match &self.known {
            Known::Present { value: before, .. } => {
                values.insert(*before);
                value.is_none()
            }
            Known::Absent | Known::Unclear { .. } => true,
        };
        self.known = Known::Unclear { since: Instant::now(), values, may_be_away };
    }
}

impl Specs {
    /// Nothing is declared yet but their pool.
    pub(super) fn declare(five: &Five) -> Result<Self> {
        objects::ensure(&five.member(1).layout, "pool", POOL, &["pool", "create", POOL])?;
        let spec =
            |client: usize, number: usize| Spec { name: format!("{PREFIX}{client}-{number}"), known: Known::Absent };
        let client = |client: usize| Mutex::new((0..OBJECTS).map(|number| spec(client, number)).collect());
        Ok(Self { clients: (0..CLIENTS).map(client).collect(), values: AtomicU64::new(0) })
    }

    /// Works until the soak is over or something contradicts what was acknowledged.
    pub(super) fn work(&self, five: &Five, shared: &Shared, client: usize, mut random: Random) {
        while !shared.stop.wait_for_end(PAUSE) {
            let pass = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
            let mut own = lock(&self.clients[client]);
            let at = usize::try_from(random.below(OBJECTS as u64)).unwrap_or_default();
            let result = self.operate(five, shared, &mut own[at], &mut random);
            drop((own, pass));
            if let Err(error) = result {
                shared.journal.defect(format!("specs of client {client}: {error:#}"));
                return shared.stop.end();
            }
        }
    }

    fn operate(&self, five: &Five, shared: &Shared, spec: &mut Spec, random: &mut Random) -> Result<()> {
        let node = *random.pick(&NODES).context("there are nodes")?;
        let choice = random.below(10);
        let began = Instant::now();
        let before = spec.known.clone();
        let (called, answer) = match &before {
            Known::Unclear { since, .. } if since.elapsed() < REST => return Ok(()),
            Known::Unclear { .. } => ("spec look", self.read(five, node, spec)?),
            Known::Absent => ("spec create", self.create(five, node, spec)?),
            Known::Present { .. } if choice < 3 => ("spec read", self.read(five, node, spec)?),
            Known::Present { uid, .. } if choice < 8 => ("spec update", self.update(five, node, spec, uid)?),
            Known::Present { uid, .. } => ("spec delete", delete(five, node, spec, uid)?),
        };
        let end = match &answer {
            Answer::Done => "ok",
            Answer::Failed { code, .. } => code,
        };
        shared.journal.operation(called, end, began.elapsed());
        let line = format!("{called} of {} through n{node}: {}", spec.name, answer.brief());
        if answer != Answer::Done {
            shared.journal.note(&line);
        }
        anyhow::ensure!(answer.is_excused(), "{line}; it was known as {before:?}");
        Ok(())
    }

    fn next_value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn create(&self, five: &Five, node: usize, spec: &mut Spec) -> Result<Answer> {
        let value = self.next_value();
        let declared = json!({
            "node": "n1", "pool": POOL, "format": "raw", "size_bytes": 512, "virtual_size_bytes": 512,
            "sha256": "0".repeat(64), "source": format!("v{value}"),
        });
        let asked = json!({ "kind": "image", "name": spec.name, "spec": declared });
        Ok(match call(five, node, "acp.cluster.Create", &asked) {
            Ok(made) => {
                spec.learn(Some((made["uid"].as_str().context("an object has a uid")?.to_owned(), value)));
                Answer::Done
            }
            Err(failed) => doubted(spec, Some(value), failed),
        })
    }

    fn update(&self, five: &Five, node: usize, spec: &mut Spec, uid: &str) -> Result<Answer> {
        let value = self.next_value();
        let asked = json!({ "kind": "image", "uid": uid, "patch": { "source": format!("v{value}") } });
        Ok(match call(five, node, "acp.cluster.Update", &asked) {
            Ok(_done) => {
                spec.learn(Some((uid.to_owned(), value)));
                Answer::Done
            }
            Err(failed) => doubted(spec, Some(value), failed),
        })
    }

    /// Reads the newest there is.
    fn read(&self, five: &Five, node: usize, spec: &mut Spec) -> Result<Answer> {
        let asked = json!({ "kind": "image", "name": spec.name, "linearizable": true });
        let seen = match call(five, node, "acp.cluster.Get", &asked) {
            Ok(reply) => Some(found(&reply["object"])?),
            Err(Answer::Failed { code, .. }) if code == "NotFound" => None,
            Err(failed) => return Ok(failed),
        };
        if let Some(wrong) = spec.contradiction(seen.as_ref()) {
            anyhow::bail!("{wrong} by a linearizable read through n{node}");
        }
        spec.learn(seen);
        Ok(Answer::Done)
    }

    /// What is known and found otherwise, on n1: all nodes have the same log.
    pub(super) fn differences(&self, five: &Five) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let seen = list(five)?;
        for spec in
            self.clients.iter().flat_map(|client| lock(client).iter().map(Spec::clone_known).collect::<Vec<_>>())
        {
            wrong.extend(spec.contradiction(seen.iter().find(|(name, _)| *name == spec.name).map(|(_, found)| found)));
        }
        Ok(wrong)
    }

    /// Takes in what was unclear: whatever was under way has ended.
    pub(super) fn learn(&self, five: &Five) -> Result<()> {
        let seen = list(five)?;
        for client in &self.clients {
            for spec in lock(client).iter_mut() {
                // What was asked for a moment ago may still come to pass.
                if matches!(&spec.known, Known::Unclear { since, .. } if since.elapsed() >= REST) {
                    spec.learn(seen.iter().find(|(name, _)| *name == spec.name).map(|(_, found)| found.clone()));
                }
            }
        }
        Ok(())
    }

    /// Ends them.
    pub(super) fn delete(&self, five: &Five) -> Result<()> {
        for (name, (uid, _)) in list(five)? {
            let asked = json!({ "kind": "image", "uid": uid });
            five.call(1, "cluster", "acp.cluster.Delete", asked).with_context(|| name)?;
        }
        for spec in self.clients.iter().flat_map(|client| lock(client).drain(..).collect::<Vec<_>>()) {
            drop(spec);
        }
        sites::delete_pool(five, 1, POOL)
    }
}

impl Spec {
    fn clone_known(&self) -> Self {
        Self { name: self.name.clone(), known: self.known.clone() }
    }
}

/// An operation failed: nothing has changed, or that is not known.
fn doubted(spec: &mut Spec, value: Option<u64>, failed: Answer) -> Answer {
    if !matches!(failed, Answer::Failed { is_unchanged: true, .. }) {
        spec.doubt(value);
    }
    failed
}

fn delete(five: &Five, node: usize, spec: &mut Spec, uid: &str) -> Result<Answer> {
    Ok(match call(five, node, "acp.cluster.Delete", &json!({ "kind": "image", "uid": uid })) {
        Ok(_done) => {
            spec.learn(None);
            Answer::Done
        }
        Err(failed) => doubted(spec, None, failed),
    })
}

/// Those that there are, by name, as n1 has them.
fn list(five: &Five) -> Result<Vec<(String, (String, u64))>> {
    let images = five.json(1, &["object", "list", "image"])?;
    let ours = images.as_array().context("a list")?.iter().filter(|image| image["name"].as_str().is_some_and(is_one));
    ours.map(|image| Ok((image["name"].as_str().unwrap_or_default().to_owned(), found(image)?))).collect()
}
