//! What a node takes along and what it keeps.

use acp_base::EpochId;
use acp_core_cdb::{Outcome, State};
use acp_core_membership::Command;
use acp_wire_model::{Kind, entry::Action};
use serde_json::{Value, json};

use crate::world::{World, guest, init, join, name, token, uid};

const ALONE: EpochId = EpochId { number: 1, id: acp_base::Uid::from_u128(0xEE) };

fn specs(state: &State, node: &str) -> Vec<(Kind, String, acp_base::Uid, Value)> {
    let objects = Kind::ALL.into_iter().flat_map(|kind| state.objects(kind));
    let own = objects.filter(|record| record.spec.node().is_some_and(|on| on.as_str() == node));
    own.map(|record| {
        let mut value = Value::clone(&record.value);
        value["node"] = Value::Null;
        (record.kind, record.name.to_string(), record.uid, value)
    })
    .collect()
}

#[test]
fn a_node_alone_has_its_own_objects_as_they_were_and_no_others() {
    let mut world = World::of_two();
    world.create(Kind::System, "a", guest("n1", "a")).expect("free");
    let b = world.create(Kind::System, "b", guest("n2", "b")).expect("free").record;
    world.update(Kind::Node, uid(2), json!({"description": "rack 4"})).expect("valid");
    let alone = world.state().alone(uid(2), &name("west"), ALONE, uid(0xCC));
    let identity = alone.identity().expect("founded");
    assert_eq!((identity.cluster, identity.node, identity.epoch), (uid(0xCC), uid(2), ALONE));
    assert_eq!(specs(&alone, "west"), specs(world.state(), "n2"));
    assert_eq!((alone.count(Kind::Node), alone.count(Kind::System), alone.members().founded()), (1, 1, None));
    assert_eq!(alone.get(uid(2)).expect("the node").value["description"], json!("rack 4"));
    assert_eq!(alone.get(b.uid).expect("its system").value["node"], json!("west"));
    assert_eq!(alone.verify(), Ok(()));
    let restored = State::restore(&alone.image().expect("founded").encode()).expect("its own");
    assert_eq!(restored, alone);
}

#[test]
fn what_a_newcomer_has_is_declared_where_it_comes() {
    // A node that was alone, with a guest of the same names as the cluster's, but for the system's own.
    let mut newcomer = World::furnished();
    let disk = json!([{"pool": "default", "volume": "root", "size_bytes": 64 << 20, "image": "base"}]);
    newcomer.create(Kind::System, "mine", crate::world::system(disk, json!([{"network": "lan"}]))).expect("free");
    let own = newcomer.state().own_objects(&name("n1"));
    let kinds: Vec<Kind> = own
        .iter()
        .filter_map(|action| match action {
            Action::Create { kind, .. } => Some(*kind),
            _ => None,
        })
        .collect();
    assert_eq!(
        kinds,
        [Kind::Network, Kind::Pool, Kind::Image, Kind::System],
        "what is named comes before who names it"
    );
    let mut cluster = World::new();
    cluster.command(init()).expect("the first node");
    cluster.command(token()).expect("a token");
    cluster.command(join(5)).expect("free");
    let spec = json!({"node": "n1", "address": "10.0.0.1/24"});
    cluster.order(Action::Create { kind: Kind::Network, name: name("lan"), uid: uid(0x900), spec });
    cluster.command(Command::Rename { node: uid(1), to: name("first") }).expect("free");
    cluster.command(Command::Rename { node: uid(5), to: name("n1") }).expect("free");
    for action in own {
        assert_eq!(cluster.state().may_propose(uid(5), &action), Ok(()));
        let outcome = cluster.order(action.clone());
        assert!(matches!(outcome, Outcome::Done(_)), "{action:?}: {outcome:?}");
    }
    assert_eq!(specs(cluster.state(), "n1"), specs(newcomer.state(), "n1"), "the same identities and addresses");
    assert_eq!(cluster.state().verify(), Ok(()));
}
