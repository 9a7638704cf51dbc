//! The one nftables table of ACP.

use std::collections::BTreeMap;

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

/// What a table consists of: its objects without the kernel's handles, by kind and chain, each in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableContent(BTreeMap<(String, String), Vec<Value>>);

impl TableContent {
    /// What the table holds after a document of [`nft_document`] was read.
    pub fn of_document(document: &Value) -> Self {
        let mut content = Self::default();
        for command in commands(document) {
            if command.get("delete").is_some() {
                content = Self::default();
            } else if let Some(added) = command.get("add") {
                content.push(added);
            }
        }
        content
    }

    /// What the table holds according to `nft -j list table`.
    pub fn of_listing(listing: &Value) -> Self {
        let mut content = Self::default();
        commands(listing).filter(|object| object.get("metainfo").is_none()).for_each(|object| content.push(object));
        content
    }

    /// Whether both have as many objects of each kind in each chain. Another version of nft may write one and the same
    /// object in other words.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|(key, objects)| other.0.get(key).is_some_and(|others| others.len() == objects.len()))
    }

    fn push(&mut self, object: &Value) {
        for (kind, body) in object.as_object().into_iter().flatten() {
            let mut body = body.clone();
            if let Some(fields) = body.as_object_mut() {
                fields.remove("handle");
            }
            let chain = body.get("chain").and_then(Value::as_str).unwrap_or_default().to_owned();
            self.0.entry((kind.clone(), chain)).or_default().push(body);
        }
    }
}

fn commands(text: &Value) -> impl Iterator<Item = &Value> {
    text.get("nftables").and_then(Value::as_array).into_iter().flatten()
}
