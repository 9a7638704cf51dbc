//! What operations answer, and what the document says of it: both from the same types.

use acp_base::{Failure, Uid};
use acp_wire_api::jobs::Started;
use axum::{
    body::{Body, Bytes},
    http::StatusCode,
};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr, Schema,
        schema::{ArrayBuilder, ObjectBuilder, Type},
    },
};

use crate::call::Call;

/// The media type of everything but problems and events.
pub(crate) const JSON: &str = "application/json";

/// An answer as it is sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) media_type: &'static str,
    /// Where to read what was made, or how far it is.
    pub(crate) location: Option<String>,
    pub(crate) content: Content,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it.
    Whole(Bytes),
    /// As it comes.
    Events(Body),
}

/// Schemas by name, as `ToSchema` collects them.
pub(crate) type Schemas = Vec<(String, RefOr<Schema>)>;

/// One of the answers that an operation can give.
pub(crate) struct Possible {
    pub(crate) status: StatusCode,
    pub(crate) about: &'static str,
    pub(crate) content: Option<(&'static str, RefOr<Schema>)>,
    pub(crate) has_location: bool,
}

/// What an operation answers when it succeeds.
pub(crate) trait Answer: Send + 'static {
    /// The possible answers.
    fn possible() -> Vec<Possible>;
    /// The schemas that they name.
    fn schemas(schemas: &mut Schemas);
    /// This answer.
    fn into_reply(self) -> Result<Reply, Failure>;
}

/// The schema of a type by its name, which `collect` describes.
pub(crate) fn reference<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

/// Describes a type and all that it names.
pub(crate) fn collect<T: ToSchema>(schemas: &mut Schemas) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

fn json<T: Serialize>(status: StatusCode, location: Option<String>, value: &T) -> Result<Reply, Failure> {
    let bytes =
        serde_json::to_vec(value).map_err(|error| Failure::internal(format!("cannot write the answer: {error}")))?;
    Ok(Reply { status, media_type: JSON, location, content: Content::Whole(bytes.into()) })
}

/// A value that was asked for.
#[derive(Debug)]
pub(crate) struct Found<T>(pub(crate) T);

impl<T: Serialize + ToSchema + Send + 'static> Answer for Found<T> {
    fn possible() -> Vec<Possible> {
        let content = Some((JSON, reference::<T>()));
        vec![Possible { status: StatusCode::OK, about: "As it is now.", content, has_location: false }]
    }

    fn schemas(schemas: &mut Schemas) {
        collect::<T>(schemas);
    }

    fn into_reply(self) -> Result<Reply, Failure> {
        json(StatusCode::OK, None, &self.0)
    }
}

/// Something was made; where it is read.
#[derive(Debug)]
pub(crate) struct Created<T>(pub(crate) String, pub(crate) T);

impl<T: Serialize + ToSchema + Send + 'static> Answer for Created<T> {
    fn possible() -> Vec<Possible> {
        let content = Some((JSON, reference::<T>()));
        vec![Possible { status: StatusCode::CREATED, about: "It was made.", content, has_location: true }]
    }

    fn schemas(schemas: &mut Schemas) {
        collect::<T>(schemas);
    }

    fn into_reply(self) -> Result<Reply, Failure> {
        json(StatusCode::CREATED, Some(self.0), &self.1)
    }
}

/// It is done and there is nothing to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done;

impl Answer for Done {
    fn possible() -> Vec<Possible> {
        vec![Possible { status: StatusCode::NO_CONTENT, about: "It is done.", content: None, has_location: false }]
    }

    fn schemas(_schemas: &mut Schemas) {}

    fn into_reply(self) -> Result<Reply, Failure> {
        let content = Content::Whole(Bytes::new());
        Ok(Reply { status: StatusCode::NO_CONTENT, media_type: JSON, location: None, content })
    }
}

/// A job was started that goes on after the answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Accepted)]
pub(crate) struct Accepted {
    /// The job; absent: there was nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Uid>,
    /// Where the job is read; the header Location says the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    href: Option<String>,
    /// The object that is being made, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<Uid>,
}

impl Accepted {
    /// What a service answered that starts jobs.
    pub(crate) fn new(call: &Call, started: &Started, uid: Option<Uid>) -> Self {
        let href = started.job.map(|job| call.href(&format!("/jobs/{job}")));
        Self { job: started.job, href, uid }
    }
}

impl Answer for Accepted {
    fn possible() -> Vec<Possible> {
        let content = || Some((JSON, reference::<Self>()));
        vec![
            Possible {
                status: StatusCode::ACCEPTED,
                about: "A job was started; Location says where it is read.",
                content: content(),
                has_location: true,
            },
            Possible {
                status: StatusCode::OK,
                about: "There was nothing to do.",
                content: content(),
                has_location: false,
            },
        ]
    }

    fn schemas(schemas: &mut Schemas) {
        collect::<Self>(schemas);
    }

    fn into_reply(self) -> Result<Reply, Failure> {
        let status = if self.job.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
        json(status, self.href.clone(), &self)
    }
}

/// A part of a list.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    /// In the order of their names.
    pub(crate) items: Vec<T>,
    /// What `after` has to be for the part that follows; absent: this is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

impl<T> List<T> {
    /// The part of a whole list that was asked for. `name` is what it is ordered by.
    pub(crate) fn part(call: &Call, mut all: Vec<T>, name: impl Fn(&T) -> String) -> Result<Self, Failure> {
        let (limit, after) = call.page()?;
        all.sort_by_key(&name);
        let mut items: Vec<_> =
            all.into_iter().filter(|item| after.is_none_or(|after| name(item).as_str() > after)).collect();
        let is_cut = items.len() > limit;
        items.truncate(limit);
        let next = is_cut.then(|| items.last().map(&name)).flatten();
        Ok(Self { items, next })
    }
}

impl<T: ToSchema> PartialSchema for List<T> {
    fn schema() -> RefOr<Schema> {
        let items = ArrayBuilder::new().items(reference::<T>()).description(Some("In the order of their names."));
        let next = ObjectBuilder::new().schema_type(Type::String);
        let next =
            next.description(Some("What `after` has to be for the part that follows; absent: this is the last one."));
        ObjectBuilder::new().property("items", items).property("next", next).required("items").into()
    }
}

impl<T: ToSchema> ToSchema for List<T> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("{}List", T::name()).into()
    }

    fn schemas(schemas: &mut Schemas) {
        collect::<T>(schemas);
    }
}
