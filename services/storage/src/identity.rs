//! The identity of a volume.

use acp_base::{Name, Uid};
use sha2::{Digest, Sha256};
use uuid::Builder;

/// The uid of a volume: the first 16 bytes of SHA-256 over the pool's uid, the volume's name and its file's identity
/// (inode number and time of birth), marked as a UUID of version 8. The same after every restart, and another one when a
/// volume of the same name is made anew.
pub fn volume_uid(pool: Uid, volume: &Name, file_identity: &str) -> Uid {
    let mut hash = Sha256::new();
    hash.update(pool.as_u128().to_be_bytes());
    for part in [volume.as_str(), file_identity] {
        hash.update([0]);
        hash.update(part);
    }
    let digest = hash.finalize();
    let bytes = digest.first_chunk::<16>().expect("SHA-256 has 32 bytes");
    Builder::from_custom_bytes(*bytes).into_uuid().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_stable_and_tells_files_apart() {
        let pool = Uid::from_u128(7);
        let name: Name = "disk".parse().expect("a name");
        let uid = volume_uid(pool, &name, "1-2");
        assert_eq!(uid, volume_uid(pool, &name, "1-2"));
        assert_eq!(uid.simple().as_bytes()[12], b'8');
        for other in [
            volume_uid(pool, &name, "1-3"),
            volume_uid(Uid::from_u128(8), &name, "1-2"),
            volume_uid(pool, &"disk1".parse().expect("a name"), "-2"),
        ] {
            assert_ne!(uid, other);
        }
    }
}
