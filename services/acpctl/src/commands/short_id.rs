//! Ids as people write them: a part that only one has.

use acp_base::Failure;

/// The one of these ids that begins or ends so. `what` is what they are of, like `job`, and `see` the command that lists them.
pub(super) fn select<'a>(names: &[&'a str], text: &str, what: &str, see: &str) -> Result<&'a str, Failure> {
    let is_wanted = |name: &&&str| !text.is_empty() && (name.starts_with(text) || name.ends_with(text));
    let mut found = names.iter().filter(is_wanted);
    match (found.next(), found.next()) {
        (Some(name), None) => Ok(name),
        (Some(one), Some(other)) => Err(Failure::invalid(format!(
            "{text:?} is the beginning or end of several {what}s, like {one} and {other}: give more of it"
        ))),
        (None, _) => Err(Failure::not_found(format!("there is no {what} {text:?}; see: acpctl {see}"))),
    }
}

#[cfg(test)]
mod tests {
    use acp_base::Code;

    use super::*;

    #[test]
    fn a_part_of_an_id_is_enough_if_it_is_unique() {
        let names = ["0195-aaaa", "0195-bbbb"];
        let select = |text: &str| select(&names, text, "job", "job list");
        assert_eq!(select("bbbb").expect("unique"), "0195-bbbb");
        assert_eq!(select("0195-a").expect("unique"), "0195-aaaa");
        assert_eq!(select("0195").expect_err("two").code, Code::InvalidArgument);
        assert_eq!(select("cc").expect_err("none").code, Code::NotFound);
        assert_eq!(select("").expect_err("none").code, Code::NotFound);
    }
}
