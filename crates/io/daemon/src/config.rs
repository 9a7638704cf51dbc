//! Reading the configuration file.

use std::{io, path::Path};

use serde::de::DeserializeOwned;

use crate::Fatal;

/// Reads `<directory>/<noun>.toml`; an absent file means every default. Errors name file and key.
pub(crate) fn read<C: DeserializeOwned + Default>(directory: &Path, noun: &str) -> Result<C, Fatal> {
    let path = directory.join(format!("{noun}.toml"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(C::default()),
        Err(error) => return Err(Fatal::config(format!("cannot read {}: {error}", path.display()))),
    };
    parse(&text).map_err(|message| Fatal::config(format!("{}: {message}", path.display())))
}

fn parse<C: DeserializeOwned>(text: &str) -> Result<C, String> {
    let document = toml::Deserializer::parse(text).map_err(|error| error.to_string())?;
    serde_path_to_error::deserialize(document)
        .map_err(|error| format!("{}: {}", error.path().clone(), error.into_inner().message()))
}

#[cfg(test)]
mod tests {
    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        limits: Limits,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Limits {
        calls: u32,
    }

    #[test]
    fn errors_name_the_key() {
        let error = super::parse::<Sample>("[limits]\ncalls = \"many\"").expect_err("text is no number");
        assert!(error.starts_with("limits.calls: "), "{error}");
        let error = super::parse::<Sample>("[limits]\ncall = 3").expect_err("unknown key");
        assert!(error.contains("unknown field `call`"), "{error}");
        assert_eq!(super::parse::<Sample>("").expect("empty"), Sample::default());
    }
}
