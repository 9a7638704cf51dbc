//! What a conversation is opened for.

use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::{LinkError, limits::OPENING_BYTES_MAX};

/// The header that carries it.
pub(crate) const HEADER: &str = "acp-opening";

/// The first thing that is said of a conversation. The link carries it and looks at nothing in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The service that the conversation is with.
    pub service: String,
    /// One instance of the service, if it has several on a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// For whom, until when, on whose behalf: the agents' business, as JSON.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub context: serde_json::Value,
}

impl Opening {
    /// As JSON within the bound.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, LinkError> {
        let bytes = serde_json::to_vec(self).map_err(|_unprintable| LinkError::Garbage)?;
        if bytes.len() > OPENING_BYTES_MAX { Err(LinkError::Oversized(bytes.len())) } else { Ok(bytes) }
    }

    pub(crate) fn header(&self) -> Result<HeaderValue, LinkError> {
        HeaderValue::from_bytes(&self.encode()?).map_err(|_control_character| LinkError::Garbage)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, LinkError> {
        if bytes.len() > OPENING_BYTES_MAX {
            return Err(LinkError::Oversized(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(|_garbage| LinkError::Garbage)
    }
}
