//! Whether all nodes say the same: declared objects, and what reporters say of objects with its age.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use acp_dev_testkit::{Layout, varlink::Conversation};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::quorum::{Five, five::NODES};

/// The longest list of objects read, in batches: far more than a soak makes.
const BATCHES_MAX: usize = 1_000;
/// How much older what is said may be elsewhere than where it is said: a reporter's word that it stands by its states comes with
/// the next digest, and five nodes share two processors.
const OLDER_MAX: Duration = Duration::from_secs(10);
/// How much younger: the time on the way is not counted. That is short for states, which are confirmed again and again; a
/// measurement that is not repeated may have lain in the socket of a node that stood still, for as long as nodes do here.
const YOUNGER_MAX: Duration = Duration::from_millis(500);
/// See [`YOUNGER_MAX`].
const YOUNGER_STATS_MAX: Duration = Duration::from_secs(10);
/// Differences told: the first say enough.
const TOLD_MAX: usize = 12;

/// A slot of an object, as a node shows it.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    /// What is said; of measurements, which change all the time, only that there are some.
    what: Value,
    age: Duration,
}

/// Object, reporter and facet.
type Key = [String; 4];

/// What a node shows, and when it did.
#[derive(Debug)]
struct Shown {
    at: Instant,
    /// Declared and reported objects, without what is said of them.
    objects: BTreeMap<[String; 2], Value>,
    said: BTreeMap<Key, Said>,
}

/// What is not the same on all nodes, each in a sentence.
pub(super) fn differences(five: &Five) -> Result<Vec<String>> {
    let layout = |number: usize| &five.member(number).layout;
    let before: Vec<Shown> = NODES.iter().map(|number| shown(layout(*number))).collect::<Result<_>>()?;
    let after: Vec<Shown> = NODES.iter().map(|number| shown(layout(*number))).collect::<Result<_>>()?;
    let mut wrong = Vec::new();
    for (place, number) in NODES.iter().enumerate().skip(1) {
        wrong.extend(compare(&format!("n{number}"), &before[0].objects, &before[place].objects));
        let what = |shown: &Shown| shown.said.iter().map(|(key, said)| (key.clone(), said.what.clone())).collect();
        let (first, other): (BTreeMap<Key, Value>, BTreeMap<Key, Value>) = (what(&before[0]), what(&before[place]));
        wrong.extend(compare(&format!("n{number}"), &first, &other));
    }
    for (place, number) in NODES.iter().enumerate() {
        for (key, said) in &before[place].said {
            let Some(home) = NODES.iter().position(|home| key[2].ends_with(&format!("@n{home}"))) else {
                wrong.push(format!("n{number} has {key:?}, which no node says"));
                continue;
            };
            let ages = before[home].said.get(key).zip(after[home].said.get(key));
            let ends = [(&before[home], ages.map(|ages| ages.0)), (&after[home], ages.map(|ages| ages.1))];
            let younger = if key[3] == "stats" { YOUNGER_STATS_MAX } else { YOUNGER_MAX };
            if let Some(lie) = lie(before[place].at, said, younger, ends) {
                wrong.push(format!("n{number} says of {key:?}: {lie}"));
            }
        }
    }
    wrong.truncate(TOLD_MAX);
    Ok(wrong)
}

/// What is wrong with an age that was told at an instant, by those that the reporter's own node told before and after.
fn lie(at: Instant, said: &Said, younger: Duration, [first, last]: [(&Shown, Option<&Said>); 2]) -> Option<String> {
    let (before, after) = (first.1?, last.1?);
    // When it was said, counted back from either look; it can have been said again in between.
    let since = |shown: &Shown, said: &Said| shown.at.checked_sub(said.age);
    let (earliest, latest) = (since(first.0, before)?, since(last.0, after)?);
    let heard = at.checked_sub(said.age)?;
    if heard > latest + younger {
        return Some(format!("it is {:?} old, and younger than at home, where it is {:?}", said.age, after.age));
    }
    if heard + OLDER_MAX < earliest {
        return Some(format!("it is {:?} old, and was {:?} at home a moment before", said.age, before.age));
    }
    None
}

fn compare<K: Ord + std::fmt::Debug>(
    node: &str,
    first: &BTreeMap<K, Value>,
    other: &BTreeMap<K, Value>,
) -> Vec<String> {
    let keys: BTreeSet<&K> = first.keys().chain(other.keys()).collect();
    let differs = keys.into_iter().filter(|key| first.get(*key) != other.get(*key));
    differs
        .map(|key| {
            let said = |of: Option<&Value>| of.map_or_else(|| "nothing".to_owned(), Value::to_string);
            format!("{key:?} is {} on n1 and {} on {node}", said(first.get(key)), said(other.get(key)))
        })
        .collect()
}

fn shown(layout: &Layout) -> Result<Shown> {
    let mut conversation = Conversation::open(&layout.socket("cluster"))?;
    let asked = json!({ "here": false });
    conversation.send(&json!({ "method": "acp.cluster.List", "parameters": asked, "more": true }))?;
    let mut shown = Shown { at: Instant::now(), objects: BTreeMap::new(), said: BTreeMap::new() };
    for _batch in 0..BATCHES_MAX {
        let mut reply = conversation.receive()?.context("the list ended early")?;
        let objects = reply["parameters"]["objects"].as_array_mut().context("a list without objects")?;
        for object in objects.drain(..) {
            shown.take(object)?;
        }
        if reply["continues"] != true {
            shown.at = Instant::now();
            return Ok(shown);
        }
    }
    bail!("more than {BATCHES_MAX} batches of objects")
}

impl Shown {
    fn take(&mut self, mut object: Value) -> Result<()> {
        let slots = object["slots"].take();
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let (kind, uid) = (text("kind"), text("uid"));
        for slot in slots.as_array().context("an object with slots")? {
            let said = |key: &str| slot[key].as_str().unwrap_or_default().to_owned();
            let facet = said("facet");
            let what = if facet == "stats" { json!(true) } else { json!([slot["incarnation"], slot["data"]]) };
            let age = Duration::from_millis(slot["age_ms"].as_u64().context("an age")?);
            self.said.insert([kind.clone(), uid.clone(), said("reporter"), facet], Said { what, age });
        }
        self.objects.insert([kind, uid], object);
        Ok(())
    }
}
