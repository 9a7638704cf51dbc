//! The declared objects with the indexes over them.
//!
//! **Invariant**: the indexes are what putting in each object once gives, whatever was put in and taken out before.

use std::{collections::BTreeMap, sync::Arc};

use acp_base::{Name, Uid};
use acp_wire_model::Kind;

use super::Record;
use crate::claims::Claims;

/// A name and, for kinds that are of one node, the node: the order of a list.
type Place = (Name, Option<Name>);

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Objects {
    by_uid: BTreeMap<Uid, Arc<Record>>,
    by_name: BTreeMap<Kind, BTreeMap<Place, Arc<Record>>>,
    claims: Claims,
}

impl Objects {
    pub(super) fn get(&self, uid: Uid) -> Option<&Arc<Record>> {
        self.by_uid.get(&uid)
    }

    /// The object of this name at this very place.
    pub(super) fn at(&self, kind: Kind, node: Option<&Name>, name: &Name) -> Option<&Arc<Record>> {
        self.by_name.get(&kind)?.get(&(name.clone(), node.cloned()))
    }

    /// All objects of this name, by their nodes.
    pub(super) fn named(&self, kind: Kind, name: &Name) -> impl Iterator<Item = &Arc<Record>> {
        let first = (name.clone(), None);
        let objects = self.by_name.get(&kind).into_iter().flat_map(move |objects| objects.range(first.clone()..));
        objects
            .take_while({
                let name = name.clone();
                move |((other, _), _)| *other == name
            })
            .map(|(_, record)| record)
    }

    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Record>> {
        self.by_name.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.by_name.get(&kind).map_or(0, BTreeMap::len)
    }

    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    pub(super) const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Puts the object in place of what had its identity, whatever name and node that had.
    pub(super) fn insert(&mut self, record: Record) -> Arc<Record> {
        if let Some(old) = self.by_uid.get(&record.uid).cloned() {
            self.remove(&old);
        }
        self.claims.insert(record.uid, &record.name, &record.spec);
        let record = Arc::new(record);
        self.by_uid.insert(record.uid, Arc::clone(&record));
        self.by_name.entry(record.kind).or_default().insert(place(&record), Arc::clone(&record));
        record
    }

    pub(super) fn remove(&mut self, record: &Record) {
        self.claims.remove(record.uid, &record.name, &record.spec);
        self.by_uid.remove(&record.uid);
        if let Some(objects) = self.by_name.get_mut(&record.kind) {
            objects.remove(&place(record));
            if objects.is_empty() {
                self.by_name.remove(&record.kind);
            }
        }
    }

    /// Says whether the invariant holds.
    pub(super) fn verify(&self) -> Result<(), String> {
        let mut rebuilt = Self::default();
        for record in self.by_uid.values() {
            rebuilt.insert(Record::clone(record));
        }
        for (kind, objects) in &rebuilt.by_name {
            if self.by_name.get(kind) != Some(objects) {
                return Err(format!("the names of {kind} objects are not those of their records"));
            }
        }
        if rebuilt == *self { Ok(()) } else { Err("what is claimed is not what the specs claim".to_owned()) }
    }
}

fn place(record: &Record) -> Place {
    (record.name.clone(), record.local_node().cloned())
}
