//! The last entries, for whoever follows.
//!
//! **Invariant**: the entries follow each other without gap up to the last one applied, and each hash is the chain's there.

use std::{collections::VecDeque, sync::Arc};

use acp_core_cdb::Hash;

/// Entries kept: minutes of a busy cluster. Whoever is further behind is sent a snapshot, which is less by then.
const ENTRIES_MAX: usize = 16_384;

/// Bytes of entries kept: what the hub may take of a node's memory is promised.
const BYTES_MAX: usize = 4 << 20;

/// Entries in a page: what comes of one batch.
const PAGE_ENTRIES_MAX: usize = 512;

/// Bytes of entries, about, after which a page is closed: with base64 around them a reply stays far below what is read.
const PAGE_BYTES: usize = 1 << 20;

/// Entries that a snapshot takes along, so that whoever was a little behind before a restart needs none after it.
const CARRIED_MAX: usize = 4_096;

/// Bytes of entries that a snapshot takes along.
const CARRIED_BYTES_MAX: usize = 1 << 20;

/// An entry with the chain's hash after it.
#[derive(Clone, Debug)]
struct Kept {
    bytes: Arc<[u8]>,
    hash: Hash,
}

/// Entries in order, and where they end.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The entries.
    pub(crate) entries: Vec<Arc<[u8]>>,
    /// The index of the last one.
    pub(crate) last: u64,
    /// The chain's hash there.
    pub(crate) hash: Hash,
}

/// The last entries.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    /// What lies before the first entry kept.
    base: u64,
    base_hash: Hash,
    entries: VecDeque<Kept>,
    bytes: usize,
}

impl Recent {
    /// None, after this position.
    pub(crate) const fn after(base: u64, base_hash: Hash) -> Self {
        Self { base, base_hash, entries: VecDeque::new(), bytes: 0 }
    }

    /// Keeps the next one.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, hash: Hash) {
        self.bytes += bytes.len();
        self.entries.push_back(Kept { bytes: bytes.into(), hash });
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.bytes.len();
            self.base += 1;
            self.base_hash = oldest.hash;
        }
    }

    /// The chain's hash at an index, if that is remembered.
    pub(crate) fn hash_at(&self, index: u64) -> Option<Hash> {
        match index.checked_sub(self.base)? {
            0 => Some(self.base_hash),
            offset => Some(self.entries.get(usize::try_from(offset - 1).ok()?)?.hash),
        }
    }

    /// The entries after an index up to another one, as many as a page takes; none if they are not remembered.
    pub(crate) fn page(&self, after: u64, up_to: u64) -> Option<Page> {
        let skip = usize::try_from(after.checked_sub(self.base)?).ok()?;
        let wanted = usize::try_from(up_to.saturating_sub(after)).ok()?;
        let mut page = Page { entries: Vec::new(), last: after, hash: self.hash_at(after)? };
        let mut bytes = 0;
        for kept in self.entries.iter().skip(skip).take(wanted.min(PAGE_ENTRIES_MAX)) {
            bytes += kept.bytes.len();
            page.entries.push(Arc::clone(&kept.bytes));
            page.last += 1;
            page.hash = kept.hash;
            if bytes > PAGE_BYTES {
                break;
            }
        }
        Some(page)
    }

    /// What a snapshot takes along: the newest entries, and the hash before them.
    pub(crate) fn carried(&self) -> (Hash, Vec<Arc<[u8]>>) {
        let mut bytes = 0;
        let fits = |kept: &&Kept| {
            bytes += kept.bytes.len();
            bytes <= CARRIED_BYTES_MAX
        };
        let count = self.entries.iter().rev().take(CARRIED_MAX).take_while(fits).count();
        let skipped = self.entries.len() - count;
        let before = skipped.checked_sub(1).map_or(self.base_hash, |last| self.entries[last].hash);
        (before, self.entries.iter().skip(skipped).map(|kept| Arc::clone(&kept.bytes)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(count: usize, size: usize) -> (Recent, Vec<Hash>) {
        let mut recent = Recent::after(10, Hash::ZERO);
        let mut hashes = vec![Hash::ZERO];
        for _entry in 0..count {
            let bytes = vec![7; size];
            let hash = hashes[hashes.len() - 1].link(&bytes);
            recent.push(bytes, hash);
            hashes.push(hash);
        }
        (recent, hashes)
    }

    #[test]
    fn each_page_ends_with_the_chains_hash() {
        let (recent, hashes) = chain(1_000, 10);
        let page = recent.page(10, 13).expect("remembered");
        assert_eq!((page.entries.len(), page.last, page.hash), (3, 13, hashes[3]));
        let page = recent.page(13, u64::MAX).expect("remembered");
        assert_eq!((page.entries.len(), page.last, page.hash), (512, 525, hashes[515]));
        let end = recent.page(1_010, u64::MAX).expect("nothing after the last one");
        assert_eq!((end.entries.len(), end.last, end.hash), (0, 1_010, hashes[1_000]));
        assert!(recent.page(9, u64::MAX).is_none(), "older than what is kept");
        assert!(recent.page(1_011, u64::MAX).is_none(), "newer than what there is");
        assert_eq!(
            (recent.hash_at(10), recent.hash_at(1_010), recent.hash_at(1_011)),
            (Some(hashes[0]), Some(hashes[1_000]), None)
        );
    }

    #[test]
    fn what_is_too_much_is_forgotten_from_its_beginning() {
        let (recent, hashes) = chain(20, 1 << 20);
        assert_eq!(recent.hash_at(25), None, "4 MiB are kept");
        assert_eq!(recent.hash_at(26), Some(hashes[16]));
        assert_eq!(recent.page(26, u64::MAX).expect("remembered").entries.len(), 2, "a page closes behind 1 MiB");
        let (recent, _hashes) = chain(ENTRIES_MAX + 5, 1);
        assert_eq!(recent.page(15, u64::MAX).map(|page| page.entries.len()), Some(512));
        assert!(recent.page(14, u64::MAX).is_none());
    }

    #[test]
    fn a_snapshot_takes_the_newest_along() {
        let (recent, hashes) = chain(5_000, 100);
        let (before, entries) = recent.carried();
        assert_eq!((before, entries.len()), (hashes[5_000 - 4_096], 4_096));
        let (recent, hashes) = chain(3, 400 << 10);
        let (before, entries) = recent.carried();
        assert_eq!((before, entries.len()), (hashes[1], 2));
        let (recent, _hashes) = chain(0, 0);
        assert_eq!(recent.carried().1.len(), 0);
    }
}
