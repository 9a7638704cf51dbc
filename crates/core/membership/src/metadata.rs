//! What operators note of members: typed values under names. The cluster acts on none of it; it tells it and finds nodes by it.

use std::collections::BTreeSet;

use acp_base::{Name, Uid};
use acp_wire_api::hub::{MetaValue, Metadata};

use crate::{
    Outcome, Rejection, State,
    limits::{METADATA_BYTES_MAX, METADATA_MAX, METADATA_TEXT_MAX},
};

impl State {
    pub(crate) fn set_metadata(
        &mut self,
        node: Uid,
        set: Metadata,
        unset: &BTreeSet<Name>,
    ) -> Result<Outcome, Rejection> {
        let member = self.member(node)?;
        for (key, value) in &set.0 {
            check(key, value, unset)?;
        }
        let mut metadata = member.metadata.clone();
        metadata.0.retain(|key, _| !unset.contains(key));
        metadata.0.extend(set.0);
        if metadata.0.len() > METADATA_MAX {
            return Err(Rejection::MetadataMany { node: member.name.clone(), given: metadata.0.len() });
        }
        let bytes = self.metadata_bytes() - bytes(&member.metadata) + bytes(&metadata);
        if bytes > METADATA_BYTES_MAX {
            return Err(Rejection::MetadataFull { bytes });
        }
        self.change(node, |member| member.metadata = metadata)
    }

    fn metadata_bytes(&self) -> usize {
        self.members.values().map(|member| bytes(&member.metadata)).sum()
    }

    pub(crate) fn is_metadata_bounded(&self) -> bool {
        let nothing = BTreeSet::new();
        let noted = || self.members.values().map(|member| &member.metadata.0);
        noted().all(|metadata| metadata.len() <= METADATA_MAX)
            && noted().flatten().all(|(key, value)| check(key, value, &nothing).is_ok())
            && self.metadata_bytes() <= METADATA_BYTES_MAX
    }
}

fn check(key: &Name, value: &MetaValue, unset: &BTreeSet<Name>) -> Result<(), Rejection> {
    if unset.contains(key) {
        return Err(Rejection::MetadataBoth { key: key.clone() });
    }
    match value {
        MetaValue::Text(text) if text.len() > METADATA_TEXT_MAX => {
            Err(Rejection::MetadataLong { key: key.clone(), bytes: text.len() })
        }
        MetaValue::Text(text) if text.chars().any(char::is_control) => {
            Err(Rejection::MetadataControl { key: key.clone() })
        }
        MetaValue::Flag(_) | MetaValue::Number(_) | MetaValue::Text(_) => Ok(()),
    }
}

/// Names and values as people write them.
fn bytes(metadata: &Metadata) -> usize {
    metadata.0.iter().map(|(key, value)| key.as_str().len() + length(value)).sum()
}

fn length(value: &MetaValue) -> usize {
    match value {
        MetaValue::Flag(flag) => flag.to_string().len(),
        MetaValue::Number(number) => number.to_string().len(),
        MetaValue::Text(text) => text.len(),
    }
}
