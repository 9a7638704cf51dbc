//! What becomes of members: names, places, roles, and who runs the control plane.

use acp_base::Name;
use acp_core_membership::{Command, Outcome, Rejection, limits, roles};

use crate::model::{address, cluster, done, join, name, node, refused, uid, with_root_key};

fn set_role(role: &str, units: Option<&[&str]>, nodes: Option<&[&str]>) -> Command {
    let names = |texts: &[&str]| -> Vec<Name> { texts.iter().map(|text| name(text)).collect() };
    Command::SetRole { name: name(role), units: units.map(names), nodes: nodes.map(names) }
}

#[test]
fn a_member_is_renamed_with_its_roots_key() {
    let mut state = cluster();
    done(&mut state, join("t", with_root_key(2, "root's")));
    done(&mut state, Command::Rename { node: uid(2), to: name("west") });
    let directory = state.directory().expect("a cluster");
    assert_eq!((directory.nodes[1].name.as_str(), directory.keys[0].name.as_str()), ("west", "root@west"));
    assert_eq!(done(&mut state, Command::Rename { node: uid(2), to: name("west") }), Outcome::Unchanged);
    let taken = refused(&mut state, Command::Rename { node: uid(2), to: name("n1") });
    assert_eq!(taken, Rejection::NameTaken { name: name("n1") });
    let nobody = refused(&mut state, Command::Rename { node: uid(7), to: name("x") });
    assert_eq!(nobody, Rejection::NoMemberOfId { uid: uid(7) });
    assert_eq!(state.member_named(&name("west")), Ok(uid(2)));
    assert_eq!(state.member_named(&name("n2")), Err(Rejection::NoMember { name: name("n2") }));
}

#[test]
fn a_member_is_dialled_where_it_says() {
    let mut state = cluster();
    done(&mut state, join("t", node(2)));
    done(&mut state, Command::Readdress { node: uid(2), address: address(50) });
    assert_eq!(done(&mut state, Command::Readdress { node: uid(2), address: address(50) }), Outcome::Unchanged);
    let taken = refused(&mut state, Command::Readdress { node: uid(2), address: address(1) });
    assert_eq!(taken, Rejection::AddressTaken { address: address(1), by: name("n1") });
    let nowhere = "0.0.0.0:1".parse().expect("an address");
    assert_eq!(
        refused(&mut state, Command::Readdress { node: uid(2), address: nowhere }),
        Rejection::Address { address: nowhere }
    );
}

#[test]
fn a_member_is_of_the_domain_that_was_said_last() {
    let mut state = cluster();
    done(&mut state, join("t", node(2)));
    let assign = |number, domain| Command::AssignDomain { node: uid(number), domain: name(domain) };
    assert_eq!(done(&mut state, assign(2, "default")), Outcome::Unchanged, "so it is of whom nothing was said");
    done(&mut state, assign(2, "west"));
    let told = state.directory().expect("a cluster").nodes.into_iter().map(|node| node.domain);
    assert_eq!(told.collect::<Vec<_>>(), [None, Some(name("west"))]);
    assert_eq!(state.members()[&uid(2)].domain(), "west");
    assert_eq!(done(&mut state, assign(2, "west")), Outcome::Unchanged);
    done(&mut state, assign(2, "default"));
    let kept = serde_json::to_value(&state.members()[&uid(2)]).expect("JSON");
    assert!(kept.get("domain").is_none(), "earlier versions read it: {kept}");
    assert_eq!(refused(&mut state, assign(7, "west")), Rejection::NoMemberOfId { uid: uid(7) });
    assert_eq!((assign(2, "west").level(), Command::Prune.level()), (2, 1));
}

#[test]
fn the_last_controller_neither_goes_nor_is_set_aside() {
    let mut state = cluster();
    done(&mut state, join("t", node(2)));
    let controller = |number, key: Option<&str>| Command::SetController {
        node: uid(number),
        checkpoint_key: key.map(str::to_owned),
    };
    let last = Rejection::LastController { name: name("n1") };
    assert_eq!(refused(&mut state, controller(1, None)), last);
    assert_eq!(refused(&mut state, Command::Park { node: uid(1) }), last);
    for bad in ["", "ab", &"AB".repeat(32), &"ab".repeat(33)] {
        assert_eq!(refused(&mut state, controller(2, Some(bad))), Rejection::CheckpointKey);
    }
    let key = "ab".repeat(32);
    done(&mut state, controller(2, Some(&key)));
    let member = state.directory().expect("a cluster").nodes[1].clone();
    assert_eq!((member.controller, member.checkpoint_key), (true, key.clone()));
    assert_eq!(member.roles, [name("compute"), name("controller")]);
    assert_eq!(done(&mut state, controller(2, Some(&key))), Outcome::Unchanged);
    done(&mut state, Command::Park { node: uid(1) });
    assert!(state.directory().expect("a cluster").nodes[0].parked);
    assert_eq!(done(&mut state, Command::Park { node: uid(1) }), Outcome::Unchanged);
    done(&mut state, Command::Unpark { node: uid(1) });
    done(&mut state, controller(1, None));
    assert_eq!(refused(&mut state, Command::Leave { node: uid(2) }), Rejection::LastController { name: name("n2") });
    done(&mut state, Command::Leave { node: uid(1) });
}

#[test]
fn there_are_one_three_or_five_voters() {
    let mut state = cluster();
    assert_eq!(state.voters_wanted(), 5);
    let revision = state.revision();
    done(&mut state, Command::SetVoters { wanted: 3 });
    assert_eq!(done(&mut state, Command::SetVoters { wanted: 3 }), Outcome::Unchanged);
    assert_eq!((state.voters_wanted(), state.revision()), (3, revision));
    for given in [0, 2, 4, 6, 7, u32::MAX] {
        assert_eq!(refused(&mut state, Command::SetVoters { wanted: given }), Rejection::Voters { given });
    }
}

#[test]
fn roles_decide_which_units_a_node_runs() {
    let mut state = cluster();
    done(&mut state, join("t", node(2)));
    let runs = |state: &acp_core_membership::State, node: &str, unit: &str| {
        roles::runs(&state.directory().expect("a cluster"), &name(node), &name(unit))
    };
    assert!(runs(&state, "n1", "hypervisor") && runs(&state, "n2", "hypervisor"), "who comes runs systems");
    done(&mut state, set_role("compute", None, Some(&["n1"])));
    assert!(runs(&state, "n1", "hypervisor") && !runs(&state, "n2", "hypervisor"));
    assert!(!runs(&state, "n2", "network") && !runs(&state, "n2", "storage"), "nor what a hypervisor needs");
    assert!(runs(&state, "n2", "api"), "what no role names runs everywhere");
    done(&mut state, set_role("edge", Some(&["relay", "api"]), Some(&["n2"])));
    assert!(runs(&state, "n2", "api") && !runs(&state, "n1", "api"));
    assert_eq!(done(&mut state, set_role("edge", Some(&["api", "relay"]), None)), Outcome::Unchanged);
    done(&mut state, set_role("compute", None, Some(&[])));
    assert!(!runs(&state, "n1", "hypervisor"), "the built-in role stays, if nobody has it");
    done(&mut state, set_role("edge", Some(&[]), Some(&[])));
    let listed: Vec<Name> = state.directory().expect("a cluster").roles.into_iter().map(|role| role.name).collect();
    assert_eq!(listed, [name("compute"), name("controller")], "an empty one is forgotten");
}

#[test]
fn roles_are_bounded_and_the_control_planes_is_not_given_by_hand() {
    let mut state = cluster();
    let given = refused(&mut state, set_role("controller", None, Some(&["n1"])));
    assert_eq!(given, Rejection::RoleGiven { name: name("controller") });
    assert_eq!(refused(&mut state, set_role("edge", None, Some(&["n9"]))), Rejection::NoMember { name: name("n9") });
    let units: Vec<String> = (0..=limits::ROLE_UNITS_MAX).map(|number| format!("u{number}")).collect();
    let units: Vec<&str> = units.iter().map(String::as_str).collect();
    assert_eq!(refused(&mut state, set_role("edge", Some(&units), None)), Rejection::UnitsMany { name: name("edge") });
    for number in 1..limits::ROLES_MAX {
        done(&mut state, set_role(&format!("r{number}"), Some(&["x"]), None));
    }
    assert_eq!(refused(&mut state, set_role("more", Some(&["x"]), None)), Rejection::RolesFull);
    done(&mut state, set_role("r1", Some(&["y"]), None));
}
