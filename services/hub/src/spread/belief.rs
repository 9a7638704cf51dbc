//! Whether another controller's checkpoint counts: of this cluster and epoch, signed by a controller with the key that the log has of
//! it, and not against what this hub knows itself.

use acp_base::to_hex;
use acp_core_cdb::Hash;
use acp_core_membership::State;
use acp_io_pki::is_signed_by;
use acp_wire_api::cluster::Checkpoint;

use super::message;
use crate::log::Position;

/// Why a checkpoint does not count, if it does not. `ours` is the hash that this hub has at its index, if it is there.
pub(super) fn believe(
    checkpoint: &Checkpoint,
    at: &Position,
    state: &State,
    ours: Option<Hash>,
) -> Result<(), &'static str> {
    if Some(checkpoint.cluster) != at.cluster || checkpoint.epoch != at.epoch_text() {
        return Err("it is of another cluster or epoch");
    }
    let signer = state.members().get(&checkpoint.signer).filter(|member| member.controller);
    let signer = signer.ok_or("its signer is no controller")?;
    if !is_signed_by(&signer.checkpoint_key, &message(checkpoint), &checkpoint.signature) {
        return Err("its signature is not its signer's");
    }
    match ours {
        Some(ours) if to_hex(&ours.bytes()) != checkpoint.hash => Err("this hub's log has another hash there"),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use acp_base::{EpochId, Uid, WallTime};
    use acp_core_membership::{Command, Digest, NewNode, NewToken};
    use acp_io_pki::CheckpointKey;

    use super::*;

    const CLUSTER: Uid = Uid::from_u128(0xc1);
    const HASH: [u8; 32] = [7; 32];

    fn node(number: u8) -> NewNode {
        NewNode {
            uid: Uid::from_u128(number.into()),
            name: format!("n{number}").parse().expect("a name"),
            address: format!("10.0.0.{number}:9932").parse().expect("an address"),
            key: Digest::of(&[number]),
            root_key: None,
            systems: Vec::new(),
        }
    }

    /// What a hub knows in a cluster of n1, which is its controller with this key, and n2, which is none.
    fn known(key: &CheckpointKey) -> (Position, State) {
        let mut state = State::default();
        let (name, authority) = ("prod".parse().expect("a name"), "00".to_owned());
        let token = Digest::of(b"token");
        let controller =
            |node, key: &CheckpointKey| Command::SetController { node, checkpoint_key: Some(key.public()) };
        for command in [
            Command::Init { cluster: CLUSTER, name, authority, node: node(1) },
            controller(node(1).uid, key),
            Command::CreateToken(NewToken {
                uid: Uid::from_u128(5),
                digest: token,
                lifetime_ms: 60_000,
                uses: 1,
                no_root_key: true,
            }),
            Command::Join { token, node: node(2) },
        ] {
            state.apply(command, 1).expect("decided for");
        }
        let epoch = EpochId { number: 3, id: Uid::from_u128(0xe) };
        let (hash, time) = (Hash::from_bytes(HASH), WallTime(1));
        (Position { index: 40, hash, time, cluster: Some(CLUSTER), epoch: Some(epoch) }, state)
    }

    fn signed(key: &CheckpointKey, change: impl FnOnce(&mut Checkpoint)) -> Checkpoint {
        let epoch = EpochId { number: 3, id: Uid::from_u128(0xe) }.to_string();
        let (hash, signer) = (to_hex(&HASH), node(1).uid);
        let mut checkpoint = Checkpoint { cluster: CLUSTER, epoch, index: 40, hash, signer, signature: String::new() };
        change(&mut checkpoint);
        checkpoint.signature = key.sign(&message(&checkpoint)).expect("signed");
        checkpoint
    }

    #[test]
    fn what_is_forged_moved_or_of_another_epoch_does_not_count() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = |name: &str| CheckpointKey::ensure(&directory.path().join(name)).expect("a key");
        let (own, other) = (key("own"), key("other"));
        let (at, state) = known(&own);
        let ours = Some(Hash::from_bytes(HASH));
        let refused = |checkpoint: &Checkpoint| believe(checkpoint, &at, &state, ours).expect_err("it does not count");
        assert_eq!(believe(&signed(&own, |_| {}), &at, &state, ours), Ok(()));
        assert_eq!(believe(&signed(&own, |later| later.index = 41), &at, &state, None), Ok(()), "it is behind");

        assert_eq!(refused(&signed(&other, |_| {})), "its signature is not its signer's");
        let no_controller = signed(&other, |forged| forged.signer = node(2).uid);
        assert_eq!(refused(&no_controller), "its signer is no controller");
        let stranger = signed(&other, |forged| forged.signer = Uid::from_u128(77));
        assert_eq!(refused(&stranger), "its signer is no controller");
        let strayed = signed(&own, |strayed| strayed.hash = to_hex(&[8; 32]));
        assert_eq!(refused(&strayed), "this hub's log has another hash there");
        let old = signed(&own, |old| old.epoch = EpochId { number: 2, id: Uid::from_u128(0xe) }.to_string());
        assert_eq!(refused(&old), "it is of another cluster or epoch");
        let foreign = signed(&own, |foreign| foreign.cluster = Uid::from_u128(0xc2));
        assert_eq!(refused(&foreign), "it is of another cluster or epoch");
        // The signature of one position does not vouch for another.
        let genuine = signed(&own, |_| {});
        for moved in [Checkpoint { index: 41, ..genuine.clone() }, Checkpoint { hash: to_hex(&[8; 32]), ..genuine }] {
            assert_eq!(believe(&moved, &at, &state, None), Err("its signature is not its signer's"));
        }
    }
}
