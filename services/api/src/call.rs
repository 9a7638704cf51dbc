//! A request as its operation sees it.

use std::{str::FromStr, sync::Arc};

use acp_base::{Change, Code, Failure, Name};
use acp_client::home;
use acp_io_client::{Client, ServiceClient};
use acp_wire_api::Method;
use acp_wire_model::Kind;
use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::{access::Identity, app::App, limits, serve::Working};

/// A request whose key is known, with the parameters that its operation has.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    /// Whose key; nobody's for what needs none.
    pub(crate) identity: Option<Arc<Identity>>,
    /// Keeps the connection from giving way to a newer one.
    pub(crate) working: Option<Working>,
    /// Calls with the rights of the key and the id of the request, on the node that was named.
    pub(crate) client: Client,
    pub(crate) node: Option<Name>,
    pub(crate) until: Instant,
    pub(crate) request_id: String,
    pub(crate) path: Vec<(String, String)>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) last_event_id: Option<String>,
    pub(crate) body: Bytes,
}

impl Call {
    /// A service on the node that was named, within the time that is left.
    pub(crate) fn service(&self, noun: &str) -> ServiceClient {
        self.client.service(noun).deadline(self.until.saturating_duration_since(Instant::now()))
    }

    /// Calls a method of the service that its interface is named after.
    pub(crate) async fn ask<M: Method>(&self, request: M::Request) -> Result<M::Reply, Failure> {
        let noun = M::INTERFACE.rsplit('.').next().unwrap_or(M::INTERFACE);
        self.service(noun).call::<M>(request).await
    }

    /// The same request on the node where the system is at home, unless it names a node. If that is not found out, whoever is
    /// asked next says what is wrong.
    pub(crate) async fn at_system(mut self, name: &Name) -> Result<Self, Failure> {
        if self.node.is_some() {
            return Ok(self);
        }
        match home::of_system(&self.service(home::CLUSTER), name).await {
            Ok(node) if node != self.app.node => {
                self.client = self.client.on(Some(&node));
                self.node = Some(node);
            }
            Ok(_here) => {}
            Err(failure) if failure.code == Code::NotFound => {}
            Err(failure) => return Err(failure.changed(Change::None)),
        }
        Ok(self)
    }

    /// Where something of this node is read.
    pub(crate) fn href(&self, path: &str) -> String {
        match &self.node {
            Some(node) => format!("/v1/nodes/{node}{path}"),
            None => format!("/v1{path}"),
        }
    }

    /// A parameter of the path.
    pub(crate) fn path<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, Failure> {
        let text = value(&self.path, name).ok_or_else(|| Failure::internal(format!("the path has no {name}")))?;
        read(name, text)
    }

    /// A parameter of the query, if it is there.
    pub(crate) fn query<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, Failure> {
        value(&self.query, name).map(|text| read(name, text)).transpose()
    }

    /// How many items, and after which.
    pub(crate) fn page(&self) -> Result<(usize, Option<&str>), Failure> {
        let limit = self.query("limit")?.unwrap_or(limits::LIMIT_DEFAULT);
        if !(1..=limits::LIMIT_MAX).contains(&limit) {
            return Err(Failure::invalid(format!("limit: {limit} is not within 1 and {}", limits::LIMIT_MAX)));
        }
        Ok((limit, value(&self.query, "after")))
    }

    /// The kinds named in the query.
    pub(crate) fn kinds(&self) -> Result<Vec<Kind>, Failure> {
        let text = value(&self.query, "kind").map_or(Ok(Vec::new()), |text| text.split(',').map(str::parse).collect());
        text.map_err(|failure: Failure| failure.context("kind"))
    }

    /// The body; one that is absent is empty.
    pub(crate) fn read_body<B: DeserializeOwned>(&self) -> Result<B, Failure> {
        let bytes = if self.body.is_empty() { b"{}".as_slice() } else { &self.body };
        // A list would pass for a struct's fields in their order, which no operation promises.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Failure::invalid("the body must be a JSON object"));
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let body = match decode(&mut json) {
            Ok(body) => body,
            Err(failure) => return with_whole_numbers(bytes).map_or(Err(failure), decode),
        };
        json.end().map_err(|_more| Failure::invalid("the body: something follows the JSON object"))?;
        Ok(body)
    }
}

fn decode<'de, B: DeserializeOwned>(
    json: impl serde::Deserializer<'de, Error = serde_json::Error>,
) -> Result<B, Failure> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        let reason: String = error.into_inner().to_string().chars().take(512).collect();
        Failure::invalid(format!("the body: {place}{reason}"))
    })
}

/// The body with whole numbers in place of such as `1.0`, which JSON Schema and some languages take for the same; nothing if it
/// holds none.
fn with_whole_numbers(bytes: &[u8]) -> Option<Value> {
    let mut value = serde_json::from_slice(bytes).ok()?;
    make_whole(&mut value).then_some(value)
}

/// Whether anything was replaced. What was read is at most 128 levels deep.
fn make_whole(value: &mut Value) -> bool {
    match value {
        Value::Number(number) => {
            // Up to here every whole number has a float of its own.
            const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
            let float =
                number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT_MAX);
            let whole = float.and_then(|float| format!("{float:.0}").parse::<i64>().ok());
            if let Some(whole) = whole {
                *value = Value::from(whole);
            }
            whole.is_some()
        }
        Value::Array(values) => values.iter_mut().fold(false, |any, value| make_whole(value) | any),
        Value::Object(values) => values.values_mut().fold(false, |any, value| make_whole(value) | any),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn value<'a>(values: &'a [(String, String)], name: &str) -> Option<&'a str> {
    values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn read<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| {
        let shown: String = text.chars().take(64).collect();
        Failure::invalid(format!("{name}: {shown:?}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        let whole = |text: &str| with_whole_numbers(text.as_bytes()).map(|value| value.to_string());
        assert_eq!(
            whole(r#"{"a":18116.0,"b":[1e3,{"c":-2.0}]}"#).as_deref(),
            Some(r#"{"a":18116,"b":[1000,{"c":-2}]}"#)
        );
        for other in [r#"{"a":1}"#, r#"{"a":1.5}"#, r#"{"a":1e300}"#, r#"{"a":"1.0"}"#, "{"] {
            assert_eq!(whole(other), None, "{other}");
        }
    }
}
