//! Nodes, secrets and clusters to play with.

use std::net::SocketAddr;

use acp_base::{Name, Uid};
use acp_core_membership::{Command, Digest, NewKey, NewNode, NewToken, Outcome, Rejection, RootKey, State};
use acp_wire_api::Scope;

/// When everything begins, in milliseconds since the Unix epoch.
pub(crate) const NOW: u64 = 1_800_000_000_000;
pub(crate) const HOUR: u64 = 3_600_000;

pub(crate) fn uid(number: u128) -> Uid {
    Uid::from_u128(number)
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a valid name")
}

pub(crate) fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 9_000 + number))
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// An id for a short text.
fn number(text: &str) -> u128 {
    text.bytes().fold(0, |number, byte| number << 8 | u128::from(byte))
}

/// Node `n<number>` with all that is its own.
pub(crate) fn node(number: u16) -> NewNode {
    NewNode {
        uid: uid(u128::from(number)),
        name: name(&format!("n{number}")),
        address: address(number),
        key: digest(&format!("key of n{number}")),
        root_key: None,
        systems: Vec::new(),
    }
}

pub(crate) fn with_root_key(number: u16, secret: &str) -> NewNode {
    let root_key = RootKey { uid: uid(0x100 + u128::from(number)), digest: digest(secret) };
    NewNode { root_key: Some(root_key), ..node(number) }
}

pub(crate) fn init(node: NewNode) -> Command {
    Command::Init { cluster: uid(0xc1), name: name("prod"), authority: "30".to_owned(), node }
}

pub(crate) fn join(token: &str, node: NewNode) -> Command {
    Command::Join { token: digest(token), node }
}

pub(crate) fn token(secret: &str, lifetime_ms: u64, uses: u32) -> Command {
    let uid = uid(number(secret));
    Command::CreateToken(NewToken { uid, digest: digest(secret), lifetime_ms, uses, no_root_key: false })
}

pub(crate) fn key(text: &str, secret: &str) -> Command {
    Command::CreateKey(NewKey {
        uid: uid(number(text)),
        name: name(text),
        digest: digest(secret),
        scope: Scope::Operate,
        lifetime_ms: None,
    })
}

/// A cluster of n1, and a token `t` that admits ten.
pub(crate) fn cluster() -> State {
    let mut state = State::default();
    done(&mut state, init(node(1)));
    done(&mut state, token("t", HOUR, 10));
    state
}

/// Carries a command out that nothing stands against, and says whether it changed anything.
pub(crate) fn done(state: &mut State, command: Command) -> Outcome {
    let outcome = state.apply(command.clone(), NOW).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert_eq!(state.verify(), Ok(()), "after {command:?}");
    outcome
}

/// Why a command is not carried out; nothing may have changed.
pub(crate) fn refused(state: &mut State, command: Command) -> Rejection {
    refused_at(state, command, NOW)
}

pub(crate) fn refused_at(state: &mut State, command: Command, now_ms: u64) -> Rejection {
    let before = state.clone();
    let rejection = state.apply(command.clone(), now_ms).expect_err(&format!("{command:?} was carried out"));
    assert_eq!(*state, before, "{command:?} was rejected and has changed something");
    rejection
}
