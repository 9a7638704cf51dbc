//! What all requests share.

use acp_base::Name;
use acp_io_client::Client;
use acp_io_daemon::{Context, Health, Tasks};
use axum::body::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{access::Authenticator, answers::Answers, watches::Watches};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) node: Name,
    /// Calls with this daemon's own rights; requests get one with the rights of their key.
    pub(crate) client: Client,
    pub(crate) health: Health,
    pub(crate) tasks: Tasks,
    pub(crate) drain: CancellationToken,
    pub(crate) authenticator: Authenticator,
    pub(crate) answers: Answers,
    pub(crate) watches: Watches,
    /// The OpenAPI document as it is sent.
    pub(crate) document: Bytes,
}

impl App {
    pub(crate) fn new(context: &Context, answers: Answers, document: Bytes) -> Self {
        Self {
            node: context.node.clone(),
            client: context.client.clone(),
            health: context.health.clone(),
            tasks: context.tasks.clone(),
            drain: context.drain.clone(),
            authenticator: Authenticator::new(context.client.clone()),
            answers,
            watches: Watches::default(),
            document,
        }
    }
}
