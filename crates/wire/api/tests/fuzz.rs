//! Any error of a peer as a failure: told again, it is the same failure.

use acp_wire_api::error::{error_name, parameters, to_failure};
use serde_json::Value;

/// An input is an error's name, a line end, and its parameters.
#[test]
fn failures_survive_being_told() {
    acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "failure", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (name, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let failure = to_failure(name, &serde_json::from_str::<Value>(rest).unwrap_or_default());
        let told = serde_json::to_value(parameters(&failure)).expect("plain");
        assert_eq!(to_failure(&error_name(failure.code), &told), failure);
    });
}
