//! Which members are asked for: a filter that was checked, and for whom it holds.

use acp_base::{Code, Name};
use acp_wire_api::{
    cluster::SelectorOp,
    hub::{Directory, MetaCondition, MetaValue, NodeFilter, NodePresence},
    routing::placement,
};

use crate::{
    limits::{CONDITIONS_MAX, METADATA_TEXT_MAX},
    roles,
};

/// Why a filter is not used: it is the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No role has the name.
    #[error("there is no role {role}: see the list of roles")]
    NoRole {
        /// The name.
        role: Name,
    },
    /// Where the unit runs is not known.
    #[error("{service} is no service of ACP's, and no role names it: where it runs is not known")]
    NoService {
        /// The name.
        service: Name,
    },
    /// More conditions than are taken at once.
    #[error("{given} conditions on metadata; at most {CONDITIONS_MAX} are taken")]
    ConditionsMany {
        /// How many were given.
        given: usize,
    },
    /// Nothing can be equal.
    #[error(
        "{key} is compared to a text of {bytes} bytes, and one of a node's metadata has at most {METADATA_TEXT_MAX}"
    )]
    Long {
        /// The value's name.
        key: Name,
        /// The text's length.
        bytes: usize,
    },
}

impl FilterError {
    /// What kind of failure it is for whoever asked.
    pub const fn code(&self) -> Code {
        match self {
            Self::NoRole { .. } => Code::NotFound,
            Self::NoService { .. } | Self::ConditionsMany { .. } | Self::Long { .. } => Code::InvalidArgument,
        }
    }
}

/// A filter that can be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter(NodeFilter);

impl Filter {
    /// Checks what is asked for.
    ///
    /// # Errors
    /// The first reason for which it makes no sense.
    pub fn new(asked: NodeFilter, directory: &Directory) -> Result<Self, FilterError> {
        if let Some(role) = asked.role.as_ref().filter(|role| directory.roles.iter().all(|known| known.name != **role))
        {
            return Err(FilterError::NoRole { role: role.clone() });
        }
        let is_named = |unit: &Name| directory.roles.iter().any(|role| role.units.contains(unit));
        let is_known = |unit: &Name| placement(unit.as_str()).is_some() || is_named(unit);
        if let Some(service) = asked.service.as_ref().filter(|unit| !is_known(unit)) {
            return Err(FilterError::NoService { service: service.clone() });
        }
        if asked.metadata.len() > CONDITIONS_MAX {
            return Err(FilterError::ConditionsMany { given: asked.metadata.len() });
        }
        asked.metadata.iter().try_for_each(check)?;
        Ok(Self(asked))
    }

    /// Whether everything that was asked for holds for a member.
    pub fn holds(&self, node: &NodePresence, directory: &Directory) -> bool {
        let NodeFilter { online, controller, parked, role, service, metadata } = &self.0;
        let is = |wanted: &Option<bool>, value: bool| wanted.is_none_or(|wanted| wanted == value);
        is(online, node.online)
            && is(controller, node.node.controller)
            && is(parked, node.node.parked)
            && role.as_ref().is_none_or(|role| node.node.roles.contains(role))
            && service.as_ref().is_none_or(|unit| roles::runs(directory, &node.node.name, unit))
            && metadata.iter().all(|condition| meets(node, condition))
    }
}

fn check(condition: &MetaCondition) -> Result<(), FilterError> {
    match &condition.value {
        MetaValue::Text(text) if text.len() > METADATA_TEXT_MAX => {
            Err(FilterError::Long { key: condition.name.clone(), bytes: text.len() })
        }
        MetaValue::Flag(_) | MetaValue::Number(_) | MetaValue::Text(_) => Ok(()),
    }
}

fn meets(node: &NodePresence, condition: &MetaCondition) -> bool {
    let is_equal = node.node.metadata.0.get(&condition.name) == Some(&condition.value);
    is_equal == (condition.op == SelectorOp::Eq)
}
