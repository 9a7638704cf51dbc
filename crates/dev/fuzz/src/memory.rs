//! How much memory a piece of work takes: the allocator of every test that links this crate counts for each thread.
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands everything on to the system's")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static USED: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Does the work and answers how many bytes were allocated at most at the same moment by this thread, beside its result.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = USED.get();
    PEAK.set(before);
    let done = work();
    (done, usize::try_from(PEAK.get() - before).unwrap_or_default())
}

/// The system's allocator with a count.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(change: isize) {
    // A thread that ends may free after its counters are gone; nobody asks for them then.
    let counted = USED.try_with(|used| {
        used.set(used.get() + change);
        used.get()
    });
    if let Ok(used) = counted {
        PEAK.try_with(|peak| peak.set(peak.get().max(used))).unwrap_or_default();
    }
}

fn size(layout: Layout) -> isize {
    isize::try_from(layout.size()).unwrap_or(isize::MAX)
}

// SAFETY: every call is handed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_peak_counts_and_not_what_is_left() {
        let (length, peak) = super::peak_bytes(|| {
            let large = vec![1_u8; 100_000];
            let length = large.len();
            drop(large);
            length + vec![2_u8; 10].len()
        });
        assert_eq!(length, 100_010);
        assert!((100_000..101_000).contains(&peak), "{peak}");
    }
}
