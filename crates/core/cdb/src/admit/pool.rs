//! The rules of pools.

use std::path::{Component, Path};

use acp_wire_model::{Kind, pool::PoolSpec};

use super::Subject;
use crate::{limits::PATH_BYTES_MAX, refusal::Refusal, spec::Spec, state::State};

pub(super) fn admit(state: &State, subject: Subject<'_>, spec: PoolSpec) -> Result<PoolSpec, Refusal> {
    if let Some(path) = &spec.path {
        confined(path)?;
        apart_from_others(state, subject, &spec, path)?;
    }
    match subject.old {
        Some(Spec::Pool(old)) if *old != spec => Err(Refusal::precondition(format!(
            "pool {:?} cannot change its driver, node or path: what lies in it would be left behind; create another pool",
            subject.name.as_str()
        ))),
        _ => Ok(spec),
    }
}

fn confined(path: &str) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::invalid(format!("path: {path:?} {why}")));
    if path.len() > PATH_BYTES_MAX {
        return refuse("is too long for a path");
    }
    if path.chars().any(char::is_control) {
        return refuse("holds control characters");
    }
    if !path.starts_with('/') {
        return refuse("is not absolute");
    }
    if Path::new(path).components().any(|part| part == Component::ParentDir) {
        return refuse("holds \"..\"; write where it really is");
    }
    if Path::new(path).components().count() < 2 {
        return refuse("is the root directory");
    }
    Ok(())
}

/// Two pools in one directory, or in one another's, would take each other's files for their own.
fn apart_from_others(state: &State, subject: Subject<'_>, spec: &PoolSpec, path: &str) -> Result<(), Refusal> {
    for record in state.objects(Kind::Pool).filter(|record| record.uid != subject.uid) {
        let Spec::Pool(other) = &record.spec else { continue };
        let Some(taken) = other.path.as_deref().filter(|_| other.node == spec.node) else { continue };
        if Path::new(path).starts_with(taken) || Path::new(taken).starts_with(path) {
            let name = record.name.as_str();
            return Err(Refusal::precondition(format!(
                "path: {path:?} and {taken:?} of pool {name:?} lie in one another"
            )));
        }
    }
    Ok(())
}
