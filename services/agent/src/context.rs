//! What travels with the opening of a conversation from one agent to another.

use acp_base::{Failure, Uid};
use acp_io_link::{Conversation, Opening};
use acp_wire_api::agent::Hop;
use serde::{Deserialize, Serialize};

/// For whom a conversation is, and on whose behalf.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The node that it is for; a newcomer does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Uid>,
    /// The secret of an API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The request's id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) id: String,
    /// Whether it goes through a node in between, and therefore has the rights of its key alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) relayed: bool,
    /// Whether a member passes it on for somebody who has nothing but a token.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) newcomer: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("node", &self.node).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Context {
    /// The context of an opening.
    pub(crate) fn read(opening: &Opening) -> Result<Self, Failure> {
        let bad = |error| Failure::invalid(format!("the conversation's context cannot be read: {error}"));
        serde_json::from_value(opening.context.clone()).map_err(bad)
    }

    /// The opening of a conversation with this service.
    pub(crate) fn opening(&self, service: &str, instance: Option<&str>) -> Opening {
        Opening {
            service: service.to_owned(),
            instance: instance.map(str::to_owned),
            context: serde_json::to_value(self).expect("a context is JSON"),
        }
    }
}

/// What the agent that takes a conversation says of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The way from there on, in order.
    #[serde(default)]
    pub(crate) hops: Vec<Hop>,
}

impl Answer {
    /// What was said of this conversation. One that says nothing, or something else, is only not traced.
    pub(crate) fn of(conversation: &Conversation) -> Self {
        serde_json::from_value(conversation.answer().clone()).unwrap_or_default()
    }
}

/// A step of the way.
pub(crate) fn hop(node: impl ToString, service: &str, how: &str, since: std::time::Instant) -> Hop {
    let took_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    Hop { node: node.to_string(), service: service.to_owned(), how: how.to_owned(), took_us }
}
