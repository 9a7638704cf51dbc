//! Which of two directories counts: the higher epoch, then the higher revision.
//!
//! **Invariant**: two epochs of one number have no order: whoever is in one of them does not follow the other by itself.

use std::{cmp::Ordering, io};

use acp_base::Uid;
use acp_wire_api::hub::Directory;

/// What came of a directory that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adopted {
    /// It is the newest now.
    Newer,
    /// This node has it.
    Known,
    /// This node has a newer one: whoever sent it is behind.
    Older,
}

/// Why a directory is not heeded. Nothing was changed, except that one that cannot be kept counts while the agent lives.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    #[error("it speaks for another cluster, {0}")]
    OtherCluster(Uid),
    #[error("it is in another epoch of the same number, {theirs}, than this node, {ours}: one of them has to rejoin")]
    OtherEpoch { theirs: String, ours: String },
    #[error("the directory cannot be kept")]
    Keep(#[from] io::Error),
}

/// Whether one directory is newer than another. Nothing if they are of two epochs of the same number: then no order is right.
pub(crate) fn compare(one: &Directory, other: &Directory) -> Option<Ordering> {
    let numbers = (epoch_number(&one.epoch), epoch_number(&other.epoch));
    if numbers.0 == numbers.1 && one.epoch != other.epoch {
        return None;
    }
    Some((numbers.0, one.revision).cmp(&(numbers.1, other.revision)))
}

/// Whether a directory is of an earlier epoch than another: nobody goes back to it, not even when asked to.
pub(crate) fn is_of_earlier_epoch(one: &Directory, other: &Directory) -> bool {
    epoch_number(&one.epoch) < epoch_number(&other.epoch)
}

/// The number of an epoch written as `<number>-<id>`; before there were epochs it was 0.
fn epoch_number(epoch: &str) -> u64 {
    epoch.split_once('-').and_then(|(number, _id)| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use acp_wire_api::hub::Cluster;

    use super::*;

    fn directory(epoch: &str, revision: u64) -> Directory {
        Directory {
            cluster: Cluster { uid: Uid::from_u128(1), name: "c".parse().expect("a name") },
            revision,
            authority: String::new(),
            nodes: vec![],
            removed: vec![],
            keys: vec![],
            epoch: epoch.to_owned(),
            roles: vec![],
        }
    }

    #[test]
    fn the_higher_epoch_is_newer_then_the_higher_revision_and_two_of_one_number_have_no_order() {
        let (a, b) = ("1-aa", "10-bb");
        for (one, other, order) in [
            ((a, 5), (a, 4), Some(Ordering::Greater)),
            ((a, 5), (a, 5), Some(Ordering::Equal)),
            ((b, 1), (a, 9), Some(Ordering::Greater)),
            ((a, 9), (b, 1), Some(Ordering::Less)),
            (("", 9), (a, 1), Some(Ordering::Less)),
            (("1-cc", 9), (a, 1), None),
        ] {
            assert_eq!(compare(&directory(one.0, one.1), &directory(other.0, other.1)), order, "{one:?} {other:?}");
        }
    }
}
