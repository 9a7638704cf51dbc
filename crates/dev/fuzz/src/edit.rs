//! What is done to an input to make another.

use proptest::{
    prelude::{Just, Strategy, any, prop_oneof},
    sample::{Index, select},
};

/// Inputs are cut off there: larger ones take time and meet the same code. Bounds of decoders have tests of their own.
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// What decoders stumble over: ends, brackets, numbers at the edge of their types, broken escapes, names that are paths.
const TOKENS: [&[u8]; 34] = [
    b"\0",
    b"\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"-1",
    b"0.5",
    b"1e999",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"4294967296",
    b"\\u0000",
    b"\\ud800",
    b"..",
    b"/",
    b"../../etc/passwd",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xf0\x9f\x90\x91",
    b"\xdd\xff\xff\xff\xff",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// One edit. Positions are relative, so that every edit can be applied to every input.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Flip {
        at: Index,
        bit: u8,
    },
    Put {
        at: Index,
        token: &'static [u8],
    },
    Overwrite {
        at: Index,
        token: &'static [u8],
    },
    Remove {
        from: Index,
        to: Index,
    },
    Repeat {
        from: Index,
        to: Index,
        times: usize,
    },
    Cut {
        at: Index,
    },
    /// A part of another input of the corpus.
    Splice {
        at: Index,
        other: Index,
        from: Index,
        to: Index,
    },
}

pub(crate) fn strategy() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    let token = || select(TOKENS.to_vec());
    prop_oneof![
        3 => (index(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip { at, bit }),
        3 => (index(), token()).prop_map(|(at, token)| Edit::Put { at, token }),
        2 => (index(), token()).prop_map(|(at, token)| Edit::Overwrite { at, token }),
        2 => (index(), index()).prop_map(|(from, to)| Edit::Remove { from, to }),
        1 => (index(), index(), prop_oneof![Just(2_usize), 2..300_usize])
            .prop_map(|(from, to, times)| Edit::Repeat { from, to, times }),
        1 => index().prop_map(|at| Edit::Cut { at }),
        2 => (index(), index(), index(), index())
            .prop_map(|(at, other, from, to)| Edit::Splice { at, other, from, to }),
    ]
}

impl Edit {
    pub(crate) fn apply(&self, mut bytes: Vec<u8>, corpus: &[Vec<u8>]) -> Vec<u8> {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Self::Flip { at, bit } => {
                let at = place(at, &bytes);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
            }
            Self::Put { at, token } => {
                let at = place(at, &bytes);
                bytes.splice(at..at, token.iter().copied());
            }
            Self::Overwrite { at, token } => {
                let at = place(at, &bytes);
                bytes.iter_mut().skip(at).zip(*token).for_each(|(byte, new)| *byte = *new);
            }
            Self::Remove { from, to } => drop(bytes.drain(range(from, to, &bytes))),
            Self::Repeat { from, to, times } => {
                let range = range(from, to, &bytes);
                let (end, part) = (range.end, bytes[range].to_vec());
                let room = INPUT_BYTES_MAX.saturating_sub(bytes.len()) / part.len().max(1);
                bytes.splice(end..end, part.repeat((times - 1).min(room)));
            }
            Self::Cut { at } => bytes.truncate(place(at, &bytes)),
            Self::Splice { at, other, from, to } => {
                let other = &corpus[other.index(corpus.len())];
                let at = place(at, &bytes);
                bytes.splice(at..at, other[range(from, to, other)].iter().copied());
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }
}

fn range(from: &Index, to: &Index, bytes: &[u8]) -> std::ops::Range<usize> {
    let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
    from.min(to)..from.max(to)
}
