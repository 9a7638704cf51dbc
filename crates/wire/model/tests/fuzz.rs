//! Any JSON as what is kept on disk and in slots: what is read is written as the same.

use std::fmt::Debug;

use acp_wire_model::{
    Object, Slot,
    entry::Entry,
    image::ImageSpec,
    job::Job,
    network::NetworkSpec,
    pool::PoolSpec,
    system::{SystemMeta, SystemSpec},
    unit::UnitExit,
};
use serde::{Serialize, de::DeserializeOwned};

/// What JSON of any shape may take in memory for each of its bytes: a list of zeros becomes as many values.
const FACTOR: usize = 100;

fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let (read, peak) = acp_dev_fuzz::peak_bytes(|| serde_json::from_slice::<T>(bytes));
    assert!(peak <= (16 << 10) + FACTOR * bytes.len(), "{peak} bytes for {}", bytes.len());
    match read {
        Ok(value) => {
            let written = serde_json::to_vec(&value).expect("it was read from JSON");
            assert_eq!(serde_json::from_slice::<T>(&written).expect("its own"), value);
        }
        Err(error) => assert!(error.line() > 0 || bytes.is_empty(), "{error} says no place"),
    }
}

#[test]
fn records_and_slots_are_written_as_they_are_read() {
    acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "json", |bytes| {
        same::<Job>(bytes);
        same::<Object>(bytes);
        same::<Slot>(bytes);
        same::<Entry>(bytes);
        same::<SystemSpec>(bytes);
        same::<SystemMeta>(bytes);
        same::<NetworkSpec>(bytes);
        same::<PoolSpec>(bytes);
        same::<ImageSpec>(bytes);
        same::<UnitExit>(bytes);
    });
}
