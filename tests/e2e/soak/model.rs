//! What has to be there: everything acknowledged and not deleted since.
//!
//! An operation that failed and says that nothing changed has not happened; one that failed otherwise may have happened or
//! not, until somebody looks. It is never half done.
//!
//! Each client owns a model and the names in it, so that it knows what came before what.

use std::time::{Duration, Instant};

use acp_dev_testkit::process::Identity;
use serde_json::Value;

use super::ask::Answer;

/// How every name of a soak begins.
pub(super) const PREFIX: &str = "soak-";

/// Kinds of objects that clients make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    System,
    Volume,
    Image,
    Network,
}

impl Kind {
    /// As `acpctl` and the cluster database call it.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Volume => "volume",
            Self::Image => "image",
            Self::Network => "network",
        }
    }
}

/// Whether an object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// It must not be there.
    Absent,
    /// It must be there.
    Present,
    /// Either, but not half.
    Unclear,
}

/// What was asked of a system's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    Off,
    On,
    Unclear,
}

/// A declaration as it was first seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) uid: String,
    pub(super) version: u64,
    pub(super) spec: Value,
}

/// A name and what is believed of it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) belief: Belief,
    pub(super) power: Power,
    /// The network of a system.
    pub(super) network: Option<String>,
    /// What a volume is a linked clone of.
    pub(super) source: Option<String>,
    /// The sizes in MiB that a volume may have: more than one after an expansion whose end is not known.
    pub(super) sizes: Vec<u64>,
    pub(super) seen: Option<Seen>,
    /// Since when it is not known what an operation came to: it may still come to pass.
    pub(super) doubted: Option<Instant>,
    /// The process of a system that was started, if somebody saw it.
    pub(super) qemu: Option<Identity>,
}

impl Item {
    fn new(kind: Kind, name: String) -> Self {
        Self {
            kind,
            name,
            belief: Belief::Absent,
            power: Power::Off,
            network: None,
            source: None,
            sizes: Vec::new(),
            seen: None,
            doubted: None,
            qemu: None,
        }
    }

    /// Takes in how a creation ended; fails if that contradicts what was acknowledged before.
    pub(super) fn created(&mut self, answer: &Answer) -> Result<(), String> {
        self.power = Power::Off;
        self.belief = match answer {
            Answer::Done => Belief::Present,
            Answer::Failed { code, .. } if code == "AlreadyExists" && self.belief == Belief::Absent => {
                return Err(format!("{} {} exists and must not", self.kind.noun(), self.name));
            }
            Answer::Failed { is_unchanged: true, .. } => Belief::Absent,
            Answer::Failed { .. } => Belief::Unclear,
        };
        Ok(())
    }

    /// Takes in how a deletion ended.
    pub(super) fn deleted(&mut self, answer: &Answer) -> Result<(), String> {
        match answer {
            Answer::Done => self.forget(),
            Answer::Failed { code, .. } if code == "NotFound" => {
                self.lost_unless_unclear()?;
                self.forget();
            }
            Answer::Failed { .. } => self.belief = Belief::Unclear,
        }
        Ok(())
    }

    /// Takes in how a change of power ended that, if it was done, leaves the system like this.
    pub(super) fn powered(&mut self, power: Power, answer: &Answer) -> Result<(), String> {
        self.qemu = None;
        match answer {
            Answer::Done => self.power = power,
            Answer::Failed { code, .. } if code == "NotFound" => {
                self.lost_unless_unclear()?;
                self.forget();
            }
            Answer::Failed { .. } => self.power = Power::Unclear,
        }
        Ok(())
    }

    /// Takes in how an expansion ended.
    pub(super) fn expanded(&mut self, to: &[u64], answer: &Answer) -> Result<(), String> {
        match answer {
            Answer::Done => self.sizes = to.to_vec(),
            Answer::Failed { code, .. } if code == "NotFound" => {
                self.lost_unless_unclear()?;
                self.forget();
            }
            Answer::Failed { is_unchanged: true, .. } => {}
            Answer::Failed { .. } => self.sizes.extend(to),
        }
        Ok(())
    }

    /// Notes whether it is known what an operation came to.
    pub(super) fn doubt(&mut self, answer: &Answer) {
        let is_unknown = matches!(answer, Answer::Failed { is_unchanged: false, .. });
        self.doubted = is_unknown.then(Instant::now);
    }

    fn lost_unless_unclear(&self) -> Result<(), String> {
        if self.belief == Belief::Present {
            return Err(format!("{} {} was acknowledged and is lost", self.kind.noun(), self.name));
        }
        Ok(())
    }

    /// It is gone.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.kind, std::mem::take(&mut self.name));
    }
}

/// What a client can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    /// From the item of this position.
    Clone {
        from: usize,
        linked: bool,
    },
    Expand,
    Start,
    Stop,
    Shutdown,
    Reset,
    Delete,
}

/// A client's objects.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) items: Vec<Item>,
    /// How long an object is left alone of which an operation may still come to pass: where calls go from node to node, one whose
    /// caller was cut off may wait on.
    pub(super) rest: Duration,
    /// Whether the client starts its systems, too.
    pub(super) is_starting: bool,
}

impl Model {
    /// The names of a client, none of which is there; `tight` is a pool that gets full.
    pub(super) fn new(client: usize, tight: Option<&str>) -> Self {
        let name = |suffix: &str| format!("{PREFIX}{client}-{suffix}");
        let mut items = vec![
            Item::new(Kind::System, name("a")),
            Item::new(Kind::System, name("b")),
            Item::new(Kind::Volume, format!("default/{}", name("v"))),
            Item::new(Kind::Volume, format!("default/{}", name("w"))),
            Item::new(Kind::Image, name("i")),
            Item::new(Kind::Network, name("n")),
        ];
        items.extend(tight.map(|pool| Item::new(Kind::Volume, format!("{pool}/{}", name("t")))));
        Self { items, rest: Duration::ZERO, is_starting: true }
    }

    /// Everything that can be done now, with how often it ought to be.
    pub(super) fn choices(&self) -> Vec<(u64, (usize, Verb))> {
        let all = self.items.iter().enumerate();
        all.filter(|(_, item)| !self.is_resting(item))
            .flat_map(|(at, item)| {
                let verbs = match (item.belief, item.kind) {
                    (Belief::Absent, Kind::Volume) => self.volume_makers(item),
                    (Belief::Absent, _) => vec![(5, Verb::Create)],
                    (Belief::Unclear, _) => vec![(5, Verb::Delete)],
                    (Belief::Present, Kind::System) => self.power_verbs(item),
                    (Belief::Present, Kind::Volume) => self.volume_verbs(item),
                    (Belief::Present, Kind::Image | Kind::Network) => self.deletion(item),
                };
                verbs.into_iter().map(move |(weight, verb)| (weight, (at, verb)))
            })
            .collect()
    }

    /// Whether it is left alone.
    pub(super) fn is_resting(&self, item: &Item) -> bool {
        item.doubted.is_some_and(|since| since.elapsed() < self.rest)
    }

    fn volume_makers(&self, item: &Item) -> Vec<(u64, Verb)> {
        let pool = |name: &str| name.split('/').next().map(str::to_owned);
        let sources = self.items.iter().enumerate().filter(|(_, source)| {
            source.kind == Kind::Volume && source.belief == Belief::Present && pool(&source.name) == pool(&item.name)
        });
        let clones = sources
            .flat_map(|(from, _)| [(3, Verb::Clone { from, linked: false }), (2, Verb::Clone { from, linked: true })]);
        std::iter::once((5, Verb::Create)).chain(clones).collect()
    }

    fn volume_verbs(&self, item: &Item) -> Vec<(u64, Verb)> {
        if self.is_used(item) { Vec::new() } else { vec![(3, Verb::Expand), (3, Verb::Delete)] }
    }

    fn deletion(&self, item: &Item) -> Vec<(u64, Verb)> {
        if self.is_used(item) { Vec::new() } else { vec![(3, Verb::Delete)] }
    }

    /// Whether something of this client lies on a volume or in a network.
    fn is_used(&self, item: &Item) -> bool {
        let uses =
            |other: &Item| other.source.as_ref() == Some(&item.name) || other.network.as_ref() == Some(&item.name);
        self.items.iter().any(|other| other.belief != Belief::Absent && uses(other))
    }

    /// At most one system of a client runs at a time: guests under emulation take all the processors they get.
    fn power_verbs(&self, item: &Item) -> Vec<(u64, Verb)> {
        let others = self.items.iter().filter(|other| other.kind == Kind::System && other.name != item.name);
        let is_free = others.into_iter().all(|other| other.power == Power::Off);
        match item.power {
            Power::Off if is_free && self.is_starting => vec![(8, Verb::Start), (2, Verb::Delete)],
            Power::Off => vec![(2, Verb::Delete)],
            Power::On => vec![(3, Verb::Stop), (2, Verb::Reset), (1, Verb::Shutdown)],
            Power::Unclear => vec![(6, Verb::Stop)],
        }
    }
}
