//! Reading specs that may hold fields of a newer version.
//!
//! Apply reads leniently: a field it does not know was admitted by a proposer that knew it, so it is kept and not judged;
//! refusing it would make this replica differ from its peers. Whoever proposes is strict: [`check_spec_keys`] and
//! [`check_patch_keys`] name the misspelt key before anything is ordered.

use std::cell::RefCell;

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Value;

use acp_wire_model::{
    Kind, image::ImageSpec, network::NetworkSpec, node::NodeSpec, pool::PoolSpec, system::SystemSpec,
};

use crate::refusal::{Refusal, with_article};

/// A key that a struct does not have, with those it has.
struct Unknown {
    key: String,
    known: &'static [&'static str],
}

/// The value as `T`; keys that `T` does not know, and nulls, count as absent.
pub(crate) fn read<T: DeserializeOwned>(kind: Kind, value: &Value) -> Result<T, Refusal> {
    read_noting(value, &RefCell::default()).map_err(|error| {
        let place = error.path().to_string();
        let spec = format!("the spec of {}", with_article(kind));
        let place = if place == "." { spec } else { format!("{spec}, {place}") };
        Refusal::invalid(error.into_inner().to_string()).at(place)
    })
}

/// Refuses a spec with a key that this version does not know.
///
/// # Errors
/// `InvalidArgument` naming the key and the known ones.
pub fn check_spec_keys(kind: Kind, spec: &Value) -> Result<(), Refusal> {
    match unknown_keys(kind, spec).into_iter().next() {
        None => Ok(()),
        Some(unknown) => Err(Refusal::invalid(format!(
            "the spec of {} has no field {:?} there; the fields are {}",
            with_article(kind),
            unknown.key,
            unknown.known.join(", ")
        ))),
    }
}

/// Refuses a merge patch with a key that this version does not know. A patch is a part of a spec, so what it lacks is no
/// matter.
///
/// # Errors
/// `InvalidArgument` naming the key and the known ones, or that the patch is no object.
pub fn check_patch_keys(kind: Kind, patch: &Value) -> Result<(), Refusal> {
    if !patch.is_object() {
        return Err(Refusal::invalid("a patch is an object with the fields to change"));
    }
    check_spec_keys(kind, patch)
}

fn unknown_keys(kind: Kind, value: &Value) -> Vec<Unknown> {
    let noted = RefCell::default();
    // Whether the value reads as the type is for apply to say; here only the keys matter.
    match kind {
        Kind::Node => drop(read_noting::<NodeSpec>(value, &noted)),
        Kind::System => drop(read_noting::<SystemSpec>(value, &noted)),
        Kind::Network => drop(read_noting::<NetworkSpec>(value, &noted)),
        Kind::Pool => drop(read_noting::<PoolSpec>(value, &noted)),
        Kind::Image => drop(read_noting::<ImageSpec>(value, &noted)),
        Kind::Volume | Kind::Service | Kind::Job => {}
    }
    noted.into_inner()
}

fn read_noting<T: DeserializeOwned>(
    value: &Value,
    unknown: &RefCell<Vec<Unknown>>,
) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    serde_path_to_error::deserialize(Known { value: value.clone(), unknown })
}

/// A value that shows a struct only the keys it knows.
struct Known<'n> {
    value: Value,
    unknown: &'n RefCell<Vec<Unknown>>,
}

impl<'de> Deserializer<'de> for Known<'_> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.value.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Value::Object(map) = self.value else {
            return Err(Self::Error::custom(format!("{name} is an object, not {}", self.value)));
        };
        let (known, unknown): (Vec<_>, Vec<_>) = map.into_iter().partition(|(key, _)| fields.contains(&key.as_str()));
        let notes = unknown.into_iter().map(|(key, _)| Unknown { key, known: fields });
        self.unknown.borrow_mut().extend(notes);
        let entries = known.into_iter().filter(|(_, value)| !value.is_null());
        let entries = entries.map(|(key, value)| (key, Known { value, unknown: self.unknown }));
        MapDeserializer::new(entries).deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.value {
            Value::Array(items) => {
                let items = items.into_iter().map(|value| Known { value, unknown: self.unknown });
                SeqDeserializer::new(items).deserialize_any(visitor)
            }
            other => other.deserialize_seq(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.value.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Known<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_newer_field_is_ignored_by_apply_and_named_to_the_proposer() {
        let spec =
            json!({"node": "n1", "cpus": 1, "memory_bytes": 1, "nics": [{"network": "lan", "vlan": 7}], "tpm": true});
        let read: SystemSpec = read(Kind::System, &spec).expect("lenient");
        assert_eq!(read.nics.len(), 1);
        let refusal = check_spec_keys(Kind::System, &spec).expect_err("strict");
        assert!(refusal.message.contains("\"tpm\"") && refusal.message.contains("memory_bytes"), "{refusal}");
        let nested = json!({"nics": [{"network": "lan", "vlan": 7}]});
        let refusal = check_patch_keys(Kind::System, &nested).expect_err("strict");
        assert!(refusal.message.contains("\"vlan\"") && refusal.message.contains("mac"), "{refusal}");
        assert_eq!(check_patch_keys(Kind::System, &json!({"cpus": 2, "autostart": null})), Ok(()));
        assert!(check_patch_keys(Kind::System, &json!([])).is_err());
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let spec = json!({"node": "n1", "cpus": "two", "memory_bytes": 1});
        let refusal = read::<SystemSpec>(Kind::System, &spec).expect_err("no number");
        assert_eq!(refusal.message, "the spec of a system, cpus: invalid type: string \"two\", expected u32");
        let spec = json!({"node": "n1", "cpus": 1, "memory_bytes": 1, "disks": [{"pool": "../x"}]});
        let refusal = read::<SystemSpec>(Kind::System, &spec).expect_err("no name");
        assert!(refusal.message.contains("disks[0].pool: a name consists of"), "{refusal}");
        for not_an_object in [json!(["n1", 1, 1]), json!(null), json!(7)] {
            assert!(read::<SystemSpec>(Kind::System, &not_an_object).is_err());
        }
        let refusal = read::<SystemSpec>(Kind::System, &json!({"node": "n1", "cpus": -1, "memory_bytes": 1}));
        assert!(refusal.expect_err("negative").message.contains("cpus"));
    }
}
