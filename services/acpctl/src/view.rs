//! Objects as they are printed: one shape for every kind, for lists, for `show` and for programs.

use acp_wire_model::{Object, object::Slot};
use serde_json::{Value, json};

/// An object with `kind`, `name`, `uid`, `version`, `spec`, `status` (newest meta), `stats` (newest), `reporter` (of the
/// status) and `age_ms` (of whichever is newer; null if nobody reports it).
pub(crate) fn of(object: &Object) -> Value {
    let (meta, stats) = (object.meta(), object.stats());
    let age_ms = [meta, stats].into_iter().flatten().map(|slot| slot.age_ms).min();
    let data = |slot: Option<&Slot>| slot.map(|slot| slot.data.clone()).unwrap_or_default();
    json!({
        "kind": object.kind,
        "name": object.name,
        "uid": object.uid,
        "version": object.version,
        "spec": if object.spec.is_null() { json!({}) } else { object.spec.clone() },
        "status": data(meta),
        "stats": data(stats),
        "reporter": meta.or(stats).map(|slot| slot.reporter.clone()),
        "age_ms": age_ms,
    })
}

#[cfg(test)]
mod tests {
    use acp_base::Uid;
    use acp_wire_model::{Kind, object::Facet};

    use super::*;

    fn slot(facet: Facet, age_ms: u64, data: Value) -> Slot {
        Slot { reporter: format!("r{age_ms}"), facet, incarnation: 1, sequence: 1, age_ms, data }
    }

    #[test]
    fn the_newest_slot_of_each_facet_is_shown() {
        let object = Object {
            kind: Kind::Volume,
            name: "default/a".into(),
            uid: Uid::from_u128(1),
            version: 0,
            spec: Value::Null,
            slots: vec![
                slot(Facet::Meta, 900, json!({"old": true})),
                slot(Facet::Meta, 800, json!({"old": false})),
                slot(Facet::Stats, 50, json!({"bytes": 1})),
            ],
        };
        let seen = of(&object);
        assert_eq!(seen["status"], json!({"old": false}));
        assert_eq!(
            (&seen["stats"], &seen["age_ms"], &seen["reporter"]),
            (&json!({"bytes": 1}), &json!(50), &json!("r800"))
        );
        assert_eq!((&seen["spec"], &seen["kind"]), (&json!({}), &json!("volume")));
    }

    #[test]
    fn an_object_that_nobody_reports_has_no_age() {
        let object = Object {
            kind: Kind::System,
            name: "s".into(),
            uid: Uid::from_u128(1),
            version: 7,
            spec: json!({"cpus": 1}),
            slots: vec![],
        };
        let seen = of(&object);
        assert_eq!((&seen["status"], &seen["age_ms"]), (&Value::Null, &Value::Null));
    }
}
