//! What a controller signs of a position of the log.

use acp_wire_api::cluster::Checkpoint;

/// What the signature of a checkpoint is over: everything in it but who signs.
pub fn checkpoint_message(checkpoint: &Checkpoint) -> Vec<u8> {
    let Checkpoint { cluster, epoch, index, hash, .. } = checkpoint;
    format!("acp-checkpoint-1\n{cluster}\n{epoch}\n{index}\n{hash}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use acp_base::Uid;

    use super::*;

    #[test]
    fn every_field_but_the_signer_is_signed() {
        let checkpoint = Checkpoint {
            cluster: Uid::from_u128(1),
            epoch: "1-x".to_owned(),
            index: 7,
            hash: "ab".repeat(32),
            signer: Uid::from_u128(2),
            signature: "cd".repeat(64),
        };
        let message = checkpoint_message(&checkpoint);
        let text = String::from_utf8(message.clone()).expect("text");
        let hash = &checkpoint.hash;
        assert_eq!(text, format!("acp-checkpoint-1\n{}\n1-x\n7\n{hash}\n", Uid::from_u128(1)));
        let others = [
            Checkpoint { cluster: Uid::from_u128(3), ..checkpoint.clone() },
            Checkpoint { epoch: "2-x".to_owned(), ..checkpoint.clone() },
            Checkpoint { index: 8, ..checkpoint.clone() },
            Checkpoint { hash: "ba".repeat(32), ..checkpoint.clone() },
        ];
        assert!(others.iter().all(|other| checkpoint_message(other) != message));
        assert_eq!(checkpoint_message(&Checkpoint { signer: Uid::from_u128(9), ..checkpoint }), message);
    }
}
