//! The OpenAPI 3.1 document, made from the list of operations.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::{
    PartialSchema,
    openapi::{
        Components, Content, HeaderBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Paths, RefOr, Required,
        ResponseBuilder, ResponsesBuilder,
        path::{Operation as Documented, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{ObjectBuilder, Schema, Type},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
        tag::TagBuilder,
    },
};

use crate::{
    answer::{JSON, Possible, Schemas, collect, reference},
    limits::{EVENT_ID_MAX, IDEMPOTENCY_KEY_MAX, TIMEOUT_MS_MAX},
    operation::{Operation, Place, Verb},
    parameter,
    problem::{self, Problem},
};

/// Where the document is.
pub(crate) const DOCUMENT_PATH: &str = "/v1/openapi.json";

/// How keys are shown, by its name in the document.
const SECURITY: &str = "key";

/// The document of these operations, and of itself.
pub(crate) fn of(operations: &[Operation]) -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas = Schemas::new();
    collect::<Problem>(&mut schemas);
    for operation in operations {
        schemas.extend(operation.schemas.iter().cloned());
        for place in operation.places() {
            paths.add_path_operation(&place.path, vec![operation.verb.documented()], described(operation, &place));
        }
    }
    paths.add_path_operation(DOCUMENT_PATH, vec![Verb::Get.documented()], of_the_document());
    OpenApiBuilder::new()
        .info(info())
        .paths(paths)
        .components(Some(components(schemas)))
        .tags(Some(tags(operations)))
        .build()
}

fn info() -> utoipa::openapi::Info {
    let about = "Every request but those for /v1/health and /v1/openapi.json shows an API key. What the key may do is decided \
                 where the call executes. Errors are problems of RFC 9457.";
    InfoBuilder::new().title("ACP").version(env!("CARGO_PKG_VERSION")).description(Some(about)).build()
}

fn components(schemas: Schemas) -> Components {
    let key = Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("acpk.<64 hexadecimal digits>").build();
    let mut components = Components::new();
    components.schemas = schemas.into_iter().collect::<BTreeMap<_, _>>();
    components.add_security_scheme(SECURITY, SecurityScheme::Http(key));
    components
}

fn tags(operations: &[Operation]) -> Vec<utoipa::openapi::Tag> {
    let mut seen = BTreeSet::new();
    let names = operations.iter().map(Operation::tag).filter(|name| seen.insert(*name)).collect::<Vec<_>>();
    names.into_iter().map(|name| TagBuilder::new().name(name).build()).collect()
}

fn described(operation: &Operation, place: &Place) -> Documented {
    let id = if place.names_node { format!("{}OfNode", operation.id) } else { operation.id.to_owned() };
    let mut builder =
        OperationBuilder::new().operation_id(Some(id)).tag(operation.tag()).summary(Some(operation.about));
    if let Some(scope) = operation.scope {
        let scope = format!("Needs a key of scope {}.", format!("{scope:?}").to_lowercase());
        let requirement = SecurityRequirement::new::<_, [&str; 0], &str>(SECURITY, []);
        builder = builder.description(Some(scope)).security(requirement);
    }
    for parameter in parameter::of_path(&place.path) {
        builder = builder.parameter(parameter);
    }
    let node = (operation.is_of_node && !place.names_node).then_some(&parameter::NODE);
    for parameter in operation.query.iter().copied().chain(node) {
        builder = builder.parameter(parameter.documented(ParameterIn::Query));
    }
    for parameter in headers(operation) {
        builder = builder.parameter(parameter);
    }
    if let Some(body) = &operation.body {
        let required = if body.is_required { Required::True } else { Required::False };
        let taken =
            RequestBodyBuilder::new().content(JSON, Content::new(Some(body.schema.clone()))).required(Some(required));
        builder = builder.request_body(Some(taken.build()));
    }
    builder.responses(responses(&operation.possible)).build()
}

/// The headers that an operation takes.
fn headers(operation: &Operation) -> Vec<utoipa::openapi::path::Parameter> {
    let mut headers = vec![
        header(
            "X-Request-Id",
            "The id of the request in every log; one is made for what cannot be one.",
            String::schema(),
        ),
        header("X-Request-Timeout", "As `timeout_ms`, which wins over it.", timeout()),
    ];
    if operation.verb == Verb::Post {
        let about = "A request with the same key, target and body is executed once in 24 hours and answered the same.";
        headers.push(header("Idempotency-Key", about, text(IDEMPOTENCY_KEY_MAX)));
    }
    if operation.is_watch {
        let about = "The id of the last event seen: the watch goes on after it, or says `resync` and tells all again.";
        headers.push(header("Last-Event-ID", about, text(EVENT_ID_MAX)));
    }
    headers
}

fn header(name: &str, about: &str, schema: RefOr<Schema>) -> utoipa::openapi::path::Parameter {
    let builder = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(Required::False);
    builder.description(Some(about)).schema(Some(schema)).build()
}

fn text(longest: usize) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]+$"));
    text.min_length(Some(1)).max_length(Some(longest)).into()
}

fn timeout() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1u64)).maximum(Some(TIMEOUT_MS_MAX)).into()
}

fn responses(possible: &[Possible]) -> utoipa::openapi::Responses {
    let mut responses = ResponsesBuilder::new();
    for answer in possible {
        let mut response = ResponseBuilder::new().description(answer.about);
        if let Some((media_type, schema)) = &answer.content {
            response = response.content(*media_type, Content::new(Some(schema.clone())));
        }
        if answer.has_location {
            let location = HeaderBuilder::new().schema(Some(String::schema())).description(Some("Where it is read."));
            response = response.header("Location", location.build());
        }
        responses = responses.response(answer.status.as_str(), response);
    }
    let problem = Content::new(Some(reference::<Problem>()));
    let response = ResponseBuilder::new().description("Why the request was not served.");
    responses.response("default", response.content(problem::MEDIA_TYPE, problem)).build()
}

fn of_the_document() -> Documented {
    let content = Some((JSON, ObjectBuilder::new().into()));
    let status = axum::http::StatusCode::OK;
    let possible = Possible { status, about: "This document.", content, has_location: false };
    let builder = OperationBuilder::new().operation_id(Some("getDocument")).tag("openapi.json");
    builder.summary(Some("Answers this document. Needs no key.")).responses(responses(&[possible])).build()
}
