//! What these types look like as JSON schemas, for the HTTP API's document.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, SchemaFormat, Type},
    },
};

use crate::{Blame, ByteSize, Change, Code, Name, Retry, Uid};

/// As [`Name`] says; the pattern is that of its parser.
const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._-]*$";

impl PartialSchema for Name {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(NAME_PATTERN));
        let about = "Letters, digits, dots, underscores and dashes, beginning with a letter or digit.";
        text.min_length(Some(1)).max_length(Some(Self::LEN_MAX)).description(Some(about)).into()
    }
}

impl PartialSchema for Uid {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::Custom("uuid".to_owned()))).into()
    }
}

impl PartialSchema for ByteSize {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        number.description(Some("A number of bytes.")).into()
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        one_of(Self::ALL.map(Self::name))
    }
}

impl PartialSchema for Blame {
    fn schema() -> RefOr<Schema> {
        one_of(["caller", "operator", "circumstances", "acp"])
    }
}

impl PartialSchema for Change {
    fn schema() -> RefOr<Schema> {
        one_of(["none", "partial", "unknown"])
    }
}

impl PartialSchema for Retry {
    fn schema() -> RefOr<Schema> {
        one_of(["never", "later"])
    }
}

fn one_of<const N: usize>(names: [&'static str; N]) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into()
}

macro_rules! named {
    ($($type:ident)*) => {
        $(impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($type))
            }
        })*
    };
}

named! { Name Uid ByteSize Code Blame Change Retry }
