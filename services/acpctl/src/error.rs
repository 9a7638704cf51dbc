//! Failures on the standard error output, and the exit status.

use std::{ffi::OsString, io::Write, process::ExitCode};

use acp_base::{Change, Code, Failure};
use serde_json::json;

/// Says why it failed; the exit status is part of the interface.
pub(crate) fn report(failure: &Failure, is_json: bool) -> ExitCode {
    let text = if is_json { as_json(failure) } else { sentence(failure) };
    say(&text);
    ExitCode::from(failure.code.exit_status())
}

/// Prints help, version or what is wrong with the command line.
pub(crate) fn usage(error: &clap::Error, is_json: bool) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_closed) => ExitCode::from(Code::DataLoss.exit_status()),
        };
    }
    if is_json {
        return report(&Failure::invalid(first_paragraph(&error.to_string())), true);
    }
    say(&error.to_string());
    ExitCode::from(Code::InvalidArgument.exit_status())
}

/// Whether a command line that cannot be read asks for JSON.
pub(crate) fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<_> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let is_joined = |word: &String| matches!(word.as_str(), "-ojson" | "-o=json" | "--output=json");
    words.iter().any(is_joined)
        || words.windows(2).any(|pair| matches!(pair[0].as_str(), "-o" | "--output") && pair[1] == "json")
}

/// Writes to the standard error output; there is nowhere to complain if that fails.
pub(crate) fn say(text: &str) {
    drop(std::io::stderr().write_all(format!("{}\n", text.trim_end()).as_bytes()));
}

fn sentence(failure: &Failure) -> String {
    let rest = match failure.changed {
        Change::None => "",
        Change::Partial => " (part of it was done)",
        Change::Unknown => " (whether it was done is not known)",
    };
    format!("error: {}{rest}", failure.message)
}

fn as_json(failure: &Failure) -> String {
    json!({
        "code": failure.code.name(),
        "message": failure.message,
        "blame": failure.blame,
        "changed": failure.changed,
        "retry": failure.retry,
    })
    .to_string()
}

/// What clap found, without the label and the usage that follow for people.
fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_sentence_or_one_object() {
        let failure = Failure::not_found("there is no system \"x\"");
        assert_eq!(sentence(&failure), "error: there is no system \"x\"");
        let expected = json!({"code": "NotFound", "message": "there is no system \"x\"", "blame": "caller", "changed": "none",
            "retry": "never"});
        assert_eq!(serde_json::from_str::<serde_json::Value>(&as_json(&failure)).expect("JSON"), expected);
        let lost = Failure::unavailable("storage did not answer").changed(Change::Unknown);
        assert_eq!(sentence(&lost), "error: storage did not answer (whether it was done is not known)");
    }

    #[test]
    fn json_is_asked_for_in_any_spelling() {
        let asks = |line: &str| wants_json(line.split(' ').map(OsString::from));
        assert!(asks("acpctl -o json sytem"));
        assert!(asks("acpctl --output=json sytem"));
        assert!(asks("acpctl sytem -ojson"));
        assert!(!asks("acpctl -o yaml json"));
    }

    #[test]
    fn a_usage_error_becomes_one_sentence() {
        use clap::Parser;
        let error = crate::args::Cli::try_parse_from(["acpctl", "system", "show", "-x"]).expect_err("unknown");
        assert_eq!(first_paragraph(&error.to_string()), "unexpected argument '-x' found");
    }
}
