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

use crate::{limits::TEXT_BYTES_MAX, refusal::Refusal, spec::Spec, state::State};

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
pub(crate) fn admit(state: &State, subject: Subject<'_>, spec: Spec) -> Result<Spec, Refusal> {
    match spec {
        Spec::Node(spec) => node(spec).map(Spec::Node),
        Spec::System(spec) => system::admit(state, subject, spec).map(Spec::System),
        Spec::Network(spec) => network::admit(state, subject, spec).map(Spec::Network),
        Spec::Pool(spec) => pool::admit(state, subject, spec).map(Spec::Pool),
        Spec::Image(spec) => image::admit(state, subject, spec).map(Spec::Image),
    }
}

/// Refuses the end of an object that others need.
pub(crate) fn release(state: &State, kind: Kind, name: &Name) -> Result<(), Refusal> {
    let users: Vec<Uid> = state.claims().users(kind, name).collect();
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

fn node(spec: NodeSpec) -> Result<NodeSpec, Refusal> {
    text("description", &spec.description)?;
    Ok(spec)
}

fn text(field: &str, text: &str) -> Result<(), Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        let found = text.len();
        return Err(Refusal::invalid(format!("{field} has {found} bytes; at most {TEXT_BYTES_MAX} are kept")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::invalid(format!("{field} holds control characters")));
    }
    Ok(())
}
