//! What a source may send, and what it may not.

use acp_base::{EpochId, WallTime, to_base64};
use acp_core_cdb::{checkpoint_message, encode};
use acp_io_pki::CheckpointKey;
use acp_wire_api::cluster::SnapshotPiece;
use acp_wire_model::{Kind, entry::Entry};
use serde_json::json;

use super::*;

const CLUSTER: Uid = Uid::from_u128(1);
const SIGNER: Uid = Uid::from_u128(2);

/// A log with a controller that signs its positions.
struct World {
    key: CheckpointKey,
    epoch: EpochId,
    states: Vec<State>,
    entries: Vec<Vec<u8>>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = CheckpointKey::ensure(&folder.path().join("key")).expect("a key");
        let epoch = EpochId { number: 3, id: Uid::from_u128(9) };
        let mut world = Self { key, epoch, states: vec![State::default()], entries: Vec::new(), _folder: folder };
        world.enter(Action::Genesis { cluster: CLUSTER, node: SIGNER, node_name: "n1".parse().expect("valid") });
        for number in 0..8_u128 {
            let name = format!("s{number}").parse().expect("valid");
            let spec = json!({"node": "n1", "cpus": 1, "memory_bytes": 64 << 20});
            world.enter(Action::Create { kind: Kind::System, name, uid: Uid::from_u128(100 + number), spec });
        }
        world
    }

    fn enter(&mut self, action: Action) {
        let index = u64::try_from(self.states.len()).expect("small");
        let bytes = encode(&Entry {
            index,
            epoch: self.epoch,
            time: WallTime(index),
            actor: "root".into(),
            request: String::new(),
            action,
        });
        let mut state = self.states.last().expect("one").clone();
        state.apply(&bytes);
        assert_eq!(state.index(), index);
        self.states.push(state);
        self.entries.push(bytes);
    }

    fn state(&self, index: usize) -> State {
        self.states[index].clone()
    }

    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.add(SIGNER, &self.key.public());
        keys
    }

    fn signed(&self, unsigned: Checkpoint) -> Checkpoint {
        let signature = self.key.sign(&checkpoint_message(&unsigned)).expect("signed");
        Checkpoint { signature, ..unsigned }
    }

    fn checkpoint(&self, index: usize) -> Checkpoint {
        let state = &self.states[index];
        self.signed(Checkpoint {
            cluster: CLUSTER,
            epoch: state.epoch().expect("founded").to_string(),
            index: state.index(),
            hash: state.hash().to_string(),
            signer: SIGNER,
            signature: String::new(),
        })
    }

    /// The entries after one index up to another, and a checkpoint.
    fn reply(&self, after: usize, to: usize, checkpoint: Option<Checkpoint>) -> FollowReply {
        let entries = self.entries[after..to].iter().map(|bytes| to_base64(bytes)).collect();
        FollowReply { snapshot: None, entries, checkpoint, head: 9, degraded: String::new() }
    }

    fn intake(&self, trust: Trust, at: usize) -> Intake {
        Intake::new(trust, Position::of(&self.states[at]).expect("founded"))
    }
}

fn through(intake: &mut Intake, reply: FollowReply, keys: &Keys) -> Result<Vec<Vec<u8>>, Refused> {
    assert_eq!(intake.take(reply)?, None);
    intake.release(keys).map(|proven| proven.entries)
}

#[test]
fn entries_are_let_through_up_to_their_checkpoint() {
    let world = World::new();
    let keys = world.keys();
    for trust in [Trust::Controller, Trust::Neighbour] {
        let mut intake = world.intake(trust, 2);
        assert!(through(&mut intake, world.reply(2, 6, None), &keys).expect("held").is_empty(), "nobody vouches yet");
        let reply = world.reply(6, 8, Some(world.checkpoint(5)));
        assert_eq!(through(&mut intake, reply, &keys).expect("vouched"), world.entries[2..5]);
        let reply = world.reply(8, 9, Some(world.checkpoint(9)));
        assert_eq!(through(&mut intake, reply, &keys).expect("vouched"), world.entries[5..9]);
        let early = world.reply(0, 0, Some(world.checkpoint(9)));
        assert!(through(&mut intake, early, &keys).expect("a heartbeat").is_empty());
    }
    let mut ahead = world.intake(Trust::Controller, 2);
    let reply = world.reply(2, 4, Some(world.checkpoint(6)));
    assert!(through(&mut ahead, reply, &keys).expect("held").is_empty(), "the checkpoint waits for its entries");
    assert_eq!(through(&mut ahead, world.reply(4, 6, None), &keys).expect("vouched"), world.entries[2..6]);
    let mut own = world.intake(Trust::Own { alone: false }, 2);
    assert_eq!(through(&mut own, world.reply(2, 6, None), &Keys::default()).expect("believed"), world.entries[2..6]);
}

#[test]
fn what_is_forged_replayed_or_of_elsewhere_is_refused() {
    let world = World::new();
    let good = world.checkpoint(5);
    let refused = |checkpoint: Checkpoint, keys: &Keys| {
        let mut intake = world.intake(Trust::Controller, 2);
        through(&mut intake, world.reply(2, 5, Some(checkpoint)), keys).expect_err("refused")
    };
    let keys = world.keys();
    let cluster = world.signed(Checkpoint { cluster: Uid::from_u128(7), ..good.clone() });
    assert_eq!(refused(cluster, &keys), Refused::Cluster { found: Uid::from_u128(7) });
    for epoch in ["2-00000009", "3-00000008"] {
        let other = world.signed(Checkpoint { epoch: epoch.into(), ..good.clone() });
        assert!(matches!(refused(other, &keys), Refused::Epoch { found, .. } if found == epoch));
    }
    let hash = world.signed(Checkpoint { hash: "0".repeat(64), ..good.clone() });
    assert_eq!(refused(hash, &keys), Refused::Chain { index: 5 });
    assert!(matches!(refused(good.clone(), &Keys::default()), Refused::Signature(_)), "nobody knows the signer");
    let mut others = Keys::default();
    others.add(SIGNER, &"ab".repeat(32));
    assert!(matches!(refused(good.clone(), &others), Refused::Signature(_)), "another key of that name");
    let mut signature = good.signature.clone();
    signature.replace_range(0..1, if signature.starts_with('0') { "1" } else { "0" });
    assert!(matches!(refused(Checkpoint { signature, ..good }, &keys), Refused::Signature(_)));

    let mut intake = world.intake(Trust::Controller, 2);
    through(&mut intake, world.reply(2, 7, Some(world.checkpoint(7))), &keys).expect("good");
    let replayed = through(&mut intake, world.reply(7, 7, Some(world.checkpoint(5))), &keys).expect_err("an old word");
    assert_eq!(replayed, Refused::Replayed { index: 5, newest: 7 });
}

#[test]
fn entries_that_are_changed_left_out_or_moved_are_refused() {
    let world = World::new();
    let keys = world.keys();
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut reply = world.reply(2, 6, Some(world.checkpoint(6)));
        change(&mut reply.entries);
        through(&mut world.intake(Trust::Neighbour, 2), reply, &keys).expect_err("refused")
    };
    assert_eq!(with(&|entries| entries.swap(1, 2)), Refused::Order { expected: 4, found: 5 });
    assert_eq!(with(&|entries| drop(entries.remove(1))), Refused::Order { expected: 4, found: 5 });
    assert_eq!(
        with(&|entries| entries.insert(0, to_base64(&world.entries[1]))),
        Refused::Order { expected: 3, found: 2 }
    );
    let forged = |entries: &mut Vec<String>| {
        let mut entry = decode(&world.entries[3], 4).expect("readable");
        entry.actor = "mallory".into();
        entries[1] = to_base64(&encode(&entry));
    };
    assert_eq!(with(&forged), Refused::Chain { index: 6 });
    let elsewhere = |entries: &mut Vec<String>| {
        let mut entry = decode(&world.entries[3], 4).expect("readable");
        entry.epoch.number = 4;
        entries[1] = to_base64(&encode(&entry));
    };
    assert!(matches!(with(&elsewhere), Refused::Epoch { .. }));
    assert_eq!(with(&|entries| entries[0] = "?".into()), Refused::Encoding);
}

#[test]
fn what_nobody_vouches_for_is_bounded() {
    let world = World::new();
    let mut intake = world.intake(Trust::Neighbour, 2);
    let mut entry = decode(&world.entries[3], 4).expect("readable");
    entry.actor = "x".repeat(200_000);
    for index in 3.. {
        entry.index = index;
        let entries = vec![to_base64(&encode(&entry))];
        match intake.take(FollowReply { entries, ..world.reply(2, 2, None) }) {
            Ok(_) => assert!(index < 300, "32 MiB have come"),
            Err(refused) => return assert!(matches!(refused, Refused::Unvouched { entries } if entries > 100)),
        }
    }
}

fn pieces(state: &State, bytes: usize) -> Vec<FollowReply> {
    let image = state.image().expect("founded").encode();
    let total = u64::try_from(image.len()).expect("small");
    let piece = |(number, chunk): (usize, &[u8])| {
        let offset = u64::try_from(number * bytes).expect("small");
        let snapshot = Some(SnapshotPiece { index: state.index(), offset, total, bytes: to_base64(chunk) });
        FollowReply { snapshot, entries: Vec::new(), checkpoint: None, head: 9, degraded: String::new() }
    };
    image.chunks(bytes).enumerate().map(piece).collect()
}

/// The state that these pieces become.
fn assembled(intake: &mut Intake, pieces: Vec<FollowReply>) -> Result<(), Refused> {
    for piece in pieces {
        if let Some(bytes) = intake.take(piece)? {
            let state = State::restore(&bytes).expect("an image");
            return intake.restored(Restored { state, bytes });
        }
    }
    panic!("it never was whole")
}

#[test]
fn a_snapshot_is_used_when_a_checkpoint_proves_where_it_stands() {
    let world = World::new();
    let keys = world.keys();
    let mut intake = world.intake(Trust::Controller, 2);
    assembled(&mut intake, pieces(&world.state(6), 100)).expect("whole");
    assert!(intake.release(&keys).expect("held").snapshot.is_none());
    assert!(intake.take(world.reply(6, 8, Some(world.checkpoint(8)))).expect("taken").is_none());
    let proven = intake.release(&keys).expect("proven");
    assert_eq!(proven.snapshot.expect("first").state, world.state(6));
    assert_eq!(proven.entries, world.entries[6..8]);
    let lying = world.signed(Checkpoint { hash: world.states[5].hash().to_string(), ..world.checkpoint(6) });
    let mut intake = world.intake(Trust::Controller, 2);
    assembled(&mut intake, pieces(&world.state(6), 100)).expect("whole");
    intake.take(world.reply(6, 6, Some(lying))).expect("taken");
    assert_eq!(intake.release(&keys).expect_err("another hash"), Refused::Chain { index: 6 });
}

#[test]
fn a_snapshot_leads_forward_and_comes_from_controllers() {
    let world = World::new();
    let back = assembled(&mut world.intake(Trust::Controller, 7), pieces(&world.state(6), 100));
    assert!(matches!(back, Err(Refused::Backwards { .. })), "{back:?}");
    let neighbour = assembled(&mut world.intake(Trust::Neighbour, 2), pieces(&world.state(6), 100));
    assert_eq!(neighbour, Err(Refused::NeighbourSnapshot));
    let elsewhere = EpochId { number: 1, id: Uid::from_u128(4) };
    let name = "n1".parse().expect("valid");
    let other = world.state(6).alone(SIGNER, &name, elsewhere, Uid::from_u128(5));
    for trust in [Trust::Controller, Trust::Own { alone: false }] {
        let refused = assembled(&mut world.intake(trust, 2), pieces(&other, 100));
        assert_eq!(refused, Err(Refused::Cluster { found: Uid::from_u128(5) }));
    }
    assembled(&mut world.intake(Trust::Own { alone: true }, 2), pieces(&other, 100)).expect("its hub was given it");
    let older = world.state(6).alone(SIGNER, &name, elsewhere, CLUSTER);
    let refused = assembled(&mut world.intake(Trust::Controller, 2), pieces(&older, 100));
    assert!(matches!(refused, Err(Refused::Backwards { .. })), "an older epoch: {refused:?}");
    let newer = EpochId { number: 4, id: Uid::from_u128(4) };
    let newer = world.state(6).alone(SIGNER, &name, newer, CLUSTER);
    assembled(&mut world.intake(Trust::Controller, 9), pieces(&newer, 100))
        .expect("a later epoch, at an earlier index");
}

#[test]
fn pieces_that_are_missing_mixed_or_too_many_are_refused() {
    let world = World::new();
    let good = || pieces(&world.state(6), 100);
    let refused = |pieces: Vec<FollowReply>| {
        let mut intake = world.intake(Trust::Controller, 2);
        pieces.into_iter().find_map(|piece| intake.take(piece).err())
    };
    assert_eq!(refused(good()), None);
    assert_eq!(refused(good().into_iter().skip(1).collect()), Some(Refused::Pieces));
    let mut mixed = good();
    mixed[1] = pieces(&world.state(7), 100).remove(1);
    assert_eq!(refused(mixed), Some(Refused::Pieces));
    let mut between = good();
    between.insert(1, world.reply(2, 3, None));
    assert_eq!(refused(between), Some(Refused::Pieces));
    let mut large = good();
    if let Some(piece) = &mut large[0].snapshot {
        piece.total = 1 << 40;
    }
    assert_eq!(refused(large), Some(Refused::SnapshotSize { bytes: 1 << 40 }));
}

#[test]
fn a_horizon_is_crossed_by_its_entry() {
    let mut world = World::new();
    let next = EpochId { number: 4, id: Uid::from_u128(44) };
    world.enter(Action::Horizon { epoch: next, reason: "recover".into() });
    world.epoch = next;
    world.enter(Action::Delete { kind: Kind::System, uid: Uid::from_u128(100) });
    let keys = world.keys();
    let mut intake = world.intake(Trust::Controller, 8);
    let proven = through(&mut intake, world.reply(8, 11, Some(world.checkpoint(11))), &keys).expect("one chain");
    assert_eq!(proven.len(), 3);
    let old = world.signed(Checkpoint { epoch: "3-00000009".into(), ..world.checkpoint(11) });
    let refused = through(&mut intake, world.reply(11, 11, Some(old)), &keys).expect_err("that epoch is over");
    assert!(matches!(refused, Refused::Epoch { .. }), "{refused:?}");
}
