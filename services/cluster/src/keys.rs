//! By what checkpoints are verified: the public keys of controllers.

use std::collections::BTreeMap;

use acp_base::Uid;
use acp_core_cdb::checkpoint_message;
use acp_io_pki::is_signed_by;
use acp_wire_api::cluster::{Checkpoint, ControllerKey};

/// The controllers known here, with their Ed25519 keys in hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys(BTreeMap<Uid, String>);

/// Why a signature counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsigned {
    /// Nobody here knows who signed.
    #[error("{0} signed it, which is no controller that is known here")]
    Stranger(Uid),
    /// It is not that controller's signature.
    #[error("the signature is not that of controller {0}")]
    Forged(Uid),
}

impl Keys {
    /// Adds a controller's key; an empty one adds nothing.
    pub(crate) fn add(&mut self, controller: Uid, key: &str) {
        if !key.is_empty() {
            self.0.insert(controller, key.to_owned());
        }
    }

    /// Adds these controllers, as far as they are not known.
    pub(crate) fn extend(&mut self, controllers: &[ControllerKey]) {
        for controller in controllers {
            if !self.know(controller.uid) {
                self.add(controller.uid, &controller.key);
            }
        }
    }

    /// Whether this controller's key is known.
    pub(crate) fn know(&self, controller: Uid) -> bool {
        self.0.contains_key(&controller)
    }

    /// Whether one of these controllers has signed exactly this.
    pub(crate) fn verify(&self, checkpoint: &Checkpoint) -> Result<(), Unsigned> {
        let signer = checkpoint.signer;
        let key = self.0.get(&signer).ok_or(Unsigned::Stranger(signer))?;
        let is_signed = is_signed_by(key, &checkpoint_message(checkpoint), &checkpoint.signature);
        if is_signed { Ok(()) } else { Err(Unsigned::Forged(signer)) }
    }
}
