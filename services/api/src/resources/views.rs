//! Objects as the API shows them: spec, state and measurements, each with its age.

use acp_base::{Failure, Uid};
use acp_wire_api::cluster::{Get, GetRequest, List as ListObjects, ListRequest};
use acp_wire_model::{
    Kind, Object,
    image::{ImageMeta, ImageSpec},
    job::Job,
    network::{NetworkMeta, NetworkSpec, NetworkStats},
    pool::{PoolMeta, PoolSpec, PoolStats},
    system::{SystemMeta, SystemSpec, SystemStats},
    volume::VolumeMeta,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    answer::{Found, List},
    call::Call,
};

/// A kind of object as it is shown.
pub(crate) trait View: Serialize + ToSchema + Send + 'static {
    const KIND: Kind;

    fn of(object: Object) -> Self;
}

macro_rules! view {
    ($(#[doc = $about:literal])* $name:ident, $kind:ident, $spec:ty, $meta:ty, $stats:ty) => {
        $(#[doc = $about])*
        #[derive(Debug, Serialize, ToSchema)]
        pub(crate) struct $name {
            /// Unique within its kind.
            name: String,
            /// The identity, never reused.
            uid: Uid,
            /// Grows with each change of the spec.
            version: u64,
            /// What was asked.
            #[schema(value_type = $spec)]
            spec: Value,
            /// What its service says of it; absent: nothing yet.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schema(value_type = Option<$meta>)]
            meta: Option<Value>,
            /// How long ago it said so, in milliseconds.
            #[serde(skip_serializing_if = "Option::is_none")]
            meta_age_ms: Option<u64>,
            /// What was measured last.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schema(value_type = Option<$stats>)]
            stats: Option<Value>,
            /// How long ago that was, in milliseconds.
            #[serde(skip_serializing_if = "Option::is_none")]
            stats_age_ms: Option<u64>,
        }

        impl View for $name {
            const KIND: Kind = Kind::$kind;

            fn of(object: Object) -> Self {
                let (meta, stats) = (object.meta(), object.stats());
                Self {
                    meta: meta.map(|slot| slot.data.clone()),
                    meta_age_ms: meta.map(|slot| slot.age_ms),
                    stats: stats.map(|slot| slot.data.clone()),
                    stats_age_ms: stats.map(|slot| slot.age_ms),
                    name: object.name,
                    uid: object.uid,
                    version: object.version,
                    spec: object.spec,
                }
            }
        }
    };
}

macro_rules! reported {
    ($(#[doc = $about:literal])* $name:ident, $kind:ident, $meta:ty) => {
        $(#[doc = $about])*
        #[derive(Debug, Serialize, ToSchema)]
        pub(crate) struct $name {
            /// Unique within its kind.
            name: String,
            /// The identity, never reused.
            uid: Uid,
            /// What its service says of it; absent: nothing yet.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schema(value_type = Option<$meta>)]
            meta: Option<Value>,
            /// How long ago it said so, in milliseconds.
            #[serde(skip_serializing_if = "Option::is_none")]
            meta_age_ms: Option<u64>,
        }

        impl View for $name {
            const KIND: Kind = Kind::$kind;

            fn of(object: Object) -> Self {
                let meta = object.meta();
                Self {
                    meta: meta.map(|slot| slot.data.clone()),
                    meta_age_ms: meta.map(|slot| slot.age_ms),
                    name: object.name,
                    uid: object.uid,
                }
            }
        }
    };
}

/// Measurements that images do not have.
#[derive(Debug, ToSchema)]
pub(crate) struct NoStats {}

view! {
    /// A virtual machine.
    System, System, SystemSpec, SystemMeta, SystemStats
}
view! {
    /// A bridge with address, DHCP and NAT.
    Network, Network, NetworkSpec, NetworkMeta, NetworkStats
}
view! {
    /// A place where volumes and images lie.
    Pool, Pool, PoolSpec, PoolMeta, PoolStats
}
view! {
    /// A disk image to create systems from.
    Image, Image, ImageSpec, ImageMeta, NoStats
}
reported! {
    /// A disk in a pool; its name is `<pool>/<volume>`.
    Volume, Volume, VolumeMeta
}
reported! {
    /// A resumable operation as its owner last reported it; its name is its id.
    ReportedJob, Job, Job
}

/// Answers the part of the list of a kind that was asked for.
pub(crate) async fn list<V: View>(call: Call) -> Result<Found<List<V>>, Failure> {
    let List { items, next } = part(&call, Some(V::KIND)).await?;
    Ok(Found(List { items: items.into_iter().map(V::of).collect(), next }))
}

/// Answers the object that the path names by `{name}`.
pub(crate) async fn show<V: View>(call: Call) -> Result<Found<V>, Failure> {
    let name: acp_base::Name = call.path("name")?;
    let request = GetRequest {
        kind: V::KIND,
        name: Some(name.to_string()),
        uid: None,
        node: None,
        min_index: None,
        linearizable: false,
        here: None,
    };
    Ok(Found(V::of(call.ask::<Get>(request).await?.object)))
}

/// The part of the objects of a kind that was asked for. What follows it is not waited for.
pub(crate) async fn part(call: &Call, kind: Option<Kind>) -> Result<List<Object>, Failure> {
    let mut part = Part::new(call, |object: &Object| (object.name.as_str(), object.uid))?;
    let request = ListRequest { kind, selectors: Vec::new(), min_index: None, here: None };
    let mut replies = call.service("cluster").stream::<ListObjects>(request).await?.bounded();
    while let Some(reply) = replies.next().await {
        if part.take(reply?.objects) {
            break;
        }
    }
    Ok(part.into_list())
}

/// Between an object's name and its id in `after`: no name holds it.
const TIE: char = ',';

/// By what objects are in order.
type Key<T> = fn(&T) -> (&str, Uid);

/// The part of a list of objects that was asked for. Objects that lie on nodes may share a name: among those the id decides,
/// and `next` names it where a part ends between them.
pub(crate) struct Part<T> {
    key: Key<T>,
    limit: usize,
    after: Option<Position>,
    items: Vec<T>,
}

impl<T> Part<T> {
    pub(crate) fn new(call: &Call, key: Key<T>) -> Result<Self, Failure> {
        let (limit, after) = call.page()?;
        Ok(Self { key, limit, after: after.map(position).transpose()?, items: Vec::new() })
    }

    /// Takes the next objects, which come in the order of their names. Answers whether the part is whole.
    pub(crate) fn take(&mut self, objects: impl IntoIterator<Item = T>) -> bool {
        for object in objects {
            let (name, uid) = (self.key)(&object);
            if !is_behind(name, uid, self.after.as_ref()) {
                continue;
            }
            let is_enough = self.items.get(self.limit - 1).is_some_and(|last| (self.key)(last).0 < name);
            self.items.push(object);
            if is_enough {
                return true;
            }
        }
        false
    }

    pub(crate) fn into_list(mut self) -> List<T> {
        self.items.sort_by(|one, other| (self.key)(one).cmp(&(self.key)(other)));
        let rest = self.items.split_off(self.items.len().min(self.limit));
        let ends = self.items.last().zip(rest.first());
        let next = ends.map(|(last, next)| match ((self.key)(last), (self.key)(next)) {
            ((name, uid), (next, _)) if name == next => format!("{name}{TIE}{uid}"),
            ((name, _), _) => name.to_owned(),
        });
        List { items: self.items, next }
    }
}

/// A place in the list: behind this name, or behind this object among those of the name.
type Position = (String, Option<Uid>);

fn position(after: &str) -> Result<Position, Failure> {
    match after.split_once(TIE) {
        None => Ok((after.to_owned(), None)),
        Some((name, uid)) => {
            let uid = uid.parse().map_err(|_no_id| Failure::invalid(format!("after: {uid:?} is no id")))?;
            Ok((name.to_owned(), Some(uid)))
        }
    }
}

fn is_behind(name: &str, uid: Uid, after: Option<&Position>) -> bool {
    match after {
        None => true,
        Some((after, None)) => name > after.as_str(),
        Some((after, Some(id))) => (name, uid) > (after.as_str(), *id),
    }
}
