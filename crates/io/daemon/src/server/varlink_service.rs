//! `org.varlink.service`: introspection.

use acp_wire_api::Interface;
use serde_json::{Value, json};

/// The interface's name.
pub(super) const NAME: &str = "org.varlink.service";

/// The interface's text, from the Varlink specification's definition of names and types.
const DESCRIPTION: &str = "\
# The Varlink Service Interface is provided by every varlink service.
interface org.varlink.service

# Says who answers and which interfaces it has.
method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

# Answers an interface's definition.
method GetInterfaceDescription(interface: string) -> (description: string)

# The interface is not known here.
error InterfaceNotFound (interface: string)

# The interface has no such method.
error MethodNotFound (method: string)

# The method is declared and not implemented.
error MethodNotImplemented (method: string)

# A parameter is missing, unknown or wrong.
error InvalidParameter (parameter: string)

# The caller may not call this method.
error PermissionDenied ()

# The method has to be called with more.
error ExpectedMore ()
";

/// A standard error: its full name and its parameters.
pub(super) type StandardError = (String, Value);

/// Answers the two standard methods; `None`: no method of this interface.
pub(super) fn answer(
    method: &str,
    parameters: &Value,
    product: &str,
    interfaces: &[Interface],
) -> Option<Result<Value, StandardError>> {
    match method.strip_prefix(NAME)? {
        ".GetInfo" => Some(Ok(info(product, interfaces))),
        ".GetInterfaceDescription" => Some(description(parameters, interfaces)),
        _ => None,
    }
}

/// The error for a method that nobody answers: the interface is unknown, or the method is.
pub(super) fn unknown(method: &str, interfaces: &[Interface]) -> StandardError {
    let interface = method.rsplit_once('.').map_or("", |(interface, _)| interface);
    if interface == NAME || interfaces.iter().any(|known| known.name == interface) {
        (format!("{NAME}.MethodNotFound"), json!({ "method": method }))
    } else {
        (format!("{NAME}.InterfaceNotFound"), json!({ "interface": interface }))
    }
}

fn info(product: &str, interfaces: &[Interface]) -> Value {
    let mut names: Vec<&str> = interfaces.iter().map(|interface| interface.name).collect();
    names.push(NAME);
    names.sort_unstable();
    json!({
        "vendor": "ACP",
        "product": product,
        "version": env!("CARGO_PKG_VERSION"),
        "url": "",
        "interfaces": names,
    })
}

fn description(parameters: &Value, interfaces: &[Interface]) -> Result<Value, StandardError> {
    let Some(wanted) = parameters.get("interface").and_then(Value::as_str) else {
        return Err((format!("{NAME}.InvalidParameter"), json!({ "parameter": "interface" })));
    };
    if wanted == NAME {
        return Ok(json!({ "description": DESCRIPTION }));
    }
    match interfaces.iter().find(|interface| interface.name == wanted) {
        Some(interface) => Ok(json!({ "description": interface.to_idl() })),
        None => Err((format!("{NAME}.InterfaceNotFound"), json!({ "interface": wanted }))),
    }
}
