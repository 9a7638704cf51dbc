//! Whatever is asked in whatever order.

use std::collections::BTreeSet;

use acp_base::Uid;
use acp_core_membership::{Command, NewKey, NewNode, NewToken, Outcome, RootKey, State, limits};
use acp_wire_api::{
    Scope,
    hub::{Directory, MetaValue, Metadata},
};
use proptest::prelude::*;

use crate::model::{HOUR, NOW, address, digest, init, name, node, uid};

/// Few of everything, so that they meet.
const FEW: std::ops::Range<u16> = 1..6;

fn secret() -> impl Strategy<Value = String> {
    FEW.prop_map(|number| format!("secret {number}"))
}

fn any_node() -> impl Strategy<Value = NewNode> {
    let root_key = prop::option::of((FEW, secret()));
    // Mostly a node as it is; sometimes one with something of another's.
    let parts =
        (FEW, prop::option::weighted(0.2, FEW), prop::option::weighted(0.2, FEW), prop::option::weighted(0.2, 0u16..6));
    (parts, prop::option::weighted(0.2, FEW), root_key).prop_map(
        |((number, uid_of, name_of, address_of), key_of, root)| NewNode {
            uid: uid(u128::from(uid_of.unwrap_or(number))),
            name: name(&format!("n{}", name_of.unwrap_or(number))),
            address: match address_of {
                Some(0) => "0.0.0.0:9932".parse().expect("an address"),
                Some(other) => address(other),
                None => address(number),
            },
            key: node(key_of.unwrap_or(number)).key,
            root_key: root
                .map(|(uid_of, secret)| RootKey { uid: uid(100 + u128::from(uid_of)), digest: digest(&secret) }),
            systems: Vec::new(),
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let token =
        (FEW, secret(), 0u64..3, 0u32..3, any::<bool>()).prop_map(|(number, secret, hours, uses, no_root_key)| {
            let lifetime_ms = hours * HOUR;
            let uid = uid(200 + u128::from(number));
            Command::CreateToken(NewToken { uid, digest: digest(&secret), lifetime_ms, uses, no_root_key })
        });
    let scope = prop::sample::select(vec![Scope::Read, Scope::Admin, Scope::Internal]);
    let key =
        (FEW, FEW, secret(), scope, prop::option::of(0u64..3)).prop_map(|(number, named, secret, scope, hours)| {
            let name = name(&format!("k{named}"));
            let lifetime_ms = hours.map(|hours| hours * HOUR);
            Command::CreateKey(NewKey {
                uid: uid(300 + u128::from(number)),
                name,
                digest: digest(&secret),
                scope,
                lifetime_ms,
            })
        });
    let key_name =
        prop_oneof![FEW.prop_map(|number| format!("k{number}")), FEW.prop_map(|number| format!("root@n{number}"))];
    prop_oneof![
        8 => newer(),
        1 => any_node().prop_map(init),
        8 => (secret(), any_node()).prop_map(|(secret, node)| Command::Join { token: digest(&secret), node }),
        2 => FEW.prop_map(|number| Command::Leave { node: uid(u128::from(number)) }),
        2 => FEW.prop_map(|number| Command::Remove { name: name(&format!("n{number}")) }),
        5 => token,
        1 => FEW.prop_map(|number| Command::RevokeToken { uid: uid(200 + u128::from(number)) }),
        2 => key,
        1 => key_name.prop_map(|name| Command::RevokeKey { name }),
        1 => Just(Command::Prune),
    ]
}

/// What came with the control plane of several.
fn newer() -> impl Strategy<Value = Command> {
    let member = || FEW.prop_map(|number| uid(u128::from(number)));
    let request = || FEW.prop_map(|number| uid(400 + u128::from(number)));
    let role = || prop::sample::select(vec!["compute", "controller", "edge", "spare"]).prop_map(name);
    let few_names = |prefix: &'static str| {
        prop::option::of(prop::collection::vec(FEW.prop_map(move |number| name(&format!("{prefix}{number}"))), 0..3))
    };
    prop_oneof![
        4 => (request(), any_node(), 0u64..2 * HOUR)
            .prop_map(|(request, node, wait_ms)| Command::Ask { request, node, wait_ms }),
        3 => request().prop_map(|request| Command::Approve { request }),
        1 => request().prop_map(|request| Command::Reject { request }),
        3 => (secret(), any_node()).prop_map(|(secret, node)| Command::Rejoin { token: digest(&secret), node }),
        2 => (member(), FEW).prop_map(|(node, to)| Command::Rename { node, to: name(&format!("n{to}")) }),
        1 => (member(), 0u16..3).prop_map(|(node, to)| Command::AssignDomain { node, domain: name(["default", "east", "west"][usize::from(to)]) }),
        1 => (member(), 0u16..6).prop_map(|(node, to)| Command::Readdress { node, address: address(to) }),
        1 => member().prop_map(|node| Command::Park { node }),
        1 => member().prop_map(|node| Command::Unpark { node }),
        2 => member().prop_map(|node| Command::SetController { node, checkpoint_key: Some("ab".repeat(32)) }),
        2 => member().prop_map(|node| Command::SetController { node, checkpoint_key: None }),
        1 => (0u32..7).prop_map(|wanted| Command::SetVoters { wanted }),
        3 => (member(), metadata(), prop::collection::btree_set(key(), 0..2))
            .prop_map(|(node, set, unset)| Command::SetMetadata { node, set, unset }),
        2 => (role(), few_names("u"), few_names("n"))
            .prop_map(|(name, units, nodes)| Command::SetRole { name, units, nodes }),
    ]
}

fn key() -> impl Strategy<Value = acp_base::Name> {
    prop::sample::select(vec!["zone", "rack", "ssd"]).prop_map(name)
}

/// Mostly what can be; sometimes a text that is too long or steers a terminal, or more values than there can be.
fn metadata() -> impl Strategy<Value = Metadata> {
    let value = prop_oneof![
        3 => any::<bool>().prop_map(MetaValue::Flag),
        3 => any::<i64>().prop_map(MetaValue::Number),
        6 => "[a-z\"12]{0,3}".prop_map(MetaValue::Text),
        1 => (255usize..258).prop_map(|length| MetaValue::Text("x".repeat(length))),
        1 => Just(MetaValue::Text("\u{7}".to_owned())),
    ];
    let few = prop::collection::btree_map(key(), value, 0..3);
    let many =
        (30u16..36).prop_map(|count| (0..count).map(|at| (name(&format!("k{at}")), MetaValue::Flag(true))).collect());
    prop_oneof![9 => few, 1 => many].prop_map(Metadata)
}

/// Mostly no time passes; sometimes an hour, or as long as certificates count.
fn passing() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..1_000, 2 => Just(HOUR), 1 => Just(limits::CERTIFICATE_LIFETIME_MAX_MS + limits::CLOCK_SLACK_MS)]
}

fn history() -> impl Strategy<Value = Vec<(Command, u64)>> {
    let rest = prop::collection::vec((command(), passing()), 0..60);
    (prop::bool::weighted(0.9), rest)
        .prop_map(|(begins, rest)| begins.then(|| (init(node(1)), 0)).into_iter().chain(rest).collect())
}

fn without_revision(directory: Option<Directory>) -> Option<Directory> {
    directory.map(|directory| Directory { revision: 0, ..directory })
}

/// What a plan says and what then happens are the same.
fn agrees(state: &State, command: &Command, now_ms: u64, result: &Result<Outcome, acp_core_membership::Rejection>) {
    let Command::Join { token, node } = command else { return };
    match state.plan_join(token, node, now_ms) {
        Err(rejection) => assert_eq!(result.as_ref(), Err(&rejection)),
        Ok(plan) => {
            assert_eq!(result.as_ref().err(), plan.clashes.first());
            let is_member = state.members().get(&node.uid).is_some_and(|member| member.key == node.key);
            assert_eq!(plan.again, is_member);
        }
    }
}

fn uses(state: &State, now_ms: u64) -> u64 {
    state.tokens(now_ms).iter().map(|token| u64::from(token.uses_left)).sum()
}

fn look(
    before: &State,
    after: &State,
    command: &Command,
    now_ms: u64,
    result: &Result<Outcome, acp_core_membership::Rejection>,
) {
    assert_eq!(after.verify(), Ok(()));
    let is_changed = matches!(result, Ok(Outcome::Changed));
    assert_eq!(is_changed, before != after, "{result:?}");
    assert_eq!(after.changes(), before.changes() + u64::from(is_changed), "every change is counted");
    let written = serde_json::to_value(command).expect("JSON");
    assert_eq!(serde_json::from_value::<Command>(written).expect("it reads back"), *command);
    let told = without_revision(before.directory()) != without_revision(after.directory());
    assert_eq!(after.revision(), before.revision() + u64::from(told), "the revision counts changes of the directory");
    if matches!(command, Command::Join { .. }) {
        let came = after.members().len() - before.members().len();
        let came = u64::try_from(came).expect("a small number");
        assert_eq!(uses(before, now_ms) - uses(after, now_ms), came, "each node that comes uses a token once");
    }
    let text = serde_json::to_string(after).expect("JSON");
    assert_eq!(serde_json::from_str::<State>(&text).expect("it reads back"), *after);
}

proptest! {
    #[test]
    fn every_invariant_holds_after_every_command(history in history()) {
        let (mut state, mut now_ms, mut gone) = (State::default(), NOW, BTreeSet::<Uid>::new());
        for (command, passed) in history {
            now_ms += passed;
            let before = state.clone();
            let result = state.apply(command.clone(), now_ms);
            prop_assert_eq!(before.clone().apply(command.clone(), now_ms), result.clone(), "the same again");
            look(&before, &state, &command, now_ms, &result);
            agrees(&before, &command, now_ms, &result);
            gone.extend(before.members().keys().filter(|node| !state.members().contains_key(node)));
            if matches!(command, Command::Rejoin { .. }) {
                gone.retain(|node| !state.members().contains_key(node));
            }
            prop_assert!(state.members().keys().all(|node| !gone.contains(node)), "a node came back");
        }
    }

    #[test]
    fn asking_twice_is_asking_once(history in history(), last in command()) {
        let mut state = State::default();
        for (command, _passed) in history {
            drop(state.apply(command, NOW));
        }
        let is_repeatable = matches!(last, Command::Init { .. } | Command::Join { .. } | Command::Leave { .. } | Command::Prune);
        if is_repeatable && state.apply(last.clone(), NOW).is_ok() {
            prop_assert_eq!(state.apply(last, NOW), Ok(Outcome::Unchanged));
        }
    }
}
