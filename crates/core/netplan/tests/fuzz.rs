//! Any listing of nft, any text as addresses: what is understood is understood the same way again.

use acp_core_netplan::{Alias, Cidr, Mac, TableContent};
use acp_dev_fuzz::{check, peak_bytes};
use serde_json::Value;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn listings_of_any_shape_are_compared() {
    check(CRATE, "nft", |bytes| {
        let Ok(listing) = serde_json::from_slice::<Value>(bytes) else { return };
        let (content, peak) = peak_bytes(|| TableContent::of_listing(&listing));
        assert!(peak <= (16 << 10) + 200 * bytes.len(), "{peak} bytes for {}", bytes.len());
        assert!(content.has_shape_of(&content));
        let written: Value = serde_json::from_str(&listing.to_string()).expect("it was written from a value");
        assert_eq!(TableContent::of_listing(&written), content);
    });
}

#[test]
fn addresses_are_written_as_they_are_read() {
    check(CRATE, "text", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(cidr) = text.parse::<Cidr>() {
            assert_eq!(cidr.to_string().parse(), Ok(cidr));
        }
        if let Ok(mac) = text.parse::<Mac>() {
            assert_eq!(mac.to_string().parse(), Ok(mac));
        }
        if let Some(alias) = Alias::parse(&text) {
            assert_eq!(Alias::parse(&alias.to_string()), Some(alias));
        }
    });
}
