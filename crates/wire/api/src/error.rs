//! `acp.error`: the one closed set of errors.

use acp_base::{Code, Failure};
use serde::{Deserialize, Serialize};
use zlink::{
    idl,
    introspect::Type,
    names::{FieldName, TypeName},
};

use crate::Interface;

/// The interface's name.
pub const NAME: &str = "acp.error";

/// The parameters of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct Parameters {
    /// What failed, why, and what to do.
    pub message: String,
    /// `caller`, `operator`, `circumstances` or `acp`: who has to act.
    pub blame: String,
    /// `none`, `partial` or `unknown`: whether state changed.
    pub changed: String,
    /// `never` or `later`: whether a retry can help.
    pub retry: String,
}

/// The error name for a code, like `acp.error.NotFound`.
pub fn error_name(code: Code) -> String {
    format!("{NAME}.{}", code.name())
}

/// The failure that an error name and its parameters describe; errors of other interfaces become internal ones.
pub fn to_failure(name: &str, parameters: &serde_json::Value) -> Failure {
    let code = name.strip_prefix("acp.error.").and_then(Code::from_name);
    let message = parameters.get("message").and_then(|message| message.as_str()).map(str::to_owned);
    match code {
        Some(code) => {
            let mut failure = Failure::new(code, message.unwrap_or_default());
            let field = |key: &str| parameters.get(key).cloned().unwrap_or_default();
            failure.blame = serde_json::from_value(field("blame")).unwrap_or(failure.blame);
            failure.changed = serde_json::from_value(field("changed")).unwrap_or(failure.changed);
            failure.retry = serde_json::from_value(field("retry")).unwrap_or(failure.retry);
            failure
        }
        None => {
            let code = match name {
                "org.varlink.service.InvalidParameter" => Code::InvalidArgument,
                "org.varlink.service.PermissionDenied" => Code::PermissionDenied,
                "org.varlink.service.MethodNotFound"
                | "org.varlink.service.MethodNotImplemented"
                | "org.varlink.service.InterfaceNotFound" => Code::Unimplemented,
                _ => Code::Internal,
            };
            Failure::new(code, message.unwrap_or_else(|| format!("{name} {parameters}")))
        }
    }
}

/// The parameters for a failure.
pub fn parameters(failure: &Failure) -> serde_json::Value {
    serde_json::json!({
        "message": failure.message,
        "blame": failure.blame,
        "changed": failure.changed,
        "retry": failure.retry,
    })
}

const fn text(name: &'static str) -> idl::Field<'static> {
    idl::Field::new(FieldName::from_static_str_unchecked(name), &idl::Type::String, &[])
}

/// This interface as data.
pub fn interface() -> Interface {
    static MESSAGE: idl::Field<'static> = text("message");
    static BLAME: idl::Field<'static> = text("blame");
    static CHANGED: idl::Field<'static> = text("changed");
    static RETRY: idl::Field<'static> = text("retry");
    static FIELDS: [&idl::Field<'static>; 4] = [&MESSAGE, &BLAME, &CHANGED, &RETRY];
    let errors = Code::ALL
        .into_iter()
        .map(|code| idl::Error::new(TypeName::from_static_str_unchecked(code.name()), &FIELDS, &[]))
        .collect();
    Interface {
        name: NAME,
        doc: &["The one closed set of errors that every method of every ACP interface answers with."],
        methods: Vec::new(),
        errors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_wire() {
        for code in Code::ALL {
            let failure = Failure::new(code, "why").changed(acp_base::Change::Partial);
            assert_eq!(to_failure(&error_name(code), &parameters(&failure)), failure);
        }
    }
}
