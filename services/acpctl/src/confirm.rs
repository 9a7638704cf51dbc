//! Asking before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use acp_base::{Code, Failure};

/// Returns if the operator agrees to `deed`, like `delete system "x" with its disks`.
pub(crate) fn confirm(is_agreed: bool, deed: &str) -> Result<(), Failure> {
    question(is_agreed, deed, "Go on? [y/N]", is_yes)
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Returns if the operator agrees to `deed`, which nobody shall do by mistake, by typing this name.
pub(crate) fn confirm_by_name(is_agreed: bool, deed: &str, name: &str) -> Result<(), Failure> {
    question(is_agreed, deed, &format!("To go on, type its name, {name}:"), |answer| answer == name)
}

fn question(is_agreed: bool, deed: &str, how: &str, agrees: impl Fn(&str) -> bool) -> Result<(), Failure> {
    if is_agreed {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::invalid(format!(
            "this would {deed}, and there is no terminal to ask on: give --yes to agree"
        )));
    }
    ask(deed, how, agrees, &mut io::stdin().lock(), &mut io::stderr())
}

fn ask(
    deed: &str,
    how: &str,
    agrees: impl Fn(&str) -> bool,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::internal(format!("cannot ask: {error}"));
    write!(output, "This will {deed}. {how} ").and_then(|()| output.flush()).map_err(broken)?;
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(broken)?;
    if agrees(answer.trim()) {
        return Ok(());
    }
    Err(Failure::new(Code::Cancelled, "not confirmed: nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        let answer = |text: &str| {
            let mut asked = Vec::new();
            let result = ask("delete it", "Go on? [y/N]", is_yes, &mut text.as_bytes(), &mut asked);
            assert_eq!(asked, b"This will delete it. Go on? [y/N] ");
            result.map_err(|failure| failure.code)
        };
        assert_eq!(answer("y\n"), Ok(()));
        assert_eq!(answer(" YES \n"), Ok(()));
        for no in ["\n", "n\n", "yesterday\n", ""] {
            assert_eq!(answer(no), Err(Code::Cancelled), "{no:?}");
        }
    }

    #[test]
    fn a_name_is_agreed_to_as_it_is_written() {
        let answer = |text: &str| ask("end it", "Name:", |typed| typed == "lab", &mut text.as_bytes(), &mut Vec::new());
        assert_eq!(answer("lab\n"), Ok(()));
        for no in ["y\n", "Lab\n", "\n", ""] {
            assert_eq!(answer(no).expect_err("not agreed").code, Code::Cancelled, "{no:?}");
        }
    }
}
