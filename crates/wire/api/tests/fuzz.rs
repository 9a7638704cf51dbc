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

/// A key that no request has.
const UNKNOWN: &str = "no_request_has_this";

#[test]
fn any_request_is_read_or_refused_and_unknown_keys_are_never_taken() {
    let methods: Vec<_> = acp_wire_api::all().into_iter().flat_map(|interface| interface.methods).collect();
    let taken = std::cell::RefCell::new(std::collections::BTreeSet::new());
    acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "requests", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        for method in methods.iter().filter(|method| (method.reads)(text).is_ok()) {
            taken.borrow_mut().insert(method.name);
            // A list passes for a struct's fields in their order here; the chassis refuses it before.
            let Ok(Value::Object(mut request)) = serde_json::from_str(text) else { continue };
            request.insert(UNKNOWN.to_owned(), Value::Bool(true));
            let more = Value::Object(request).to_string();
            assert!((method.reads)(&more).is_err(), "{} takes {more}", method.name);
        }
    });
    let untried: Vec<_> =
        methods.iter().map(|method| method.name).filter(|name| !taken.borrow().contains(name)).collect();
    assert!(untried.is_empty(), "the corpus holds no request of {}", untried.join(", "));
}
