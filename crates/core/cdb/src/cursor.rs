//! Where a watch continues.

use std::{fmt, str::FromStr};

use acp_base::{EpochId, Uid};

/// A position in what a watch sees: `<epoch>:<index>:<boot>:<number>`.
///
/// The first half, epoch and log index, means the same on every replica. The second, the life of one replica's slots and the
/// number of a change in it, means something only there; elsewhere the state comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The epoch.
    pub epoch: EpochId,
    /// The log's index.
    pub index: u64,
    /// One life of one replica.
    pub boot: Uid,
    /// The number of a change in it.
    pub number: u64,
}

/// The text is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cursor: hand back the one that the last reply gave, or none")]
pub struct CursorError(String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, index, boot, number } = self;
        write!(f, "{}-{}:{index}:{}:{number}", epoch.number, epoch.id.simple(), boot.simple())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        parse(text).ok_or_else(|| CursorError(text.chars().take(128).collect()))
    }
}

fn parse(text: &str) -> Option<Cursor> {
    let mut parts = text.split(':');
    let (number, id) = parts.next()?.split_once('-')?;
    let epoch = EpochId { number: number.parse().ok()?, id: id.parse().ok()? };
    let index = parts.next()?.parse().ok()?;
    let boot = parts.next()?.parse().ok()?;
    let number = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(Cursor { epoch, index, boot, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_its_text_and_nothing_else_reads() {
        let epoch = EpochId { number: 3, id: Uid::from_u128(7) };
        let cursor = Cursor { epoch, index: 12, boot: Uid::from_u128(9), number: 44 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "1", "1-2:3:4:5", "::::", &format!("{cursor}:1"), "x".repeat(100_000).as_str()] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
