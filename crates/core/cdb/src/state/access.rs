//! Who may have what ordered.

use acp_base::{Code, Name, Uid};
use acp_wire_model::{
    Kind,
    entry::{Action, FEATURE_LEVEL},
};
use serde_json::Value;

use super::{State, read_command};
use crate::{refusal::Refusal, spec::is_local};

impl State {
    /// Whether a node may have this ordered: its own objects can be declared, changed and ended by any node, everything else by
    /// controllers, who answer for what they have authorised. What no replica of this version could apply nobody may order.
    ///
    /// # Errors
    /// `PermissionDenied`, or `InvalidArgument` for what cannot be ordered by anybody.
    pub fn may_propose(&self, node: Uid, action: &Action) -> Result<(), Refusal> {
        orderable(action)?;
        self.may_occur(action)?;
        if self.is_controller(node) {
            return Ok(());
        }
        let Ok(name) = self.node_of(node).map(|record| &record.name) else {
            return Err(denied(format!("node {node} is no member of this cluster")));
        };
        let is_own = match action {
            Action::Create { kind, spec, .. } => *kind != Kind::Node && is_at(spec, name),
            Action::Update { kind, uid, patch, .. } => self.is_own(*kind, *uid, node, name)? && stays_at(patch, name),
            Action::Delete { kind, uid } => *kind != Kind::Node && self.is_own(*kind, *uid, node, name)?,
            _ => return Err(denied(format!("node {name} is no controller: it orders nothing but its own objects"))),
        };
        if is_own { Ok(()) } else { Err(denied(format!("node {name} is no controller, and this is not on it"))) }
    }

    /// Whether the node runs the control plane: one that is alone does.
    pub fn is_controller(&self, node: Uid) -> bool {
        match self.members.founded() {
            Some(_) => self.members.members().get(&node).is_some_and(|member| member.controller),
            None => self.identity.as_ref().is_none_or(|identity| identity.node == node),
        }
    }

    fn is_own(&self, kind: Kind, uid: Uid, node: Uid, name: &Name) -> Result<bool, Refusal> {
        let record = self.living(kind, uid)?;
        Ok(if kind == Kind::Node { uid == node } else { record.spec.node() == Some(name) })
    }
}

/// What every replica of this version can read.
fn orderable(action: &Action) -> Result<(), Refusal> {
    match action {
        Action::Membership { command } => match read_command(0, command) {
            Ok(_) => Ok(()),
            Err(stall) => Err(Refusal::invalid(stall.to_string())),
        },
        Action::FeatureLevel { level } if *level > FEATURE_LEVEL => Err(Refusal::invalid(format!(
            "level {level} is unknown to this version, which knows {FEATURE_LEVEL}: upgrade ACP on every node first"
        ))),
        Action::Create { kind, .. } if is_local(*kind) || kind.is_declared() => Ok(()),
        _ => Ok(()),
    }
}

fn is_at(spec: &Value, node: &Name) -> bool {
    spec.get("node").and_then(Value::as_str) == Some(node.as_str())
}

fn stays_at(patch: &Value, node: &Name) -> bool {
    patch.get("node").is_none_or(|wanted| wanted.as_str() == Some(node.as_str()))
}

fn denied(message: String) -> Refusal {
    Refusal::new(Code::PermissionDenied, message)
}
