//! Any bytes as images, any text as places and sources: nothing that is taken leads out of a pool.

use acp_core_storeplan::{Content, DISK_BYTES_MAX, Source, inspect};
use acp_dev_fuzz::{check, peak_bytes};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");
/// A header holds two names, at most 1,023 bytes and one extension's length; as text each byte may take three.
const MEMORY: usize = 16 * 1024;

#[test]
fn what_is_taken_as_an_image_is_one_within_the_bounds() {
    check(CRATE, "image", |head| {
        for length in [head.len() as u64, 1 << 20, u64::MAX] {
            let (found, peak) = peak_bytes(|| inspect(head, length));
            assert!(peak <= MEMORY + 4 * head.len(), "{peak} bytes for {}", head.len());
            match found {
                Ok(Content::Qcow2(header)) => {
                    assert!(matches!(header.version, 2 | 3) && (9..=21).contains(&header.cluster_bits), "{header:?}");
                    assert!(header.virtual_size.bytes() <= DISK_BYTES_MAX, "{header:?}");
                    let again = inspect(head, length);
                    assert_eq!(again, Ok(Content::Qcow2(header)));
                }
                Ok(Content::Raw { size, .. }) => assert!(size.bytes() <= length && size.bytes() <= DISK_BYTES_MAX),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    });
}

#[test]
fn places_and_sources_lead_where_they_say() {
    check(CRATE, "text", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(source) = Source::parse(&text) {
            assert_eq!(source.secret(), text);
            let line = source.to_curl_config();
            assert_eq!(line.matches('\n').count(), 1, "one setting, one line: {line:?}");
            let shown = source.to_string();
            let scheme = shown.split(':').next().unwrap_or_default().to_ascii_lowercase();
            assert!(matches!(scheme.as_str(), "http" | "https"), "{shown}");
            let credentials = text.split("//").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
            if let Some((secret, _)) = credentials.and_then(|host| host.rsplit_once('@')) {
                // Somebody may name a directory as the user is named.
                let is_elsewhere = secret.len() < 4 || text.matches(secret).count() > 1;
                assert!(is_elsewhere || !shown.contains(secret), "{shown} tells {secret}");
            }
        }
    });
}
