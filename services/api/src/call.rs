//! A request as its operation sees it.

use std::{str::FromStr, sync::Arc};

use acp_base::{Failure, Name};
use acp_io_client::{Client, ServiceClient};
use acp_wire_api::Method;
use acp_wire_model::Kind;
use axum::body::Bytes;
use serde::de::DeserializeOwned;
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
        let body = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { String::new() } else { format!("{path}: ") };
            let reason: String = error.into_inner().to_string().chars().take(512).collect();
            Failure::invalid(format!("the body: {place}{reason}"))
        })?;
        json.end().map_err(|_more| Failure::invalid("the body: something follows the JSON object"))?;
        Ok(body)
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
