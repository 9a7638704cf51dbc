//! What the log says of members, and the level that it needs.

use acp_base::Code;
use acp_core_cdb::{Outcome, State};
use acp_core_membership::Command;
use acp_wire_model::entry::{Action, NodeStanding};

use crate::world::{World, decided, name, uid};

fn verdict(node: u128, standing: NodeStanding) -> Action {
    Action::Verdict { node: uid(node), standing, evidence: "no session for 2 s".to_owned(), unsaid: 0 }
}

fn of_level_2() -> World {
    let mut world = World::of_two();
    decided(world.order(Action::FeatureLevel { level: 2 })).expect("above");
    world
}

fn code(outcome: Outcome) -> Code {
    decided(outcome).expect_err("refused").code
}

#[test]
fn a_change_is_told_once_whoever_tells_it() {
    let mut world = of_level_2();
    assert_eq!(world.state().verdict(uid(2)), NodeStanding::Online, "nothing was said");
    assert_eq!(code(world.order(verdict(2, NodeStanding::Online))), Code::Conflict, "which goes without saying");
    for standing in [NodeStanding::Down, NodeStanding::Unmanaged, NodeStanding::Isolated, NodeStanding::Online] {
        decided(world.order(verdict(2, standing))).expect("it has changed");
        assert_eq!(world.state().verdict(uid(2)), standing);
        let again = decided(world.order(verdict(2, standing))).expect_err("so already");
        assert_eq!(again.code, Code::Conflict);
        let wanted = format!("node \"n2\" is taken for {} already", standing.word());
        assert_eq!(again.message, wanted);
    }
    assert_eq!(code(world.order(verdict(9, NodeStanding::Down))), Code::NotFound);
    let control =
        Action::Verdict { node: uid(2), standing: NodeStanding::Down, evidence: "a\u{1b}[2J".to_owned(), unsaid: 0 };
    assert_eq!(code(world.order(control)), Code::InvalidArgument);
    assert_eq!(world.state().verify(), Ok(()));
}

#[test]
fn verdicts_are_in_snapshots_and_go_with_their_nodes() {
    let mut world = of_level_2();
    decided(world.order(verdict(2, NodeStanding::Down))).expect("it has changed");
    let kept = world.state().image().expect("founded").encode();
    let restored = State::restore(&kept).expect("it is read");
    assert_eq!((&restored, restored.verdict(uid(2))), (world.state(), NodeStanding::Down));
    let command = serde_json::to_value(Command::Remove { name: name("n2") }).expect("JSON");
    decided(world.order(Action::Membership { command })).expect("it is removed");
    assert_eq!((world.state().verdict(uid(2)), world.state().verify()), (NodeStanding::Online, Ok(())));
}

#[test]
fn below_its_level_nothing_of_it_occurs() {
    let mut world = World::of_two();
    for level in [0, 1] {
        let action = verdict(2, NodeStanding::Down);
        let refusal = world.state().may_occur(&action).expect_err("an earlier version would stall");
        assert!(refusal.message.ends_with("the cluster is at 1: acpctl cluster upgrade"), "{refusal}");
        assert_eq!(world.state().may_propose(uid(1), &action).expect_err("nor proposed").code, refusal.code);
        assert_eq!(decided(world.order(action)).expect_err("nor applied").code, Code::FailedPrecondition);
        assert_eq!(world.state().feature_level(), level);
        decided(world.order(Action::FeatureLevel { level: level + 1 })).expect("above");
    }
    assert_eq!(world.state().may_occur(&verdict(2, NodeStanding::Down)), Ok(()));
    decided(world.order(verdict(2, NodeStanding::Down))).expect("now it may");
}
