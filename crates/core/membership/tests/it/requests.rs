//! Nodes that ask without a token, and those that come back.

use acp_core_membership::{Command, NewNode, Outcome, Rejection, State, limits};

use crate::model::{
    HOUR, NOW, address, cluster, digest, done, join, name, node, refused, refused_at, token, uid, with_root_key,
};

fn ask(request: u128, node: NewNode) -> Command {
    Command::Ask { request: uid(request), node, wait_ms: HOUR }
}

fn waiting(state: &State, now_ms: u64) -> Vec<acp_base::Uid> {
    state.waiting(now_ms).iter().map(|asked| asked.request).collect()
}

#[test]
fn who_asks_waits_until_somebody_answers_or_its_time_is_over() {
    let mut state = cluster();
    let revision = state.revision();
    assert_eq!(done(&mut state, ask(0xA1, with_root_key(2, "root's"))), Outcome::Changed);
    assert_eq!(done(&mut state, ask(0xA2, node(3))), Outcome::Changed);
    assert_eq!((state.revision(), waiting(&state, NOW)), (revision, vec![uid(0xA1), uid(0xA2)]));
    let asked = &state.waiting(NOW)[0];
    assert_eq!((asked.fingerprint.as_str(), asked.until_ms), (digest("key of n2").to_string().as_str(), NOW + HOUR));
    done(&mut state, Command::Approve { request: uid(0xA1) });
    assert!(!state.members()[&uid(2)].controller && state.directory().expect("a cluster").keys.len() == 1);
    assert_eq!(done(&mut state, ask(0xA9, node(2))), Outcome::Unchanged, "it is a member, and is told so");
    done(&mut state, Command::Reject { request: uid(0xA2) });
    assert_eq!(waiting(&state, NOW), []);
    for answered in [0xA1, 0xA2, 0xA7] {
        let none = Rejection::NoRequest { uid: uid(answered) };
        assert_eq!(refused(&mut state, Command::Approve { request: uid(answered) }), none);
        assert_eq!(refused(&mut state, Command::Reject { request: uid(answered) }), none);
    }
    done(&mut state, ask(0xA3, node(3)));
    let late = refused_at(&mut state, Command::Approve { request: uid(0xA3) }, NOW + HOUR);
    assert_eq!(late, Rejection::NoRequest { uid: uid(0xA3) });
    assert_eq!((state.next_prune_ms(), waiting(&state, NOW + HOUR)), (Some(NOW + HOUR), Vec::new()));
    assert_eq!(state.apply(Command::Prune, NOW + HOUR), Ok(Outcome::Changed));
    assert!(state.requests().is_empty());
}

#[test]
fn one_node_has_one_request_and_a_copy_with_another_key_has_another() {
    let mut state = cluster();
    done(&mut state, ask(0xA1, node(2)));
    done(&mut state, ask(0xA2, NewNode { address: address(9), ..node(2) }));
    assert_eq!(waiting(&state, NOW), [uid(0xA1)], "under the id of its first request");
    assert_eq!(state.waiting(NOW)[0].address, address(9).to_string());
    done(&mut state, ask(0xA3, NewNode { key: digest("a copy"), ..node(2) }));
    assert_eq!(waiting(&state, NOW).len(), 2);
    done(&mut state, Command::Approve { request: uid(0xA1) });
    let rejection = refused(&mut state, Command::Approve { request: uid(0xA3) });
    assert_eq!(rejection, Rejection::IdTaken { uid: uid(2), name: name("n2") });
    assert_eq!(refused(&mut state, ask(0xA3, node(4))), Rejection::UidTaken { uid: uid(0xA3) });
}

#[test]
fn requests_are_bounded_and_those_whose_time_is_over_make_room() {
    let mut state = cluster();
    let last = u16::try_from(limits::REQUESTS_MAX).expect("small") + 1;
    for number in 2..=last {
        done(&mut state, ask(0x1000 + u128::from(number), node(number)));
    }
    assert_eq!(refused(&mut state, ask(0x2000, node(900))), Rejection::RequestsFull);
    done(&mut state, ask(0x2000, node(2)));
    assert_eq!(state.apply(ask(0x2000, node(900)), NOW + HOUR), Ok(Outcome::Changed));
    assert_eq!((state.requests().len(), state.verify()), (1, Ok(())));
    for wait_ms in [0, limits::REQUEST_WAIT_MAX_MS + 1] {
        let command = Command::Ask { request: uid(0x2001), node: node(901), wait_ms };
        assert!(matches!(refused(&mut state, command), Rejection::Range { what: "wait_ms", .. }));
    }
    let many = NewNode { systems: vec![name("s"); limits::SYSTEMS_MAX + 1], ..node(901) };
    assert_eq!(refused(&mut state, ask(0x2001, many)), Rejection::SystemsMany { node: name("n901") });
    assert_eq!(
        refused(&mut state, ask(0x2001, NewNode { name: name("n1"), ..node(901) })),
        Rejection::NameTaken { name: name("n1") }
    );
    assert_eq!(refused(&mut State::default(), ask(1, node(1))), Rejection::NoCluster);
}

#[test]
fn a_node_comes_back_by_an_approved_request_and_with_its_key_alone() {
    let mut state = cluster();
    done(&mut state, join("t", with_root_key(2, "root's")));
    done(&mut state, Command::Leave { node: uid(2) });
    let copy = NewNode { key: digest("a copy"), ..node(2) };
    assert_eq!(refused(&mut state, ask(0xA1, copy)), Rejection::OtherKey { uid: uid(2) });
    assert_eq!(done(&mut state, ask(0xA1, node(2))), Outcome::Changed);
    assert!(state.is_gone(uid(2)), "nobody has answered");
    assert_eq!(done(&mut state, Command::Approve { request: uid(0xA1) }), Outcome::Changed);
    let directory = state.directory().expect("a cluster");
    assert!(directory.removed.is_empty() && directory.nodes.iter().any(|node| node.uid == uid(2)), "{directory:?}");
    assert_eq!(state.verify(), Ok(()));
    // Who is remembered without its key cannot come back.
    done(&mut state, Command::Leave { node: uid(2) });
    let ended = NOW + limits::CERTIFICATE_LIFETIME_MAX_MS + limits::CLOCK_SLACK_MS;
    assert_eq!(state.apply(Command::Prune, ended), Ok(Outcome::Changed));
    assert_eq!(refused_at(&mut state, ask(0xA2, node(2)), ended), Rejection::OtherKey { uid: uid(2) });
}

#[test]
fn a_node_comes_back_by_a_token_and_with_its_key_alone() {
    let mut state = cluster();
    let rejoin = |secret: &str, node| Command::Rejoin { token: digest(secret), node };
    done(&mut state, join("t", with_root_key(2, "root's")));
    done(&mut state, Command::Remove { name: name("n2") });
    assert_eq!(refused(&mut state, join("t", node(2))), Rejection::Gone { uid: uid(2) });
    assert_eq!(refused(&mut state, rejoin("wrong", node(2))), Rejection::TokenUnknown);
    let copy = NewNode { key: digest("a copy"), ..node(2) };
    assert_eq!(refused(&mut state, rejoin("t", copy)), Rejection::OtherKey { uid: uid(2) });
    assert_eq!(refused_at(&mut state, rejoin("t", node(2)), NOW + HOUR), Rejection::TokenExpired);
    let uses = state.tokens(NOW)[0].uses_left;
    let moved = NewNode { name: name("back"), address: address(77), ..with_root_key(2, "another") };
    assert_eq!(done(&mut state, rejoin("t", moved.clone())), Outcome::Changed);
    let directory = state.directory().expect("a cluster");
    assert_eq!((directory.removed, state.tokens(NOW)[0].uses_left), (Vec::new(), uses - 1));
    assert_eq!(directory.keys[0].name, "root@back");
    assert_eq!(done(&mut state, rejoin("t", moved)), Outcome::Unchanged, "the answer may be lost");
    assert_eq!(state.tokens(NOW)[0].uses_left, uses - 1);
    // Who was never a member joins; who is remembered without its key cannot come back.
    assert_eq!(done(&mut state, rejoin("t", node(3))), Outcome::Changed);
    done(&mut state, Command::Leave { node: uid(3) });
    let ended = NOW + limits::CERTIFICATE_LIFETIME_MAX_MS + limits::CLOCK_SLACK_MS;
    assert_eq!(state.apply(Command::Prune, ended), Ok(Outcome::Changed));
    state.apply(token("later", HOUR, 1), ended).expect("there is room");
    assert_eq!(refused_at(&mut state, rejoin("later", node(3)), ended), Rejection::OtherKey { uid: uid(3) });
}
