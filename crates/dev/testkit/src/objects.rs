//! What systems need on a node, made as far as it lacks it: a pool, a network for guests, the demo image.
//!
//! Deliberately not here: systems themselves. **Invariant**: what is there is looked at and left alone.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{Layout, node, varlink};

/// The address of the network for guests.
const GUESTS_ADDRESS: &str = "10.77.0.1/24";

/// A thing that systems need, with the words for `acpctl` that make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed<'a> {
    /// Its kind, as `acpctl` has it.
    pub kind: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What makes it.
    pub create: Vec<&'a str>,
}

/// Pool and network `default` and the image `demo` from this file.
pub fn needed(image: &str) -> [Needed<'_>; 3] {
    [
        Needed { kind: "pool", name: "default", create: vec!["pool", "create", "default"] },
        Needed {
            kind: "network",
            name: "default",
            create: vec!["network", "create", "default", "--address", GUESTS_ADDRESS],
        },
        Needed { kind: "image", name: "demo", create: vec!["image", "import", "demo", image, "--wait"] },
    ]
}

/// Kinds whose objects belong to a node each: another node may have one of the same name.
const OF_A_NODE: [&str; 3] = ["pool", "network", "image"];

/// The object of this kind and name as `acpctl` lists it; of a node's own kinds, this node's.
pub fn find(layout: &Layout, kind: &str, name: &str) -> Result<Option<Value>> {
    let listed = node::run(layout, &["-o", "json", kind, "list"])?;
    let all: Vec<Value> =
        serde_json::from_str(&listed).with_context(|| format!("`acpctl {kind} list` printed {listed:?}"))?;
    let mut named = all.into_iter().filter(|object| object["name"] == name).peekable();
    if named.peek().is_none() || !OF_A_NODE.contains(&kind) {
        return Ok(named.next());
    }
    let own = varlink::call(&layout.socket("cluster"), "acp.cluster.GetStatus", json!({}))?["node"].take();
    Ok(named.find(|object| object["spec"]["node"] == own))
}

/// Runs the creating command unless the object is there; answers whether it ran.
pub fn ensure(layout: &Layout, kind: &str, name: &str, create: &[&str]) -> Result<bool> {
    let lacks = find(layout, kind, name)?.is_none();
    if lacks {
        node::run(layout, create)?;
    }
    Ok(lacks)
}

/// Gives a node what systems need; answers whether it lacked anything.
pub fn equip(layout: &Layout, image: &str) -> Result<bool> {
    needed(image).iter().try_fold(false, |made, one| Ok(ensure(layout, one.kind, one.name, &one.create)? || made))
}

/// Whether a node has what systems need.
pub fn is_equipped(layout: &Layout) -> Result<bool> {
    needed("").iter().try_fold(true, |all, one| Ok(all && find(layout, one.kind, one.name)?.is_some()))
}
