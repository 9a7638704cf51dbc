//! What is told of a call to those who want to know the way it took.

use std::{fmt, sync::Arc, time::Duration};

use acp_io_varlink::Trace;
use acp_wire_api::{Method, agent::Hop};

use crate::{Conversation, service::Begun};

/// A call that was answered, and the way it took.
#[derive(Clone, Debug, PartialEq)]
pub struct CallTrace {
    /// The method's full name.
    pub method: &'static str,
    /// The steps to the service, in order; empty: straight to its socket on this node.
    pub way: Vec<Hop>,
    /// Whether the conversation stood before the call: then the steps were those of an earlier one.
    pub is_reused: bool,
    /// Who answered and how long that took, as it says itself; absent from a service that says nothing about it.
    pub answered: Option<Trace<'static>>,
    /// From the call being made to its answer, or to the first of several.
    pub total: Duration,
}

impl CallTrace {
    /// The trace of the call whose reply came last.
    pub(crate) fn of<M: Method>(begun: Begun, conversation: &mut Conversation, is_reused: bool) -> Self {
        Self {
            method: M::NAME,
            way: conversation.way.clone().unwrap_or_default(),
            is_reused,
            answered: conversation.trace.take(),
            total: begun.started.elapsed(),
        }
    }
}

/// Where traces go.
#[derive(Clone)]
pub(crate) struct Sink(Arc<dyn Fn(CallTrace) + Send + Sync>);

impl Sink {
    pub(crate) fn new(sink: impl Fn(CallTrace) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    pub(crate) fn tell(&self, trace: CallTrace) {
        (self.0)(trace);
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
