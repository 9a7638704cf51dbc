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
    /// Whether the reply shall say who answered and how long that took.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trace: bool,
}

/// Who answered a call and how long that took, under a reply's top-level key `acp.trace` when the call asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace<'a> {
    /// The node's name.
    pub node: Cow<'a, str>,
    /// The daemon's noun, like `cluster`.
    pub service: Cow<'a, str>,
    /// From the call being read to this reply being written, in microseconds.
    pub took_us: u64,
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
    /// Who answered, if the call asked.
    #[serde(rename = "acp.trace", skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace<'a>>,
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

impl IncomingCall {
    /// Reads a message, its end not included.
    ///
    /// # Errors
    /// What is wrong and where, in at most [`REASON_BYTES_MAX`] bytes.
    pub fn decode(message: &[u8]) -> Result<Self, String> {
        let raw: RawCall<'_> = read(message)?;
        Ok(Self {
            method: raw.method.into_owned(),
            parameters: raw.parameters.map(ToOwned::to_owned),
            more: raw.more.unwrap_or_default(),
            oneway: raw.oneway.unwrap_or_default(),
            upgrade: raw.upgrade.unwrap_or_default(),
            context: raw.context.unwrap_or_default(),
        })
    }
}

/// How long the reason may be why a message cannot be read, in bytes: a reader's error repeats the values it met.
pub const REASON_BYTES_MAX: usize = 512;

/// A reason shortened to what may be repeated to a caller and in a log.
pub fn shorten(mut reason: String) -> String {
    const CUT: &str = "...";
    if reason.len() > REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX - CUT.len()));
        reason.push_str(CUT);
    }
    reason
}

fn read<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, String> {
    // A list would pass for a struct's fields in their order, which no message is.
    let mut json = serde_json::Deserializer::from_slice(message);
    if message.trim_ascii_start().first() != Some(&b'{') {
        return Err("a message has to be a JSON object".to_owned());
    }
    let read = T::deserialize(&mut json).and_then(|read| json.end().map(|()| read));
    read.map_err(|error| shorten(error.to_string()))
}

#[derive(Debug, Deserialize)]
struct RawCall<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    more: Option<bool>,
    #[serde(default)]
    oneway: Option<bool>,
    #[serde(default)]
    upgrade: Option<bool>,
    #[serde(default, rename = "acp.ctx")]
    context: Option<CallContext>,
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
    /// Who answered, if the call asked.
    pub trace: Option<Trace<'static>>,
}

impl IncomingReply {
    /// Reads a message, its end not included.
    ///
    /// # Errors
    /// What is wrong and where, in at most [`REASON_BYTES_MAX`] bytes.
    pub fn decode(message: &[u8]) -> Result<Self, String> {
        let raw: RawReply<'_> = read(message)?;
        Ok(Self {
            error: raw.error.map(Cow::into_owned),
            parameters: raw.parameters.map(ToOwned::to_owned),
            continues: raw.continues.unwrap_or_default(),
            trace: raw.trace,
        })
    }
}

#[derive(Debug, Deserialize)]
struct RawReply<'a> {
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    continues: Option<bool>,
    #[serde(default, rename = "acp.trace")]
    trace: Option<Trace<'static>>,
}
