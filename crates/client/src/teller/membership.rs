//! Commands of the membership in words.

use acp_base::Uid;
use serde_json::Value;

/// What a command of the membership does, like `admitted node n4`. Nodes that it names by id alone stand there by id:
/// [`node_named`]. One that this version does not know is told by its type.
pub fn in_words(command: &Value) -> String {
    let at = |pointer: &str| command.pointer(pointer).map_or_else(|| "?".to_owned(), plain);
    let newcomer = || format!("node {} at {}", at("/node/name"), at("/node/address"));
    let node = || format!("node {}", at("/node"));
    match command["type"].as_str().unwrap_or_default() {
        "init" => format!("made cluster {} with {}", at("/name"), newcomer()),
        "join" => format!("admitted {} by token", newcomer()),
        "rejoin" => format!("took {} back", newcomer()),
        "ask" => format!("noted request {}: {} asks to join", at("/request"), newcomer()),
        "approve" => format!("approved request {}", at("/request")),
        "reject" => format!("rejected request {}", at("/request")),
        "rename" => format!("renamed {} to {}", node(), at("/to")),
        "readdress" => format!("moved {} to {}", node(), at("/address")),
        "assign_domain" => format!("assigned {} to domain {}", node(), at("/domain")),
        "park" => format!("parked {}", node()),
        "unpark" => format!("expects {} again", node()),
        "leave" => format!("let {} leave", node()),
        "remove" => format!("removed node {}", at("/name")),
        "set_controller" if command["checkpoint_key"].is_null() => format!("took the control plane from {}", node()),
        "set_controller" => format!("made {} a controller", node()),
        "set_voters" => format!("asked for {} voters", at("/wanted")),
        "set_role" => role(command, &at("/name")),
        "set_metadata" => metadata(command, &node()),
        "create_token" => format!("made token {}", at("/uid")),
        "revoke_token" => format!("ended token {}", at("/uid")),
        "create_key" => format!("made key {} of scope {}", at("/name"), at("/scope")),
        "revoke_key" => format!("ended key {}", at("/name")),
        "prune" => "forgot what had ended by itself".to_owned(),
        "" => "changed the membership".to_owned(),
        other => format!("changed the membership: {}", other.replace('_', " ")),
    }
}

/// The node that the command names by id alone.
pub(super) fn node_named(command: &Value) -> Option<Uid> {
    command["node"].as_str()?.parse().ok()
}

/// The name that the command gives to a node.
pub(super) fn name_given(command: &Value) -> Option<&str> {
    if command["type"] == "rename" { command["to"].as_str() } else { None }
}

fn role(command: &Value, name: &str) -> String {
    let list = |key: &str| {
        let names = command[key].as_array()?.iter().map(plain).collect::<Vec<_>>();
        Some(format!("{key} {}", if names.is_empty() { "none".to_owned() } else { names.join(",") }))
    };
    let parts: Vec<_> = ["units", "nodes"].into_iter().filter_map(list).collect();
    format!("set role {name}: {}", parts.join(", "))
}

/// Values as they are in JSON: a text that looks like a number is none.
fn metadata(command: &Value, node: &str) -> String {
    let set = command["set"].as_object().into_iter().flatten().map(|(key, value)| format!("set {key}={value}"));
    let unset = command["unset"].as_array().into_iter().flatten().map(|key| format!("unset {}", plain(key)));
    format!("noted of {node}: {}", set.chain(unset).collect::<Vec<_>>().join(", "))
}

/// Text of others must not steer a terminal.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_are_told_by_what_they_do_to_whom() {
        let uid = Uid::from_u128(7);
        let n4 = json!({"name": "n4", "address": "10.0.0.4:9932"});
        for (command, expected) in [
            (
                json!({"type": "join", "token": "00", "node": n4}),
                "admitted node n4 at 10.0.0.4:9932 by token".to_owned(),
            ),
            (json!({"type": "leave", "node": uid}), format!("let node {uid} leave")),
            (json!({"type": "remove", "name": "n2"}), "removed node n2".to_owned()),
            (
                json!({"type": "set_controller", "node": uid, "checkpoint_key": "00"}),
                format!("made node {uid} a controller"),
            ),
            (json!({"type": "set_controller", "node": uid}), format!("took the control plane from node {uid}")),
            (json!({"type": "set_voters", "wanted": 3}), "asked for 3 voters".to_owned()),
            (
                json!({"type": "set_role", "name": "edge", "nodes": [], "units": ["api"]}),
                "set role edge: units api, nodes none".to_owned(),
            ),
            (
                json!({"type": "set_metadata", "node": uid, "set": {"ssd": true, "zone": "a"}, "unset": ["rack"]}),
                format!("noted of node {uid}: set ssd=true, set zone=\"a\", unset rack"),
            ),
            (json!({"type": "of_tomorrow"}), "changed the membership: of tomorrow".to_owned()),
        ] {
            assert_eq!(in_words(&command), expected);
        }
        assert_eq!(node_named(&json!({"type": "leave", "node": uid})), Some(uid));
        assert_eq!(node_named(&json!({"type": "join", "node": {"uid": uid}})), None);
    }
}
