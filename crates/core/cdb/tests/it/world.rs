//! A cluster in a test: proposes entries the way a sequencer does.

use std::{net::SocketAddr, sync::Arc};

use acp_base::{EpochId, Name, Uid, WallTime};
use acp_core_cdb::{Database, Done, Effect, Outcome, Record, Refusal, State, encode};
use acp_core_membership::{Command, Digest, NewNode, NewToken};
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
    entry_of(EPOCH, index, action)
}

/// The bytes of an entry of this epoch.
pub(crate) fn entry_of(epoch: EpochId, index: u64, action: Action) -> Vec<u8> {
    let (actor, request) = ("root".to_owned(), "r-1".to_owned());
    encode(&Entry { index, epoch, time: WallTime(1_000 + index), actor, request, action })
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
        let state = self.db.state();
        let bytes = entry_of(state.epoch().unwrap_or(EPOCH), state.index() + 1, action);
        let outcome = self.db.apply(&bytes);
        self.log.push(bytes);
        outcome
    }

    pub(crate) fn create(&mut self, kind: Kind, name_: &str, spec: Value) -> Result<One, Refusal> {
        self.next += 1;
        let uid = uid(self.next);
        one(self.order(Action::Create { kind, name: name(name_), uid, spec }))
    }

    pub(crate) fn update(&mut self, kind: Kind, uid: Uid, patch: Value) -> Result<One, Refusal> {
        one(self.order(Action::Update { kind, uid, patch, if_version: None }))
    }

    pub(crate) fn delete(&mut self, kind: Kind, uid: Uid) -> Result<One, Refusal> {
        one(self.order(Action::Delete { kind, uid }))
    }

    /// A cluster of n1 and n2, each with a network `lan`, a pool `default` and an image `base` of its own.
    pub(crate) fn of_two() -> Self {
        let mut world = Self::new();
        world.command(init()).expect("the first node");
        world.command(token()).expect("a token");
        world.command(join(2)).expect("free");
        for node in ["n1", "n2"] {
            world.create(Kind::Network, "lan", json!({"node": node, "address": "10.0.0.1/24"})).expect("network");
            world.create(Kind::Pool, "default", json!({"driver": "directory", "node": node})).expect("pool");
            let mut base = image("default");
            base["node"] = json!(node);
            world.create(Kind::Image, "base", base).expect("image");
        }
        world
    }

    pub(crate) fn command(&mut self, command: Command) -> Result<Done, Refusal> {
        let command = serde_json::to_value(command).expect("JSON");
        decided(self.order(Action::Membership { command }))
    }

    pub(crate) fn state(&self) -> &State {
        self.db.state()
    }

    pub(crate) fn uid_of(&self, kind: Kind, name: &str) -> Uid {
        self.db.state().find(kind, None, name).expect("it was created").uid
    }

    pub(crate) fn spec_of(&self, kind: Kind, name: &str) -> Value {
        Value::clone(&self.db.state().find(kind, None, name).expect("it was created").value)
    }
}

/// Node `n<number>` with the id of that number.
pub(crate) fn newcomer(number: u16) -> NewNode {
    NewNode {
        uid: uid(number.into()),
        name: name(&format!("n{number}")),
        address: SocketAddr::from(([10, 9, 0, 1], 9_000 + number)),
        key: Digest::of(&number.to_be_bytes()),
        root_key: None,
        systems: Vec::new(),
    }
}

pub(crate) fn init() -> Command {
    Command::Init { cluster: uid(0xC), name: name("prod"), authority: "30".to_owned(), node: newcomer(1) }
}

pub(crate) fn token() -> Command {
    let (uid, digest) = (uid(0xF0), Digest::of(b"t"));
    Command::CreateToken(NewToken { uid, digest, lifetime_ms: 3_600_000, uses: 100, no_root_key: false })
}

pub(crate) fn join(number: u16) -> Command {
    Command::Join { token: Digest::of(b"t"), node: newcomer(number) }
}

/// A system on this node with a disk from `base`, and one interface in `lan`.
pub(crate) fn guest(node: &str, volume: &str) -> Value {
    let disks = json!([{"pool": "default", "volume": volume, "size_bytes": 64 << 20, "image": "base"}]);
    let mut spec = system(disks, json!([{"network": "lan"}]));
    spec["node"] = json!(node);
    spec
}

/// What an entry about one object came to.
#[derive(Debug)]
pub(crate) struct One {
    pub(crate) effect: Effect,
    pub(crate) record: Arc<Record>,
}

fn one(outcome: Outcome) -> Result<One, Refusal> {
    let mut done = decided(outcome)?;
    assert_eq!(done.changes.len(), 1, "{done:?}");
    let (effect, record) = done.changes.remove(0);
    Ok(One { effect, record })
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
