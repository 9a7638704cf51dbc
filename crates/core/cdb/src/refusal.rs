//! Why an entry changed nothing.

use acp_base::{Code, Failure, Name};
use acp_wire_model::Kind;

/// A decision of apply, or of the slots, not to do what was asked. It is the same on every replica; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind of failure for the caller.
    pub code: Code,
    /// What, why and what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    pub(crate) fn exhausted(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, message)
    }

    pub(crate) fn exists(kind: Kind, node: Option<&Name>, name: &Name) -> Self {
        let on = node.map(|node| format!(" on node {node}")).unwrap_or_default();
        Self::new(Code::AlreadyExists, format!("{} named {:?} exists already{on}", with_article(kind), name.as_str()))
    }

    pub(crate) fn not_found(kind: Kind, name: &str) -> Self {
        Self::new(Code::NotFound, format!("no {kind} named {name:?}"))
    }

    /// The same refusal with the place in front: `place: message`.
    #[must_use]
    pub(crate) fn at(mut self, place: impl std::fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl From<acp_core_membership::Rejection> for Refusal {
    fn from(rejection: acp_core_membership::Rejection) -> Self {
        Self::new(rejection.code(), rejection.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

/// The kind with its article: `a system`, `an image`.
pub(crate) fn with_article(kind: Kind) -> String {
    let article = if kind.name().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}
