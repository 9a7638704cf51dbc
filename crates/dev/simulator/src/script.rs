//! What is asked of the cluster: members, systems that move from node to node, voters; and entries of every kind, many of which apply
//! refuses.

use std::net::SocketAddr;

use acp_base::{EpochId, Uid};
use acp_core_membership::{Command, Digest, NewNode, NewToken};
use acp_wire_model::{Kind, entry::Action};
use serde_json::json;

use crate::{
    dice::Dice,
    node::{NODES, name_of, uid_of},
};

/// Floating systems.
pub(crate) const SYSTEMS: u64 = 4;
/// The secret of the token with which all have joined.
const TOKEN: &[u8] = b"token";

pub(crate) fn system(number: u64) -> Uid {
    Uid::from_u128(1_000 + u128::from(number))
}

fn newcomer(node: usize) -> NewNode {
    let port = 9_000 + u16::try_from(node).unwrap_or_default();
    NewNode {
        uid: uid_of(node),
        name: name_of(node).parse().expect("a name"),
        address: SocketAddr::from(([10, 0, 0, 1], port)),
        key: Digest::of(&[u8::try_from(node).unwrap_or_default()]),
        root_key: None,
        systems: Vec::new(),
    }
}

pub(crate) fn membership(command: &Command) -> Action {
    Action::Membership { command: serde_json::to_value(command).expect("a command is JSON") }
}

/// What makes the cluster: seven members, and systems that may run on any of them.
pub(crate) fn beginning() -> Vec<Action> {
    let cluster = Uid::from_u128(1 << 64);
    let name = name_of(0).parse().expect("a name");
    let mut actions = vec![Action::Genesis { cluster, node: uid_of(0), node_name: name }];
    let init = Command::Init {
        cluster,
        name: "simulated".parse().expect("a name"),
        authority: "30".to_owned(),
        node: newcomer(0),
    };
    let token = NewToken {
        uid: Uid::from_u128(2 << 64),
        digest: Digest::of(TOKEN),
        lifetime_ms: 3_600_000,
        uses: 100,
        no_root_key: false,
    };
    actions.extend([membership(&init), membership(&Command::CreateToken(token))]);
    let joins = (1..NODES).map(|node| Command::Join { token: Digest::of(TOKEN), node: newcomer(node) });
    actions.extend(joins.map(|join| membership(&join)));
    actions.extend((0..SYSTEMS).map(|number| Action::Create {
        kind: Kind::System,
        name: format!("s{number}").parse().expect("a name"),
        uid: system(number),
        spec: json!({ "node": name_of(usize::try_from(number).unwrap_or_default() % NODES), "cpus": 1, "memory_bytes": 64 << 20, "floating": true }),
    }));
    actions
}

/// Anything that operators and services ask for.
pub(crate) fn anything(dice: &mut Dice, epoch: EpochId) -> Action {
    let node = dice.node();
    let (kind, number) = (Kind::Network, dice.roll(8));
    let network = Uid::from_u128(3 << 64 | u128::from(number));
    match dice.roll(10) {
        0..=2 => {
            let patch = json!({ "node": name_of(node) });
            let uid = system(dice.roll(SYSTEMS));
            Action::Update { kind: Kind::System, uid, patch, if_version: None }
        }
        3 | 4 => Action::Create {
            kind,
            name: format!("net{number}").parse().expect("a name"),
            uid: Uid::from_u128(3 << 64 | u128::from(dice.roll(1 << 40)) << 8 | u128::from(number)),
            spec: json!({ "node": name_of(node), "address": format!("10.{number}.0.1/24") }),
        },
        5 => Action::Delete { kind, uid: network },
        6 => membership(&Command::Park { node: uid_of(node) }),
        7 => membership(&Command::Unpark { node: uid_of(node) }),
        8 => membership(&Command::SetVoters { wanted: if dice.once_in(3) { 3 } else { 5 } }),
        _ => {
            let id = Uid::from_u128(4 << 64 | u128::from(dice.roll(1 << 60)));
            Action::Horizon { epoch: EpochId { number: epoch.number + 1, id }, reason: "horizon".to_owned() }
        }
    }
}
