//! The rules of images.

use acp_wire_model::{Kind, image::ImageSpec};

use super::{Subject, text};
use crate::{limits::DISK_MAX, refusal::Refusal, spec::Spec, state::State};

pub(super) fn admit(state: &State, subject: Subject<'_>, spec: ImageSpec) -> Result<ImageSpec, Refusal> {
    state.pool_spec(spec.node.as_ref(), &spec.pool)?;
    content(&spec)?;
    text("source", &spec.source)?;
    if let Some(Spec::Image(old)) = subject.old {
        let same = ImageSpec { source: old.source.clone(), ..spec.clone() } == *old;
        if !same {
            return Err(Refusal::precondition(format!(
                "{} {:?} cannot change: a new content is a new image",
                Kind::Image,
                subject.name.as_str()
            )));
        }
    }
    Ok(spec)
}

fn content(spec: &ImageSpec) -> Result<(), Refusal> {
    if spec.sha256.len() != 64 || !spec.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Refusal::invalid("sha256 is not 64 lower-case hexadecimal digits"));
    }
    for (field, size) in [("size_bytes", spec.size_bytes), ("virtual_size_bytes", spec.virtual_size_bytes)] {
        if size.bytes() == 0 || size > DISK_MAX {
            return Err(Refusal::invalid(format!("{field} is {size}; an image has 1B to {DISK_MAX}")));
        }
    }
    Ok(())
}
