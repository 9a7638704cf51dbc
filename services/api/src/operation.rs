//! An operation: its path, what the document says of it and what it does, in one declaration. Routes and document are both
//! made from the same list, so neither can have what the other lacks.

use std::{future::Future, pin::Pin, sync::Arc};

use acp_base::Failure;
use acp_wire_api::{Method, Scope};
use axum::routing::MethodFilter;
use serde::de::DeserializeOwned;
use utoipa::{
    ToSchema,
    openapi::{HttpMethod, RefOr, Schema},
};

use crate::{
    answer::{Answer, Possible, Reply, Schemas, collect, reference},
    call::Call,
    parameter::{self, Parameter},
};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(crate) type Handler = Arc<dyn Fn(Call) -> BoxFuture<Result<Reply, Failure>> + Send + Sync>;

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    pub(crate) const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    pub(crate) const fn documented(self) -> HttpMethod {
        match self {
            Self::Get => HttpMethod::Get,
            Self::Post => HttpMethod::Post,
            Self::Delete => HttpMethod::Delete,
        }
    }
}

/// Where every path begins.
const ROOT: &str = "/v1";
/// What stands before a path that names its node.
const OF_NODE: &str = "/v1/nodes/{node}";

/// One of the paths of an operation.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) path: String,
    /// Whether the path itself says which node is asked.
    pub(crate) names_node: bool,
}

/// The body that an operation takes.
pub(crate) struct TakenBody {
    pub(crate) schema: RefOr<Schema>,
    pub(crate) is_required: bool,
}

/// An operation.
pub(crate) struct Operation {
    pub(crate) verb: Verb,
    /// Below `/v1`.
    pub(crate) path: &'static str,
    pub(crate) id: &'static str,
    pub(crate) about: &'static str,
    /// What a key needs; `None`: nobody has to show one.
    pub(crate) scope: Option<Scope>,
    /// Whether the node can be named, by `?node=` and by `/nodes/{node}` in front of the path.
    pub(crate) is_of_node: bool,
    pub(crate) query: Vec<&'static Parameter>,
    pub(crate) body: Option<TakenBody>,
    pub(crate) possible: Vec<Possible>,
    pub(crate) schemas: Schemas,
    /// Whether the answer holds a secret, which is shown once and kept nowhere.
    pub(crate) is_secret: bool,
    /// Whether it goes on after it was answered.
    pub(crate) is_watch: bool,
    pub(crate) handler: Handler,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb.name(), self.path)
    }
}

impl Operation {
    fn new<H, F, A>(verb: Verb, path: &'static str, id: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Fn(Call) -> F + Send + Sync + 'static,
        F: Future<Output = Result<A, Failure>> + Send + 'static,
        A: Answer,
    {
        let mut schemas = Schemas::new();
        A::schemas(&mut schemas);
        let handler: Handler = Arc::new(move |call| {
            let answer = handler(call);
            Box::pin(async move { answer.await?.into_reply() })
        });
        Self {
            verb,
            path,
            id,
            about,
            scope: None,
            is_of_node: false,
            query: vec![&parameter::TIMEOUT_MS],
            body: None,
            possible: A::possible(),
            schemas,
            is_secret: false,
            is_watch: false,
            handler,
        }
    }

    /// Looks.
    pub(crate) fn get<H, F, A>(path: &'static str, id: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Fn(Call) -> F + Send + Sync + 'static,
        F: Future<Output = Result<A, Failure>> + Send + 'static,
        A: Answer,
    {
        Self::new(Verb::Get, path, id, about, handler)
    }

    /// Makes something go.
    pub(crate) fn delete<H, F, A>(path: &'static str, id: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Fn(Call) -> F + Send + Sync + 'static,
        F: Future<Output = Result<A, Failure>> + Send + 'static,
        A: Answer,
    {
        Self::new(Verb::Delete, path, id, about, handler)
    }

    /// Acts, without a body.
    pub(crate) fn act<H, F, A>(path: &'static str, id: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Fn(Call) -> F + Send + Sync + 'static,
        F: Future<Output = Result<A, Failure>> + Send + 'static,
        A: Answer,
    {
        Self::new(Verb::Post, path, id, about, handler)
    }

    /// Acts as the body says.
    pub(crate) fn post<B, H, F, A>(path: &'static str, id: &'static str, about: &'static str, handler: H) -> Self
    where
        B: DeserializeOwned + ToSchema,
        H: Fn(Call, B) -> F + Send + Sync + 'static,
        F: Future<Output = Result<A, Failure>> + Send + 'static,
        A: Answer,
    {
        let handler = Arc::new(handler);
        let mut operation = Self::new(Verb::Post, path, id, about, move |call: Call| {
            let read = call.read_body::<B>();
            let answer = read.map(|body| handler(call, body));
            async move { answer?.await }
        });
        collect::<B>(&mut operation.schemas);
        let is_required = serde_json::from_str::<B>("{}").is_err();
        operation.body = Some(TakenBody { schema: reference::<B>(), is_required });
        operation
    }

    /// A key needs what this method asks for.
    pub(crate) fn calls<M: Method>(self) -> Self {
        Self { scope: Some(M::ACCESS.scope), ..self }
    }

    /// The node can be named.
    pub(crate) fn of_node(mut self) -> Self {
        self.is_of_node = true;
        self
    }

    /// It takes parameters in its query.
    pub(crate) fn takes(mut self, parameters: &[&'static Parameter]) -> Self {
        self.query.extend_from_slice(parameters);
        self
    }

    /// It answers a part of a list.
    pub(crate) fn paged(self) -> Self {
        self.takes(&[&parameter::LIMIT, &parameter::AFTER])
    }

    /// Its answer holds a secret.
    pub(crate) fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// It goes on after it was answered.
    pub(crate) fn watch(self) -> Self {
        Self { is_watch: true, ..self }
    }

    /// Every path that it has, for routes and document alike.
    pub(crate) fn places(&self) -> Vec<Place> {
        let here = Place { path: format!("{ROOT}{}", self.path), names_node: false };
        let there = || Place { path: format!("{OF_NODE}{}", self.path), names_node: true };
        std::iter::once(here).chain(self.is_of_node.then(there)).collect()
    }

    /// What the first part of the path says: operations of the same are listed together.
    pub(crate) fn tag(&self) -> &'static str {
        self.path.split('/').nth(1).unwrap_or_default()
    }
}
