//! The shapes of calls and replies.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What travels beside a call's parameters, under the top-level key `acp.ctx` that other Varlink peers ignore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallContext {
    /// The request's id, the same at every hop and in every log line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// How long the caller still waits, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

/// A call as it is sent.
#[derive(Debug, Serialize)]
pub struct OutgoingCall<'a, P> {
    /// The full method name.
    pub method: &'a str,
    /// The request.
    pub parameters: &'a P,
    /// Whether more than one reply is wanted.
    #[serde(skip_serializing_if = "is_false")]
    pub more: bool,
    /// Whether the connection shall carry raw bytes after the reply.
    #[serde(skip_serializing_if = "is_false")]
    pub upgrade: bool,
    /// The context.
    #[serde(rename = "acp.ctx", skip_serializing_if = "Option::is_none")]
    pub context: Option<CallContext>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A reply as it is sent.
#[derive(Debug, Serialize)]
pub struct OutgoingReply<'a, P> {
    /// The error's full name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
    /// The reply, or what the error carries.
    pub parameters: &'a P,
    /// Whether more replies follow.
    #[serde(skip_serializing_if = "is_false")]
    pub continues: bool,
}

/// A call as it was received; its parameters are read once the method is known.
#[derive(Debug)]
pub struct IncomingCall {
    /// The full method name.
    pub method: String,
    /// The parameters as they came; absent: none.
    pub parameters: Option<Box<RawValue>>,
    /// Whether the caller takes more than one reply.
    pub more: bool,
    /// Whether the caller takes no reply at all.
    pub oneway: bool,
    /// Whether the caller wants raw bytes after the reply.
    pub upgrade: bool,
    /// The context, if it is one of ours.
    pub context: CallContext,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RawCall<'a> {
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) parameters: Option<&'a RawValue>,
    #[serde(default, rename = "acp.ctx")]
    pub(crate) context: Option<CallContext>,
}

/// A reply as it was received.
#[derive(Debug)]
pub struct IncomingReply {
    /// The error's full name; absent: success.
    pub error: Option<String>,
    /// The parameters as they came; absent: none.
    pub parameters: Option<Box<RawValue>>,
    /// Whether more replies follow.
    pub continues: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RawReply<'a> {
    #[serde(borrow, default)]
    pub(crate) error: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) parameters: Option<&'a RawValue>,
    #[serde(default)]
    pub(crate) continues: bool,
}
