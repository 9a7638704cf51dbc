//! Epochs as they are written between services: `<number>-<id>`, the id shortened to what tells two apart.

use std::fmt;

use acp_base::EpochId;

/// An epoch as it is written. Equal texts are equal epochs; the number says which is later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) number: u64,
    text: String,
}

impl Epoch {
    /// The epoch of this text; none for any other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, id) = text.split_once('-')?;
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        is_id.then_some(())?;
        Some(Self { number: number.parse().ok()?, text: text.to_owned() })
    }

    /// As it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<EpochId> for Epoch {
    fn from(id: EpochId) -> Self {
        Self { number: id.number, text: id.to_string() }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use acp_base::Uid;

    use super::*;

    #[test]
    fn an_epoch_survives_its_text_and_nothing_else_reads() {
        let epoch = Epoch::from(EpochId { number: 3, id: Uid::from_u128(7) });
        assert_eq!(epoch.as_str(), "3-00000007");
        assert_eq!(Epoch::parse(epoch.as_str()), Some(epoch));
        for bad in ["", "3", "3-", "x-1", "-1-2 ", "3-z"] {
            assert_eq!(Epoch::parse(bad), None, "{bad}");
        }
    }
}
