//! Any text as names, sizes and identities: what is read is written the same way, and what is written is read as the same.

use std::{fmt::Display, str::FromStr};

use acp_base::{ByteSize, Name, Uid};

/// Whether the text is one; then writing and reading it again gives the same.
fn read<T: FromStr<Err: Display> + Display + PartialEq + std::fmt::Debug>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => {
            assert_eq!(value.to_string().parse::<T>().ok().as_ref(), Some(&value), "{text:?}");
            Some(value)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

#[test]
fn names_and_identities_are_written_as_they_are_read() {
    acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "text", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Some(name) = read::<Name>(&text) {
            assert_eq!(name.to_string(), text);
            assert!(!text.contains(['/', '\0', ' ']) && !text.starts_with('.'), "{text:?} would be a path");
        }
        read::<Uid>(&text);
    });
}

#[test]
fn sizes_are_read_exactly_or_not_at_all() {
    acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "text", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(size) = text.parse::<ByteSize>() {
            assert_eq!(size.bytes().to_string().parse(), Ok(size));
            assert_eq!(format!("{}B", size.bytes()).parse(), Ok(size));
            assert!(!size.to_string().is_empty());
        }
    });
}
