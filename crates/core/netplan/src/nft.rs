//! The one nftables table of ACP.

use serde_json::{Value, json};

use crate::desired::{Desired, DesiredNetwork};

/// The table's family: both IP versions, so that it can grow.
pub const TABLE_FAMILY: &str = "inet";

/// The table's name.
pub const TABLE_NAME: &str = "acp";

/// The document that, read by `nft -j -f -`, replaces ACP's table as a whole in one transaction: added in case it is not
/// there, deleted, added anew. Without networks the table is gone afterwards. No other table is named.
///
/// `postrouting` hides what guests of a NAT network send to other links behind the node's address. `forward` lets guests'
/// packets pass and leaves everything else to other tables; note that a `drop` in another table's chain still holds.
pub fn nft_document(desired: &Desired) -> Value {
    let table = || json!({ "table": { "family": TABLE_FAMILY, "name": TABLE_NAME } });
    let mut commands = vec![
        json!({ "metainfo": { "json_schema_version": 1 } }),
        json!({ "add": table() }),
        json!({ "delete": table() }),
    ];
    if !desired.networks.is_empty() {
        commands.push(json!({ "add": table() }));
        commands.push(chain("postrouting", "nat", 100));
        commands.push(chain("forward", "filter", 0));
        commands.extend(desired.networks.values().filter(|network| network.nat).map(masquerade));
        commands
            .extend(desired.networks.values().flat_map(|network| [pass(network, "iifname"), pass(network, "oifname")]));
    }
    json!({ "nftables": commands })
}

fn chain(hook: &str, kind: &str, priority: i32) -> Value {
    json!({ "add": { "chain": {
        "family": TABLE_FAMILY, "table": TABLE_NAME, "name": hook,
        "type": kind, "hook": hook, "prio": priority, "policy": "accept",
    } } })
}

fn rule(chain: &str, network: &DesiredNetwork, expressions: Value) -> Value {
    json!({ "add": { "rule": {
        "family": TABLE_FAMILY, "table": TABLE_NAME, "chain": chain,
        "comment": format!("network {}", network.name), "expr": expressions,
    } } })
}

fn meta(operator: &str, key: &str, link: &str) -> Value {
    json!({ "match": { "op": operator, "left": { "meta": { "key": key } }, "right": link } })
}

fn masquerade(network: &DesiredNetwork) -> Value {
    let subnet =
        json!({ "prefix": { "addr": network.address.network().to_string(), "len": network.address.prefix() } });
    let source = json!({ "payload": { "protocol": "ip", "field": "saddr" } });
    let from_guests = json!({ "match": { "op": "==", "left": source, "right": subnet } });
    rule("postrouting", network, json!([from_guests, meta("!=", "oifname", &network.link), { "masquerade": null }]))
}

fn pass(network: &DesiredNetwork, key: &str) -> Value {
    rule("forward", network, json!([meta("==", key, &network.link), { "accept": null }]))
}
