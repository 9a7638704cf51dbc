//! Placeholders in programs, arguments and paths.

use std::path::PathBuf;

use acp_io_daemon::Paths;

/// What placeholders stand for, for one unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) instance: Option<&'a str>,
    /// Names of descriptors in the order of their numbers, from [`FIRST_FD`].
    pub(crate) descriptors: &'a [String],
}

/// The number of the first descriptor that is passed on.
pub(crate) const FIRST_FD: usize = 3;

impl Places<'_> {
    /// The text with every placeholder filled in. What is in braces and no placeholder stays, as in JSON.
    ///
    /// # Errors
    /// A sentence, when `{fd:NAME}` names a descriptor that is not passed.
    pub(crate) fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            filled.push_str(&rest[..start]);
            rest = &rest[start..];
            let value = match rest.find('}') {
                Some(end) => self.value(&rest[1..end])?.map(|value| (value, end + 1)),
                None => None,
            };
            let (value, taken) = value.unwrap_or(("{".to_owned(), 1));
            filled.push_str(&value);
            rest = &rest[taken..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// The text as a path.
    pub(crate) fn path(&self, text: &str) -> Result<PathBuf, String> {
        self.fill(text).map(PathBuf::from)
    }

    fn value(&self, name: &str) -> Result<Option<String>, String> {
        let place = |path: &PathBuf| Some(path.display().to_string());
        Ok(match name {
            "run" => place(&self.paths.run),
            "state" => place(&self.paths.state_root),
            "log" => place(&self.paths.log),
            "bin" => place(&self.paths.bin),
            "instance" => self.instance.map(str::to_owned),
            _ => match name.strip_prefix("fd:") {
                Some(fd) => Some(self.number(fd)?.to_string()),
                None => None,
            },
        })
    }

    fn number(&self, name: &str) -> Result<usize, String> {
        let index = self.descriptors.iter().position(|known| known == name);
        index
            .map(|index| FIRST_FD + index)
            .ok_or_else(|| format!("{{fd:{name}}} stands for no descriptor; passed are {:?}", self.descriptors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let paths = Paths {
            run: "/r".into(),
            state: "/s/framework".into(),
            state_root: "/s".into(),
            log: "/l".into(),
            config: "/c".into(),
            bin: "/b".into(),
        };
        let descriptors = ["varlink".to_owned(), "tap0".to_owned()];
        let places = Places { paths: &paths, instance: Some("x"), descriptors: &descriptors };
        assert_eq!(places.fill("{run}/vmm/{instance}.sock").as_deref(), Ok("/r/vmm/x.sock"));
        assert_eq!(places.fill("{bin} {state} {log}").as_deref(), Ok("/b /s /l"));
        assert_eq!(places.fill("tap,fd={fd:tap0}").as_deref(), Ok("tap,fd=4"));
        assert_eq!(places.fill(r#"{"a":{"b":1}}"#).as_deref(), Ok(r#"{"a":{"b":1}}"#));
        assert_eq!(places.fill("a{").as_deref(), Ok("a{"));
        assert!(places.fill("{fd:tap1}").expect_err("there is none").starts_with("{fd:tap1} stands for no descriptor"));
    }
}
