//! Bytes as text, piece by piece.

/// Takes the text out of `pending`, with bytes that are no UTF-8 replaced, and leaves a character that is not complete yet.
pub(crate) fn take_text(pending: &mut Vec<u8>) -> String {
    let rest = pending.split_off(pending.len() - incomplete(pending));
    let text = String::from_utf8_lossy(pending).into_owned();
    *pending = rest;
    text
}

/// How many bytes at the end are the beginning of a character.
fn incomplete(bytes: &[u8]) -> usize {
    let is_beginning = |tail: &[u8]| std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none());
    let tails = (1..=bytes.len().min(3)).rev();
    tails.into_iter().find(|count| is_beginning(&bytes[bytes.len() - count..])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_in_two_comes_out_whole() {
        for text in ["aä", "€", "x😀", "plain"] {
            for cut in 0..=text.len() {
                let mut pending = text.as_bytes()[..cut].to_vec();
                let mut seen = take_text(&mut pending);
                pending.extend_from_slice(&text.as_bytes()[cut..]);
                seen += &take_text(&mut pending);
                assert_eq!(seen, text, "cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_replaced_and_not_kept() {
        let mut pending = b"a\xff\xfeb\x80".to_vec();
        assert_eq!(take_text(&mut pending), "a\u{fffd}\u{fffd}b\u{fffd}");
        assert!(pending.is_empty());
    }
}
