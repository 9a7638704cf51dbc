//! Each command, and each reason against it.

use acp_base::Uid;
use acp_core_membership::{Command, NewKey, NewNode, NewToken, Outcome, Plan, Rejection, State, limits};
use acp_wire_api::Scope;

use crate::model::{
    HOUR, NOW, address, cluster, digest, done, init, join, key, name, node, refused, refused_at, token, uid,
    with_root_key,
};

#[test]
fn nothing_is_done_without_a_cluster() {
    let nothing = State::default();
    assert_eq!(nothing.directory(), None);
    let commands = [
        join("t", node(2)),
        Command::Leave { node: uid(1) },
        Command::Remove { name: name("n1") },
        token("t", HOUR, 1),
        Command::RevokeToken { uid: uid(9) },
        key("ci", "s"),
        Command::RevokeKey { name: "ci".to_owned() },
    ];
    for command in commands {
        assert_eq!(refused(&mut nothing.clone(), command), Rejection::NoCluster);
    }
    assert_eq!(done(&mut nothing.clone(), Command::Prune), Outcome::Unchanged);
}

#[test]
fn the_first_node_controls_and_is_answered_again() {
    let mut state = State::default();
    assert_eq!(done(&mut state, init(with_root_key(1, "root's"))), Outcome::Changed);
    let directory = state.directory().expect("there is a cluster");
    assert_eq!((directory.revision, directory.nodes.len(), directory.nodes[0].controller), (1, 1, true));
    assert_eq!((directory.keys[0].name.as_str(), directory.keys[0].scope), ("root@n1", Scope::Admin));
    assert_eq!(done(&mut state, init(with_root_key(1, "root's"))), Outcome::Unchanged);
    let founded = Rejection::Founded { name: name("prod") };
    assert_eq!(refused(&mut state, init(node(2))), founded);
    assert_eq!(refused(&mut state, init(NewNode { key: digest("another"), ..node(1) })), founded);
    let Command::Init { cluster, authority, node, .. } = init(node(1)) else { panic!("it is one") };
    let other = Command::Init { cluster, name: name("other"), authority, node };
    assert_eq!(refused(&mut state, other), founded);
}

#[test]
fn a_node_joins_with_a_token_and_uses_it_up_once() {
    let mut state = cluster();
    done(&mut state, token("once", HOUR, 1));
    assert_eq!(done(&mut state, join("once", with_root_key(2, "root's"))), Outcome::Changed);
    let revision = state.revision();
    assert_eq!(done(&mut state, join("once", with_root_key(2, "root's"))), Outcome::Unchanged);
    assert_eq!((state.revision(), state.members().len()), (revision, 2));
    assert!(!state.members()[&uid(2)].controller);
    assert_eq!(refused(&mut state, join("once", node(3))), Rejection::TokenUsedUp);
    // The token is gone, the node that has joined with it still has its answer.
    let created = state.tokens(NOW).len();
    state.apply(Command::Prune, NOW + 2 * HOUR).expect("nothing stands against it");
    assert_eq!((created, state.tokens(NOW).len()), (1, 0));
    assert_eq!(state.apply(join("once", node(2)), NOW + 2 * HOUR), Ok(Outcome::Unchanged));
    // Another token that counts does as well, and is not used up either.
    done(&mut state, token("other", HOUR, 1));
    assert_eq!(done(&mut state, join("other", node(2))), Outcome::Unchanged);
    assert_eq!(refused(&mut state, join("wrong", node(2))), Rejection::TokenUnknown);
    let elsewhere = NewNode { address: address(77), ..node(2) };
    let joined = Rejection::JoinedAs { name: name("n2"), address: address(2) };
    assert_eq!(refused(&mut state, join("once", elsewhere)), joined);
}

#[test]
fn a_root_that_asks_again_with_another_secret_has_that_one() {
    let mut state = cluster();
    done(&mut state, join("t", with_root_key(2, "lost")));
    assert_eq!(done(&mut state, join("t", with_root_key(2, "new"))), Outcome::Changed);
    let directory = state.directory().expect("there is a cluster");
    assert_eq!(directory.keys.len(), 1);
    assert_eq!(directory.keys[0].hash, digest("new").to_string());
    done(&mut state, key("ci", "theirs"));
    assert_eq!(refused(&mut state, join("t", with_root_key(2, "theirs"))), Rejection::SecretTaken);
    done(&mut state, Command::RevokeKey { name: "root@n2".to_owned() });
    assert_eq!(done(&mut state, join("t", with_root_key(2, "again"))), Outcome::Unchanged);
    assert_eq!(state.directory().expect("there is a cluster").keys.len(), 1, "what was revoked stays revoked");
}

#[test]
fn a_token_may_allow_no_key_for_root() {
    let mut state = cluster();
    let (secret, token) = (digest("plain"), uid(0x77));
    let new = NewToken { uid: token, digest: secret, lifetime_ms: HOUR, uses: 1, no_root_key: true };
    done(&mut state, Command::CreateToken(new));
    let plan = state.plan_join(&secret, &with_root_key(2, "root's"), NOW).expect("it can be planned");
    assert_eq!(plan, Plan { again: false, root_key: false, clashes: Vec::new() });
    done(&mut state, join("plain", with_root_key(2, "root's")));
    assert!(state.directory().expect("there is a cluster").keys.is_empty());
}

#[test]
fn a_token_is_known_counts_for_its_time_and_can_be_revoked() {
    let mut state = cluster();
    assert_eq!(refused(&mut state, join("wrong", node(2))), Rejection::TokenUnknown);
    assert_eq!(refused_at(&mut state, join("t", node(2)), NOW + HOUR), Rejection::TokenExpired);
    let listed = state.tokens(NOW + HOUR - 1);
    assert_eq!((listed.len(), listed[0].uses_left, listed[0].expires_ms), (1, 10, NOW + HOUR));
    assert!(state.tokens(NOW + HOUR).is_empty());
    done(&mut state, Command::RevokeToken { uid: listed[0].uid });
    assert_eq!(refused(&mut state, join("t", node(2))), Rejection::TokenUnknown);
    let uid = listed[0].uid;
    assert_eq!(refused(&mut state, Command::RevokeToken { uid }), Rejection::NoToken { uid });
}

#[test]
fn each_clash_is_told_and_the_plan_tells_them_all() {
    let mut state = cluster();
    done(&mut state, join("t", node(2)));
    done(&mut state, key("ci", "theirs"));
    let by = name("n2");
    let mut told = |node: NewNode, clashes: Vec<Rejection>| {
        let plan = state.plan_join(&digest("t"), &node, NOW).expect("the token is good");
        assert_eq!(plan.clashes, clashes);
        assert_eq!(refused(&mut state, join("t", node)), clashes[0]);
    };
    told(NewNode { name: by.clone(), ..node(3) }, vec![Rejection::NameTaken { name: by.clone() }]);
    let taken = Rejection::AddressTaken { address: address(2), by: by.clone() };
    told(NewNode { address: address(2), ..node(3) }, vec![taken.clone()]);
    told(NewNode { key: node(2).key, ..node(3) }, vec![Rejection::KeyTaken { by: by.clone() }]);
    let stolen = Rejection::IdTaken { uid: uid(2), name: by.clone() };
    told(NewNode { uid: uid(2), ..node(3) }, vec![stolen]);
    told(with_root_key(3, "theirs"), vec![Rejection::SecretTaken]);
    told(with_root_key(3, "t"), vec![Rejection::SecretTaken]);
    let copy = NewNode { uid: uid(3), ..node(2) };
    told(copy, vec![Rejection::NameTaken { name: by.clone() }, taken, Rejection::KeyTaken { by }]);
    for bad in ["0.0.0.0:9932", "10.0.0.3:0", "224.0.0.1:9932", "[fe80::1]:9932", "[::]:9932", "[::ffff:0.0.0.0]:9932"]
    {
        let address = bad.parse().expect("an address");
        told(NewNode { address, ..node(3) }, vec![Rejection::Address { address }]);
    }
}

#[test]
fn a_node_that_is_gone_does_not_come_back_under_its_id() {
    let mut state = cluster();
    done(&mut state, join("t", with_root_key(2, "root's")));
    done(&mut state, Command::Remove { name: name("n2") });
    let directory = state.directory().expect("there is a cluster");
    assert_eq!((directory.removed, directory.keys), (vec![uid(2)], Vec::new()), "its root's key goes with it");
    let again = NewNode { key: digest("a new one"), ..node(2) };
    assert_eq!(refused(&mut state, join("t", again.clone())), Rejection::Gone { uid: uid(2) });
    assert_eq!(done(&mut state, Command::Leave { node: uid(2) }), Outcome::Unchanged);
    assert_eq!(refused(&mut state, Command::Remove { name: name("n2") }), Rejection::NoMember { name: name("n2") });
    // Long after its last certificate has ended it is listed no more, and still does not come back.
    let ended = NOW + limits::CERTIFICATE_LIFETIME_MAX_MS + limits::CLOCK_SLACK_MS;
    assert_eq!(state.apply(Command::Prune, ended - 1), Ok(Outcome::Changed), "the token's time is over");
    assert_eq!(state.directory().expect("there is a cluster").removed, [uid(2)]);
    assert_eq!(state.next_prune_ms(), Some(ended));
    assert_eq!(state.apply(Command::Prune, ended), Ok(Outcome::Changed));
    assert_eq!(state.directory().expect("there is a cluster").removed, Vec::<Uid>::new());
    state.apply(token("later", HOUR, 1), ended).expect("there is room");
    assert_eq!(refused_at(&mut state, join("later", again), ended), Rejection::Gone { uid: uid(2) });
    let renamed = NewNode { uid: uid(22), key: digest("a new one"), ..node(2) };
    assert_eq!(state.apply(join("later", renamed), ended), Ok(Outcome::Changed), "under another id it does");
}

#[test]
fn the_last_controller_stays() {
    let mut state = cluster();
    done(&mut state, join("t", node(2)));
    let last = Rejection::LastController { name: name("n1") };
    assert_eq!(refused(&mut state, Command::Leave { node: uid(1) }), last);
    assert_eq!(refused(&mut state, Command::Remove { name: name("n1") }), last);
    assert_eq!(refused(&mut state, Command::Leave { node: uid(7) }), Rejection::NoMemberOfId { uid: uid(7) });
    assert_eq!(done(&mut state, Command::Leave { node: uid(2) }), Outcome::Changed);
}

#[test]
fn keys_have_names_of_their_own_and_end() {
    let mut state = cluster();
    done(&mut state, key("ci", "a"));
    assert_eq!(refused(&mut state, key("ci", "b")), Rejection::KeyNameTaken { name: name("ci") });
    assert_eq!(refused(&mut state, key("other", "a")), Rejection::SecretTaken);
    assert_eq!(refused(&mut state, key("other", "t")), Rejection::SecretTaken);
    let new = |scope, lifetime_ms| {
        let (name, digest) = (name("short"), digest("short"));
        Command::CreateKey(NewKey { uid: uid(0x55), name, digest, scope, lifetime_ms })
    };
    assert_eq!(refused(&mut state, new(Scope::Internal, None)), Rejection::ScopeInternal);
    assert!(matches!(refused(&mut state, new(Scope::Read, Some(0))), Rejection::Range { what: "lifetime_ms", .. }));
    done(&mut state, new(Scope::Read, Some(HOUR)));
    let listed = state.directory().expect("there is a cluster").keys;
    assert_eq!(listed.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["ci", "short"]);
    assert_eq!(listed[1].expires_ms, Some(NOW + HOUR));
    let forgotten = NOW + HOUR + limits::KEY_SHOWN_MS;
    state.apply(Command::Prune, forgotten - 1).expect("nothing stands against it");
    assert_eq!(state.directory().expect("there is a cluster").keys.len(), 2, "it is shown for a while");
    state.apply(Command::Prune, forgotten).expect("nothing stands against it");
    assert_eq!(state.directory().expect("there is a cluster").keys.len(), 1);
    let revoke = Command::RevokeKey { name: "ci".to_owned() };
    assert_eq!(done(&mut state, revoke.clone()), Outcome::Changed);
    assert_eq!(refused(&mut state, revoke), Rejection::NoKey { name: "ci".to_owned() });
}

#[test]
fn tokens_do_not_change_the_directory() {
    let mut state = cluster();
    let before = state.directory();
    done(&mut state, token("another", HOUR, 1));
    state.apply(Command::Prune, NOW + HOUR).expect("nothing stands against it");
    assert_eq!(state.directory(), before);
}
