//! A cluster in a test: proposes entries the way a sequencer does.

use acp_base::{EpochId, Name, Uid, WallTime};
use acp_core_cdb::{Database, Done, Outcome, Refusal, encode};
use acp_wire_model::{
    Kind,
    entry::{Action, Entry},
};
use serde_json::{Value, json};

pub(crate) const EPOCH: EpochId = EpochId { number: 1, id: Uid::from_u128(0xE) };

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a test's name is valid")
}

pub(crate) fn uid(number: u128) -> Uid {
    Uid::from_u128(number)
}

pub(crate) fn genesis() -> Action {
    Action::Genesis { cluster: uid(0xC), node: uid(1), node_name: name("n1") }
}

/// The bytes of an entry at this index.
pub(crate) fn entry(index: u64, action: Action) -> Vec<u8> {
    let (actor, request) = ("root".to_owned(), "r-1".to_owned());
    encode(&Entry { index, epoch: EPOCH, time: WallTime(1_000 + index), actor, request, action })
}

/// A database with the log that made it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) db: Database,
    pub(crate) log: Vec<Vec<u8>>,
    next: u128,
}

impl World {
    /// A founded cluster with node n1 (uid 1).
    pub(crate) fn new() -> Self {
        let mut world = Self { db: Database::default(), log: Vec::new(), next: 100 };
        assert!(matches!(world.order(genesis()), Outcome::Done(_)));
        world
    }

    /// A cluster with pool `default`, image `base` (64 MiB in `default`) and network `lan` (10.0.0.1/24).
    pub(crate) fn furnished() -> Self {
        let mut world = Self::new();
        world.create(Kind::Pool, "default", json!({"driver": "directory", "node": "n1"})).expect("pool");
        world.create(Kind::Image, "base", image("default")).expect("image");
        world.create(Kind::Network, "lan", json!({"address": "10.0.0.1/24"})).expect("network");
        world
    }

    pub(crate) fn order(&mut self, action: Action) -> Outcome {
        let bytes = entry(self.db.state().index() + 1, action);
        let outcome = self.db.apply(&bytes);
        self.log.push(bytes);
        outcome
    }

    pub(crate) fn create(&mut self, kind: Kind, name_: &str, spec: Value) -> Result<Done, Refusal> {
        self.next += 1;
        let uid = uid(self.next);
        decided(self.order(Action::Create { kind, name: name(name_), uid, spec }))
    }

    pub(crate) fn update(&mut self, kind: Kind, uid: Uid, patch: Value) -> Result<Done, Refusal> {
        decided(self.order(Action::Update { kind, uid, patch, if_version: None }))
    }

    pub(crate) fn delete(&mut self, kind: Kind, uid: Uid) -> Result<Done, Refusal> {
        decided(self.order(Action::Delete { kind, uid }))
    }

    pub(crate) fn uid_of(&self, kind: Kind, name: &str) -> Uid {
        self.db.state().find(kind, name).expect("it was created").uid
    }

    pub(crate) fn spec_of(&self, kind: Kind, name: &str) -> Value {
        Value::clone(&self.db.state().find(kind, name).expect("it was created").value)
    }
}

pub(crate) fn decided(outcome: Outcome) -> Result<Done, Refusal> {
    match outcome {
        Outcome::Done(done) => Ok(done),
        Outcome::Refused(refusal) => Err(refusal),
        Outcome::Stalled(stall) => panic!("stalled: {stall}"),
    }
}

pub(crate) fn image(pool: &str) -> Value {
    let size = 64 << 20;
    json!({"pool": pool, "format": "qcow2", "size_bytes": 1000, "virtual_size_bytes": size, "sha256": "0".repeat(64)})
}

/// A system on n1 with these disks and interfaces.
pub(crate) fn system(disks: Value, nics: Value) -> Value {
    json!({"node": "n1", "cpus": 1, "memory_bytes": 64 << 20, "disks": disks, "nics": nics})
}

pub(crate) fn plain_system() -> Value {
    system(json!([]), json!([]))
}
