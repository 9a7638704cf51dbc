//! The group keys of this cluster's datagrams, as this hub knows them. In memory alone.

use std::sync::{Mutex, PoisonError};

use acp_base::{Failure, to_hex};
use acp_io_datagram::GroupKey;
use acp_wire_api::hub::{SyncKey, SyncKeysReply};

/// The keys. One for each epoch that this hub leads in.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    held: Mutex<Option<(String, GroupKey)>>,
}

impl Keys {
    /// The keys of an epoch, made if there are none.
    pub(crate) fn reply(&self, epoch: String, index: u64) -> Result<SyncKeysReply, Failure> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match held.take().filter(|(of, _key)| *of == epoch) {
            Some((_epoch, key)) => key,
            None => GroupKey::generate(u32::try_from(index).unwrap_or(u32::MAX))
                .map_err(|error| Failure::internal(error.to_string()))?,
        };
        let (number, secret) = (key.number(), to_hex(key.expose()));
        *held = Some((epoch.clone(), key));
        Ok(SyncKeysReply { keys: vec![SyncKey { number, secret }], seal: number, epoch })
    }
}
