//! The rules of each kind, decided in apply: what a spec must be, what it may refer to, and what is filled in.
//!
//! **Invariant**: a decision depends on the state and the entry alone, so every replica decides alike.

mod image;
mod network;
mod nics;
mod pool;
mod system;

use acp_base::{Name, Uid};
use acp_wire_model::{Kind, node::NodeSpec};

use crate::{
    limits::TEXT_BYTES_MAX,
    refusal::Refusal,
    spec::{Spec, is_local},
    state::{Record, State},
};

/// Who is to have the spec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Its identity.
    pub(crate) uid: Uid,
    /// Its name.
    pub(crate) name: &'a Name,
    /// The spec it has so far; none if it is new.
    pub(crate) old: Option<&'a Spec>,
}

/// The spec as it shall be, with what was left to apply filled in.
pub(crate) fn admit(state: &State, subject: Subject<'_>, mut spec: Spec) -> Result<Spec, Refusal> {
    place(state, subject, &mut spec)?;
    match spec {
        Spec::Node(spec) => node(spec).map(Spec::Node),
        Spec::System(spec) => system::admit(state, subject, spec).map(Spec::System),
        Spec::Network(spec) => network::admit(state, subject, spec).map(Spec::Network),
        Spec::Pool(spec) => pool::admit(state, subject, spec).map(Spec::Pool),
        Spec::Image(spec) => image::admit(state, subject, spec).map(Spec::Image),
    }
}

/// Refuses the end of an object that others need.
pub(crate) fn release(state: &State, record: &Record) -> Result<(), Refusal> {
    let (kind, name) = (record.kind, &record.name);
    let users: Vec<Uid> = state.claims().users(kind, record.local_node(), name).collect();
    if let Some(first) = users.first() {
        let others = match users.len() - 1 {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let first = state.describe(*first);
        return Err(Refusal::precondition(format!("{kind} {:?} is used by {first}{others}", name.as_str())));
    }
    if kind == Kind::Node && state.count(Kind::Node) == 1 {
        return Err(Refusal::precondition(format!("node {:?} is the cluster's last", name.as_str())));
    }
    Ok(())
}

/// An object is on a node that there is. Entries of the time before clusters name none for networks and images: those are on
/// the first. What is of one node stays there.
fn place(state: &State, subject: Subject<'_>, spec: &mut Spec) -> Result<(), Refusal> {
    if matches!(spec, Spec::Node(_)) {
        return Ok(());
    }
    if spec.node().is_none() {
        let first = state.first_node().ok_or_else(|| Refusal::invalid("node: it is missing"))?;
        spec.set_node(first.clone());
    }
    let node = spec.node().ok_or_else(|| Refusal::invalid("node: it is missing"))?;
    state.require_node(node).map_err(|refusal| refusal.at("node"))?;
    match subject.old {
        Some(old) if is_local(old.kind()) && old.node() != spec.node() => Err(Refusal::precondition(format!(
            "node: {} {:?} cannot go to another node: create another there",
            old.kind(),
            subject.name.as_str()
        ))),
        _ => Ok(()),
    }
}

fn node(spec: NodeSpec) -> Result<NodeSpec, Refusal> {
    text("description", &spec.description)?;
    Ok(spec)
}

pub(crate) fn text(field: &str, text: &str) -> Result<(), Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        let found = text.len();
        return Err(Refusal::invalid(format!("{field} has {found} bytes; at most {TEXT_BYTES_MAX} are kept")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::invalid(format!("{field} holds control characters")));
    }
    Ok(())
}
