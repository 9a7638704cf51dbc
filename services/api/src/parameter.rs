//! The parameters that paths and queries have, each described once.

use acp_base::{Name, Uid};
use acp_wire_model::Kind;
use utoipa::{
    PartialSchema,
    openapi::{
        RefOr, Required, Schema,
        path::{Parameter as Documented, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
    },
};

use crate::limits::{AFTER_MAX, LIMIT_DEFAULT, LIMIT_MAX, LINES_DEFAULT, LINES_MAX, TIMEOUT_MS_MAX};

/// A parameter of a path or of a query.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    about: &'static str,
    schema: fn() -> RefOr<Schema>,
}

impl Parameter {
    /// How the document describes it.
    pub(crate) fn documented(&self, place: ParameterIn) -> Documented {
        let required = if place == ParameterIn::Path { Required::True } else { Required::False };
        let builder = ParameterBuilder::new().name(self.name).parameter_in(place).required(required);
        builder.description(Some(self.about)).schema(Some((self.schema)())).build()
    }
}

/// Every parameter that can stand in a path.
const IN_PATHS: [Parameter; 10] = [
    Parameter { name: "node", about: "The node that is asked.", schema: Name::schema },
    Parameter { name: "name", about: "The object's name.", schema: Name::schema },
    Parameter { name: "pool", about: "The pool.", schema: Name::schema },
    Parameter { name: "volume", about: "The volume's name in its pool.", schema: Name::schema },
    Parameter { name: "key", about: "The key's name, like `ci` or `root@n1`.", schema: object },
    Parameter { name: "uid", about: "The id.", schema: Uid::schema },
    Parameter { name: "kind", about: "The kind of object.", schema: kind },
    Parameter { name: "object", about: "The object's name or id; a slash in it is written %2F.", schema: object },
    Parameter { name: "index", about: "An index of the log.", schema: index },
    Parameter { name: "unit", about: "The unit, as `<template>` or `<template>@<instance>`.", schema: unit },
];

/// Where the call executes.
pub(crate) static NODE: Parameter = Parameter {
    name: "node",
    about: "The node that is asked; absent: the one whose API this is.",
    schema: Name::schema,
};
/// How many.
pub(crate) static LIMIT: Parameter =
    Parameter { name: "limit", about: "How many items to answer at most; absent: 100.", schema: limit };
/// From where.
pub(crate) static AFTER: Parameter =
    Parameter { name: "after", about: "The `next` of the answer before: the list goes on after it.", schema: after };
/// How long.
pub(crate) static TIMEOUT_MS: Parameter = Parameter {
    name: "timeout_ms",
    about: "How long the request may take, in milliseconds; absent: what the header X-Request-Timeout says, or 30,000.",
    schema: timeout_ms,
};
/// How much of a log.
pub(crate) static LINES: Parameter =
    Parameter { name: "lines", about: "How many of the last lines; absent: 100.", schema: lines };
/// Which kinds to watch.
pub(crate) static KINDS: Parameter =
    Parameter { name: "kind", about: "Kinds of objects with commas between; absent: all.", schema: kinds };
/// Whether to watch measurements.
pub(crate) static STATS: Parameter = Parameter {
    name: "stats",
    about: "Whether measurements are told, too, which change all the time.",
    schema: bool::schema,
};

/// Where a list of events begins.
pub(crate) static FROM: Parameter = Parameter {
    name: "from",
    about: "The index of the first event to answer, unless `after` says more; absent, both: the newest are answered.",
    schema: index,
};
/// Whether a read has to hold everything that was acknowledged.
pub(crate) static CONSISTENT: Parameter = Parameter {
    name: "consistent",
    about: "Whether the answer must hold everything that was acknowledged anywhere before; that needs a quorum.",
    schema: bool::schema,
};

/// The parameters of a path like `/systems/{name}`.
///
/// # Panics
/// For one that is not described here: a test builds every path.
pub(crate) fn of_path(path: &str) -> Vec<Documented> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let find = |name: &str| IN_PATHS.iter().find(|known| known.name == name);
    let document = |name| find(name).map(|known| known.documented(ParameterIn::Path));
    names.map(|name| document(name).unwrap_or_else(|| panic!("{path}: {name} is not described"))).collect()
}

/// What a database can number.
fn index() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1u64)).maximum(Some(i64::MAX.unsigned_abs())).into()
}

fn kind() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(Kind::ALL.map(Kind::name))).into()
}

fn kinds() -> RefOr<Schema> {
    let names = Kind::ALL.map(Kind::name).join("|");
    let pattern = format!("^({names})(,({names}))*$");
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).into()
}

fn object() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(AFTER_MAX)).into()
}

fn unit() -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9._-]+(@[A-Za-z0-9._-]+)?$"));
    text.max_length(Some(AFTER_MAX)).into()
}

fn limit() -> RefOr<Schema> {
    integer(1, LIMIT_MAX as u64, LIMIT_DEFAULT as u64)
}

fn lines() -> RefOr<Schema> {
    integer(1, LINES_MAX.into(), LINES_DEFAULT.into())
}

fn timeout_ms() -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1u64));
    number.maximum(Some(TIMEOUT_MS_MAX)).into()
}

fn integer(minimum: u64, maximum: u64, default: u64) -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(minimum)).maximum(Some(maximum));
    number.default(Some(default.into())).into()
}

fn after() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(AFTER_MAX)).into()
}
