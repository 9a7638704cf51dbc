//! Random histories of a cluster: members come and go, objects with them, leases are given and end, epochs begin.

use acp_base::{EpochId, Uid};
use acp_core_cdb::{Database, Effect, Hash, Outcome, State};
use acp_core_membership::{Command, Digest, NewNode};
use acp_wire_model::{
    Kind,
    entry::{Action, LeaseAct, NodeStanding},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{EPOCH, entry_of, genesis, guest, init, name, newcomer, token, uid};

/// What is ordered next; epochs are chosen when it is known which one it is.
#[derive(Clone, Debug)]
enum Step {
    Act(Action),
    Horizon(bool),
}

fn node() -> impl Strategy<Value = u16> {
    1..5_u16
}

fn names() -> impl Strategy<Value = String> {
    (1..6_u16).prop_map(|number| format!("n{number}"))
}

fn any_newcomer() -> impl Strategy<Value = NewNode> {
    let systems = prop::collection::vec(0..4_u8, 0..2);
    (node(), prop::option::weighted(0.1, 100..110_u128), systems).prop_map(|(number, stolen, systems)| NewNode {
        uid: stolen.map_or(uid(number.into()), uid),
        systems: systems.into_iter().map(|number| name(&format!("s{number}"))).collect(),
        ..newcomer(number)
    })
}

fn command() -> impl Strategy<Value = Command> {
    let t = || Digest::of(b"t");
    let member = || node().prop_map(|number| uid(number.into()));
    prop_oneof![
        6 => any_newcomer().prop_map(move |node| Command::Join { token: t(), node }),
        2 => any_newcomer().prop_map(move |node| Command::Rejoin { token: t(), node }),
        1 => any_newcomer().prop_map(|node| Command::Ask { request: uid(0xA5), node, wait_ms: 10 }),
        1 => Just(Command::Approve { request: uid(0xA5) }),
        3 => member().prop_map(|node| Command::Leave { node }),
        4 => (member(), names()).prop_map(|(node, to)| Command::Rename { node, to: name(&to) }),
        1 => member().prop_map(|node| Command::SetController { node, checkpoint_key: Some("ab".repeat(32)) }),
        1 => member().prop_map(|node| Command::SetController { node, checkpoint_key: None }),
        1 => member().prop_map(|node| Command::Park { node }),
        1 => Just(Command::Prune),
        1 => Just(init()),
    ]
}

fn spec(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Network => (prop::option::weighted(0.9, names()), 0..3_u8)
            .prop_map(|(node, net)| json!({"node": node, "address": format!("10.0.{net}.1/24")}))
            .boxed(),
        Kind::Pool => names().prop_map(|node| json!({"driver": "directory", "node": node})).boxed(),
        Kind::Image => names()
            .prop_map(|node| {
                let mut image = crate::world::image("default");
                image["node"] = json!(node);
                image
            })
            .boxed(),
        _ => (names(), 0..3_u8, any::<bool>(), any::<bool>())
            .prop_map(|(node, volume, floating, bare)| {
                let mut spec = guest(&node, &format!("v{volume}"));
                spec["floating"] = json!(floating);
                if bare {
                    spec["disks"] = json!([]);
                    spec["nics"] = json!([]);
                }
                spec
            })
            .boxed(),
    }
}

fn named(kind: Kind, number: u8) -> String {
    match kind {
        Kind::Network => if number == 0 { "dmz" } else { "lan" }.to_owned(),
        Kind::Pool => "default".to_owned(),
        Kind::Image => "base".to_owned(),
        _ => format!("s{number}"),
    }
}

fn object() -> impl Strategy<Value = Action> {
    let kind = prop::sample::select(vec![Kind::Network, Kind::Pool, Kind::Image, Kind::System, Kind::System]);
    let object = || (100..130_u128).prop_map(uid);
    kind.prop_flat_map(move |kind| {
        prop_oneof![
            8 => (0..4_u8, object(), spec(kind)).prop_map(move |(number, uid, spec)| Action::Create {
                kind, name: name(&named(kind, number)), uid, spec,
            }),
            3 => (object(), spec(kind)).prop_map(move |(uid, patch)| Action::Update { kind, uid, patch, if_version: None }),
            2 => object().prop_map(move |uid| Action::Delete { kind, uid }),
        ]
    })
}

fn lease() -> impl Strategy<Value = Action> {
    let act = (node(), 0..6_u64, 0..4_u8).prop_map(|(node, term, what)| {
        let node = uid(node.into());
        match what {
            0 => LeaseAct::Release { node, term },
            1 => LeaseAct::Revoke { node, term },
            _ => LeaseAct::Grant { node },
        }
    });
    (100..130_u128, act).prop_map(|(system, act)| Action::Lease { system: uid(system), act })
}

fn verdict() -> impl Strategy<Value = Action> {
    let standing = prop::sample::select(vec![
        NodeStanding::Online,
        NodeStanding::Isolated,
        NodeStanding::Unmanaged,
        NodeStanding::Down,
    ]);
    (node(), standing).prop_map(|(node, standing)| Action::Verdict {
        node: uid(node.into()),
        standing,
        evidence: "no session".to_owned(),
        unsaid: 0,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let membership = |command| Action::Membership { command: serde_json::to_value(command).expect("JSON") };
    prop_oneof![
        30 => object().prop_map(Step::Act),
        8 => command().prop_map(move |command| Step::Act(membership(command))),
        8 => lease().prop_map(Step::Act),
        1 => any::<bool>().prop_map(Step::Horizon),
        1 => (0..3_u32).prop_map(|level| Step::Act(Action::FeatureLevel { level })),
        4 => verdict().prop_map(Step::Act),
    ]
}

/// Orders the steps; answers the database and the log.
fn ordered(steps: Vec<Step>, look: impl Fn(&State, &Outcome, &State)) -> (Database, Vec<Vec<u8>>) {
    let begin = [genesis(), membership_action(init()), membership_action(token())];
    let furniture = furniture();
    let (mut db, mut log) = (Database::default(), Vec::new());
    let steps = begin.into_iter().chain(furniture).map(Step::Act).chain(steps);
    for step in steps {
        let epoch = db.state().epoch().unwrap_or(EPOCH);
        let action = match step {
            Step::Act(action) => action,
            Step::Horizon(above) => Action::Horizon {
                epoch: EpochId { number: epoch.number + u64::from(above), id: uid(0xE0 + u128::from(epoch.number)) },
                reason: "horizon".to_owned(),
            },
        };
        let bytes = entry_of(epoch, db.state().index() + 1, action);
        let before = db.state().clone();
        let outcome = db.apply(&bytes);
        look(&before, &outcome, db.state());
        log.push(bytes);
    }
    (db, log)
}

fn membership_action(command: Command) -> Action {
    Action::Membership { command: serde_json::to_value(command).expect("JSON") }
}

fn furniture() -> Vec<Action> {
    let join = |number| membership_action(crate::world::join(number));
    let create = |(kind, name_, number, node): (Kind, &str, u128, &str), mut spec: Value| {
        spec["node"] = json!(node);
        Action::Create { kind, name: name(name_), uid: uid(number), spec }
    };
    let mut all = vec![join(2), join(3)];
    for (number, node) in [(200, "n1"), (210, "n2")] {
        all.push(create((Kind::Network, "lan", number, node), json!({"address": "10.9.0.1/24"})));
        all.push(create((Kind::Pool, "default", number + 1, node), json!({"driver": "directory"})));
        all.push(create((Kind::Image, "base", number + 2, node), crate::world::image("default")));
    }
    all
}

/// What one entry may do and may not.
fn look(before: &State, outcome: &Outcome, after: &State) {
    assert_eq!(after.verify(), Ok(()), "{outcome:?}");
    match outcome {
        Outcome::Stalled(stall) => panic!("{stall}"),
        Outcome::Refused(_) => {
            let objects =
                |state: &State| Kind::ALL.into_iter().flat_map(|kind| state.objects(kind)).cloned().collect::<Vec<_>>();
            assert_eq!(objects(before), objects(after), "a refused entry changes nothing");
            assert_eq!((before.leases(), before.members()), (after.leases(), after.members()));
        }
        Outcome::Done(done) => {
            for (effect, record) in &done.changes {
                let is_there = after.get(record.uid).is_some_and(|now| now == record);
                assert_eq!(is_there, *effect != Effect::Delete, "{effect:?} {record:?}");
            }
        }
    }
    for (system, lease) in after.leases() {
        let known = before.lease(*system);
        if known == Some(*lease) {
            continue;
        }
        if let Some(holder) = lease.holder {
            let other = known.and_then(|known| known.holder).filter(|had| *had != holder);
            assert_eq!(other, None, "a lease is granted while another node has it");
            let newest = before.leases().values().map(|lease| lease.term).max().unwrap_or(0);
            assert!(lease.term > newest, "a term is given twice");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_agree_and_every_invariant_holds(
        steps in prop::collection::vec(step(), 0..70),
        cut in any::<prop::sample::Index>(),
    ) {
        let (db, log) = ordered(steps, look);
        let mut replica = State::default();
        let cut = 1 + cut.index(log.len());
        for bytes in &log[..cut] {
            replica.apply(bytes);
        }
        let image = replica.image().expect("founded").encode();
        let mut restored = State::restore(&image).expect("its own");
        prop_assert_eq!(&restored, &replica);
        for bytes in &log[cut..] {
            replica.apply(bytes);
            restored.apply(bytes);
        }
        prop_assert_eq!(&replica, db.state());
        prop_assert_eq!(&restored, db.state());
        prop_assert_eq!(restored.image().expect("founded").encode(), db.state().image().expect("founded").encode());
        prop_assert_eq!(db.state().hash(), log.iter().fold(Hash::ZERO, |hash, bytes| hash.link(bytes)));
    }

    #[test]
    fn every_node_can_go_on_alone_with_all_that_is_its_own(steps in prop::collection::vec(step(), 0..70)) {
        let (db, _log) = ordered(steps, |_, _, _| {});
        let state = db.state();
        let nodes: Vec<(Uid, acp_base::Name)> = state.objects(Kind::Node).map(|node| (node.uid, node.name.clone())).collect();
        for (node, called) in nodes {
            let alone = state.alone(node, &name("self"), EPOCH, uid(0xCC));
            let own = state.own_objects(&called);
            prop_assert_eq!(alone.len(), own.len() + 1, "{}: {:?}", called, own);
            prop_assert_eq!(alone.verify(), Ok(()));
        }
    }
}
