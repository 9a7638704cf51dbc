//! Members and nodes, names that are of one node, and who may have what ordered.

use acp_base::{Code, Name};
use acp_core_cdb::{Effect, Key, Outcome, Stall};
use acp_core_membership::{Command, Digest, Rejection};
use acp_wire_model::{Kind, entry::Action};
use serde_json::{Value, json};

use crate::world::{World, guest, init, join, name, newcomer, plain_system, token, uid};

fn names(changes: &[(Effect, std::sync::Arc<acp_core_cdb::Record>)]) -> Vec<(Effect, Kind, &str)> {
    changes.iter().map(|(effect, record)| (*effect, record.kind, record.name.as_str())).collect()
}

#[test]
fn only_the_node_whose_log_it_is_makes_a_cluster_of_it() {
    let mut world = World::new();
    assert_eq!(world.command(token()).expect_err("alone").code, Code::FailedPrecondition);
    let other = Command::Init { cluster: uid(0xC), name: name("prod"), authority: String::new(), node: newcomer(2) };
    let refusal = world.command(other).expect_err("another node");
    assert!(refusal.code == Code::FailedPrecondition && refusal.message.contains("n2"), "{refusal}");
    world.create(Kind::Node, "n9", json!({})).expect("alone it may");
    assert!(world.command(init()).expect_err("a node that is no member").message.contains("delete it first"));
    world.delete(Kind::Node, world.uid_of(Kind::Node, "n9")).expect("unused");
    assert_eq!(world.command(init()).expect("its own").changes, []);
    assert_eq!(world.command(init()).expect("again").changes, []);
    assert_eq!(world.state().verify(), Ok(()));
    let directory = world.state().directory().expect("there is a cluster");
    assert_eq!(
        (directory.nodes[0].uid, directory.epoch),
        (uid(1), world.state().epoch().expect("founded").to_string())
    );
}

#[test]
fn nodes_come_by_joining_alone_and_no_identity_is_taken_over() {
    let mut world = World::new();
    world.command(init()).expect("the first node");
    let refusal = world.create(Kind::Node, "n7", json!({})).expect_err("by hand");
    assert!(refusal.code == Code::FailedPrecondition && refusal.message.contains("joining"), "{refusal}");
    assert_eq!(world.delete(Kind::Node, uid(1)).expect_err("by hand").code, Code::FailedPrecondition);
    assert_eq!(world.command(join(2)).expect_err("no token").code, Code::PermissionDenied);
    world.command(token()).expect("a token");
    let done = world.command(join(2)).expect("free");
    assert_eq!(names(&done.changes), [(Effect::Put, Kind::Node, "n2")]);
    assert_eq!(world.command(join(2)).expect("again").changes, [], "nothing is new");
    let system = world.create(Kind::System, "a", plain_system()).expect("free").record.uid;
    let thief = acp_core_membership::NewNode { uid: system, ..newcomer(3) };
    let refusal = world.command(Command::Join { token: Digest::of(b"t"), node: thief }).expect_err("a system's id");
    assert_eq!(refusal.message, Rejection::UidTaken { uid: system }.to_string());
    let twin = acp_core_membership::NewNode { systems: vec![name("b"), name("a")], ..newcomer(3) };
    let plan = world.state().plan_join(&Digest::of(b"t"), &twin, 0).expect("a good token");
    let clash = Rejection::SystemTaken { name: name("a"), node: name("n3") };
    assert_eq!(plan.clashes, std::slice::from_ref(&clash));
    let refusal = world.command(Command::Join { token: Digest::of(b"t"), node: twin }).expect_err("a name is taken");
    assert_eq!((refusal.code, refusal.message), (Code::AlreadyExists, clash.to_string()));
    assert_eq!(world.state().verify(), Ok(()));
}

#[test]
fn what_is_renamed_is_renamed_everywhere() {
    let mut world = World::of_two();
    world.create(Kind::System, "a", guest("n1", "a")).expect("free");
    let b = world.create(Kind::System, "b", guest("n2", "b")).expect("free").record;
    let done = world.command(Command::Rename { node: uid(2), to: name("west") }).expect("free");
    let mut put: Vec<_> = names(&done.changes);
    assert_eq!(put.remove(0), (Effect::Put, Kind::Node, "west"));
    put.sort_unstable_by_key(|(_, kind, _)| *kind);
    let kinds: Vec<Kind> = put.iter().map(|(_, kind, _)| *kind).collect();
    assert_eq!((kinds.len(), put.iter().all(|(effect, ..)| *effect == Effect::Put)), (4, true), "{put:?}");
    assert_eq!(world.state().verify(), Ok(()));
    let moved = world.state().get(b.uid).expect("it is there");
    assert_eq!((&moved.value["node"], moved.version), (&json!("west"), world.state().index()));
    assert_eq!(world.spec_of(Kind::System, "a")["node"], json!("n1"));
    assert!(world.state().find(Kind::Pool, Some(&name("n2")), "default").is_none());
    // What was held on the node is held under its new name.
    let taken = world.create(Kind::System, "c", guest("west", "b")).expect_err("the volume is held");
    assert_eq!(taken.code, Code::AlreadyExists);
    let refusal = world.command(Command::Rename { node: uid(2), to: name("n1") }).expect_err("taken");
    assert_eq!(refusal.code, Code::AlreadyExists);
    assert_eq!(world.command(Command::Rename { node: uid(2), to: name("west") }).expect("so already").changes, []);
    // An old entry that names no node means the first node, whatever that is called now.
    world.command(Command::Rename { node: uid(1), to: name("east") }).expect("free");
    let old = world.create(Kind::Network, "dmz", json!({"address": "10.1.0.1/24"})).expect("free").record;
    assert_eq!(old.value["node"], json!("east"));
}

#[test]
fn a_node_goes_with_everything_on_it_and_may_come_back_with_it() {
    let mut world = World::of_two();
    let b = world.create(Kind::System, "b", guest("n2", "b")).expect("free").record;
    let (ended, before) =
        (world.create(Kind::System, "x", guest("n2", "x")).expect("free").record, world.db.position());
    world.delete(Kind::System, ended.uid).expect("unused");
    let own = world.state().own_objects(&name("n2"));
    let done = world.command(Command::Leave { node: uid(2) }).expect("not the last");
    let gone = [
        (Kind::System, "b"),
        (Kind::Image, "base"),
        (Kind::Pool, "default"),
        (Kind::Network, "lan"),
        (Kind::Node, "n2"),
    ];
    assert_eq!(names(&done.changes), gone.map(|(kind, name)| (Effect::Delete, kind, name)));
    assert_eq!(world.db.position(), before + 6, "each is a change that watches see");
    assert!(world.state().is_spent(b.uid) && world.state().verify() == Ok(()));
    // Its id comes back by a token and with its key alone.
    assert_eq!(world.command(join(2)).expect_err("gone").code, Code::FailedPrecondition);
    let rejoin = |node| Command::Rejoin { token: Digest::of(b"t"), node };
    let stranger = acp_core_membership::NewNode { key: Digest::of(b"another"), ..newcomer(2) };
    let refusal = world.command(rejoin(stranger)).expect_err("another key");
    assert!(refusal.code == Code::FailedPrecondition && refusal.message.contains("another key"), "{refusal}");
    world.command(rejoin(newcomer(2))).expect("its own key");
    for action in own {
        assert!(matches!(world.order(action.clone()), Outcome::Done(_)), "{action:?}");
    }
    assert_eq!(world.spec_of(Kind::System, "b"), Value::clone(&b.value), "as it was, its addresses too");
    let spec = guest("n2", "x");
    let again = world.order(Action::Create { kind: Kind::System, name: name("x"), uid: ended.uid, spec });
    assert!(matches!(again, Outcome::Refused(refusal) if refusal.code == Code::AlreadyExists), "it was deleted");
    assert_eq!(world.state().verify(), Ok(()));
}

#[test]
fn a_node_that_asked_comes_in_when_an_operator_says_so() {
    let mut world = World::of_two();
    world.create(Kind::System, "a", guest("n1", "a")).expect("free");
    let ask = |systems: Vec<Name>| {
        let node = acp_core_membership::NewNode { systems, ..newcomer(3) };
        Command::Ask { request: uid(0xA5), node, wait_ms: 60_000 }
    };
    assert_eq!(world.command(ask(vec![name("a")])).expect_err("a name is taken").code, Code::AlreadyExists);
    world.command(ask(vec![name("late")])).expect("it waits");
    assert_eq!(world.state().members().waiting(0).len(), 1);
    let approve = Command::Approve { request: uid(0xA5) };
    let late = world.create(Kind::System, "late", guest("n1", "late")).expect("free").record.uid;
    assert_eq!(world.command(approve.clone()).expect_err("taken meanwhile").code, Code::AlreadyExists);
    world.delete(Kind::System, late).expect("unused");
    assert_eq!(names(&world.command(approve.clone()).expect("free").changes), [(Effect::Put, Kind::Node, "n3")]);
    assert_eq!(world.command(approve).expect_err("answered").code, Code::NotFound);
}

#[test]
fn names_of_one_node_are_resolved_there() {
    let mut world = World::of_two();
    // The same names, subnets, addresses and volumes on both nodes, and nothing clashes but hardware addresses.
    for (node, system) in [("n1", "a"), ("n2", "b")] {
        world.create(Kind::System, system, guest(node, "root")).expect("free");
    }
    let address = |system: &str| world.spec_of(Kind::System, system)["nics"][0]["address"].clone();
    assert_eq!((address("a"), address("b")), (json!("10.0.0.2"), json!("10.0.0.2")));
    let mac = world.spec_of(Kind::System, "a")["nics"][0]["mac"].clone();
    let mut twin = guest("n2", "twin");
    twin["nics"][0]["mac"] = mac;
    assert_eq!(world.create(Kind::System, "twin", twin).expect_err("of a").code, Code::AlreadyExists);
    assert_eq!(
        world.create(Kind::System, "a", guest("n2", "y")).expect_err("in the cluster").code,
        Code::AlreadyExists
    );
    let refusal = world.create(Kind::Pool, "default", json!({"driver": "directory", "node": "n2"})).expect_err("taken");
    assert_eq!(refusal.message, "a pool named \"default\" exists already on node n2");
    world.create(Kind::Pool, "fast", json!({"driver": "directory", "node": "n1"})).expect("free");
    let mut far = guest("n2", "z");
    far["disks"][0]["pool"] = json!("fast");
    let refusal = world.create(Kind::System, "c", far).expect_err("on the other node");
    assert_eq!(refusal.message, "disks[0]: no pool named \"fast\" on node n2: it is on n1");
    let lan = world.state().find(Kind::Network, Some(&name("n2")), "lan").expect("there").uid;
    let refusal = world.update(Kind::Network, lan, json!({"node": "n1"})).expect_err("it stays");
    assert!(refusal.code == Code::FailedPrecondition && refusal.message.contains("create another there"), "{refusal}");
    // Only one of its own node's guests holds it back.
    assert!(world.delete(Kind::Network, lan).expect_err("in use").message.contains("\"b\""));
    assert_eq!(world.state().verify(), Ok(()));
}

#[test]
fn a_name_means_the_asking_nodes_object_or_the_only_one() {
    let mut world = World::of_two();
    world.create(Kind::Pool, "fast", json!({"driver": "directory", "node": "n1"})).expect("free");
    let node_of = |key: Key, here: Option<&str>| {
        let here = here.map(name);
        let found = world.db.get(Kind::Pool, &key, here.as_ref())?;
        Ok(found.record.expect("declared").value["node"].clone())
    };
    let named = |text: &str| Key::Name(text.to_owned());
    assert_eq!(node_of(named("default"), Some("n2")), Ok(json!("n2")));
    assert_eq!(node_of(named("fast"), Some("n2")), Ok(json!("n1")), "the only one");
    assert_eq!(node_of(Key::OnNode(name("n1"), "default".to_owned()), Some("n2")), Ok(json!("n1")));
    let refusal: acp_core_cdb::Refusal = node_of(named("default"), Some("n3")).expect_err("two of them");
    assert_eq!(refusal.code, Code::FailedPrecondition);
    assert_eq!(refusal.message, "there is a pool named \"default\" on each of n1, n2: say on which node");
    assert_eq!(node_of(named("default"), None).expect_err("two of them").code, Code::FailedPrecondition);
    let absent = node_of(Key::OnNode(name("n2"), "fast".to_owned()), None).expect_err("not there");
    assert_eq!((absent.code, absent.message.as_str()), (Code::NotFound, "no pool named \"fast\" on node n2"));
}

#[test]
fn a_node_orders_for_its_own_objects_and_controllers_for_all() {
    let mut world = World::of_two();
    let a = world.create(Kind::System, "a", guest("n1", "a")).expect("free").record.uid;
    let b = world.create(Kind::System, "b", guest("n2", "b")).expect("free").record.uid;
    let create = |spec| Action::Create { kind: Kind::System, name: name("c"), uid: uid(0x77), spec };
    let update = |uid, patch| Action::Update { kind: Kind::System, uid, patch, if_version: None };
    let delete = |uid| Action::Delete { kind: Kind::System, uid };
    let describe = |uid| Action::Update { kind: Kind::Node, uid, patch: json!({"description": "x"}), if_version: None };
    let command = Action::Membership { command: serde_json::to_value(Command::Prune).expect("JSON") };
    let horizon = Action::Horizon { epoch: acp_base::EpochId { number: 9, id: uid(9) }, reason: "recover".into() };
    let own = [create(guest("n2", "c")), update(b, json!({"cpus": 2, "node": "n2"})), delete(b), describe(uid(2))];
    let foreign = [
        create(guest("n1", "c")),
        create(plain_system_without_node()),
        update(a, json!({"cpus": 2})),
        update(b, json!({"node": "n1"})),
        delete(a),
        describe(uid(1)),
        Action::Delete { kind: Kind::Node, uid: uid(2) },
        Action::Create { kind: Kind::Node, name: name("n2"), uid: uid(0x78), spec: json!({}) },
        command,
        horizon,
    ];
    let state = world.state();
    for action in own.iter().chain(&foreign) {
        assert_eq!(state.may_propose(uid(1), action), Ok(()), "a controller: {action:?}");
        let nobody = state.may_propose(uid(0x99), action).expect_err("no member");
        assert_eq!(nobody.code, Code::PermissionDenied);
    }
    assert!(own.iter().all(|action| state.may_propose(uid(2), action) == Ok(())));
    for action in &foreign {
        let refusal = state.may_propose(uid(2), action).expect_err(&format!("{action:?}"));
        assert_eq!(refusal.code, Code::PermissionDenied, "{action:?}");
    }
    let unknown = Action::Membership { command: json!({"type": "teleport"}) };
    let newer = Action::FeatureLevel { level: 99 };
    for action in [unknown, newer] {
        assert_eq!(state.may_propose(uid(1), &action).expect_err("nobody").code, Code::InvalidArgument, "{action:?}");
    }
    assert_eq!(World::new().state().may_propose(uid(1), &foreign[0]), Ok(()), "a node alone is its own controller");
}

fn plain_system_without_node() -> Value {
    let mut spec = plain_system();
    if let Value::Object(fields) = &mut spec {
        fields.remove("node");
    }
    spec
}

#[test]
fn a_command_of_a_newer_version_stalls() {
    for command in [json!({"type": "teleport"}), json!({"type": "revoke_key", "name": "k", "more": 1}), json!(7)] {
        let mut world = World::of_two();
        let (index, hash) = (world.state().index(), world.state().hash());
        let outcome = world.order(Action::Membership { command: command.clone() });
        assert!(matches!(outcome, Outcome::Stalled(Stall::UnknownCommand { .. })), "{command}: {outcome:?}");
        assert_eq!((world.state().index(), world.state().hash()), (index, hash));
    }
}
