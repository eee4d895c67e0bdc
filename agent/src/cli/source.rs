//! What users name on the command line — files, folders, `KEY=VALUE` — as the agent needs it. A file that is not
//! there is found out here, before anything is asked.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::{Problem, codes};

/// A SOURCE as the agent takes it: a file or folder absolute and there, also after `recipe:`, anything else unchanged.
pub(super) fn source(text: &str) -> Result<String, Problem> {
    if let Some(what) = text.strip_prefix("recipe:")
        && (what.starts_with('.') || what.starts_with('/'))
    {
        // What follows the last `@` is a version, unless a path is named so.
        let (path, version) = match what.rsplit_once('@') {
            Some((path, version)) if !Path::new(what).exists() => (path, format!("@{version}")),
            _ => (what, String::new()),
        };
        return Ok(format!("recipe:{}{version}", existing(path)?));
    }
    let other = ["recipe:", "build:", "https:", "http:"].iter().any(|kind| text.starts_with(kind));
    if other { Ok(text.to_owned()) } else { existing(text) }
}

/// A charm as the agent takes it: a folder or file absolute and there, a name unchanged.
pub(super) fn charm(text: &str) -> Result<String, Problem> {
    if text.starts_with('.') || text.contains('/') { existing(text) } else { Ok(text.to_owned()) }
}

/// The absolute path of what must exist.
pub(super) fn existing(text: &str) -> Result<String, Problem> {
    let found = Path::new(text).canonicalize().map_err(|error| {
        let said = error.to_string();
        let why = said.split(" (os error").next().unwrap_or_default();
        let code = if error.kind() == std::io::ErrorKind::PermissionDenied {
            codes::NOT_ALLOWED
        } else {
            codes::NOT_FOUND
        };
        Problem::new(code, format!("cannot use `{text}`: {}", why.to_lowercase()))
            .fix("give a path that exists, as seen from the current folder")
    })?;
    found.into_os_string().into_string().map_err(|_| {
        Problem::new(codes::INVALID_VALUE, format!("cannot use `{text}`: its path is no UTF-8"))
            .fix("give it a name in UTF-8")
    })
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), Problem> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Problem::new(codes::USAGE, format!("cannot read `{text}`: expected NAME=VALUE"))
            .fix("write the name, an equals sign and the value without spaces")),
    }
}

/// An option's value: the text itself, or with `@FILE` the file's contents.
pub(super) fn option_value(text: &str) -> Result<Value, Problem> {
    let Some(file) = text.strip_prefix('@') else { return Ok(Value::String(text.to_owned())) };
    read(file).map(Value::String)
}

fn read(file: &str) -> Result<String, Problem> {
    let path = existing(file)?;
    std::fs::read_to_string(&path).map_err(|error| {
        Problem::new(codes::NOT_ALLOWED, format!("cannot read `{file}`: {error}"))
            .fix("give a text file that you may read")
    })
}

/// YAML as YAML 1.2 has it: `y` and `no` are text.
pub(super) fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
}

/// Options of a YAML file: `{option: value}`, or `{app: {option: value}}` as Juju takes it.
pub(super) fn options_file(file: &str, app: &str) -> Result<BTreeMap<String, Value>, Problem> {
    let text = read(file)?;
    let refused = |why: String| {
        Problem::new(codes::INVALID_VALUE, format!("cannot read options from `{file}`"))
            .evidence(why)
            .fix("write `option: value` lines, or `APP:` with such lines below it")
    };
    let mut options: BTreeMap<String, Value> = yaml(&text).map_err(|error| refused(error.to_string()))?;
    match options.remove(app) {
        None => Ok(options),
        Some(Value::Object(of_app)) => Ok(of_app.into_iter().collect()),
        Some(other) => Err(refused(format!("`{app}` is {other}, not a mapping"))),
    }
}

/// `--config`: each `KEY=VALUE`, `@FILE` or `FILE`; what comes later wins.
pub(super) fn options(given: &[String], app: &str) -> Result<BTreeMap<String, Value>, Problem> {
    let mut all = BTreeMap::new();
    for text in given {
        match (text.strip_prefix('@'), text.split_once('=')) {
            (Some(file), _) => all.extend(options_file(file, app)?),
            (None, Some(_)) => {
                let (name, value) = pair(text)?;
                all.insert(name, option_value(&value)?);
            }
            (None, None) => all.extend(options_file(text, app)?),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_absolute_or_unchanged() {
        assert_eq!(source("recipe:3.5.9").unwrap(), "recipe:3.5.9");
        assert_eq!(source("build:b3:00").unwrap(), "build:b3:00");
        assert!(source("Cargo.toml").unwrap().ends_with("/agent/Cargo.toml"));
        assert!(source("recipe:./src@1.0").unwrap().ends_with("/agent/src@1.0"));
        assert!(source("recipe:./Cargo.toml").unwrap().ends_with("/agent/Cargo.toml"));
        assert!(source("recipe:./none@1").is_err());
        let missing = source("./no/such.tgz").unwrap_err();
        assert_eq!((missing.exit_code(), missing.code.as_str()), (5, "ST0005"));
        assert_eq!(charm("web").unwrap(), "web");
        assert_eq!(charm("./no-such").unwrap_err().exit_code(), 5);
    }

    #[test]
    fn options_come_from_pairs_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let (flat, nested, text) =
            (dir.path().join("flat.yaml"), dir.path().join("nested.yaml"), dir.path().join("text"));
        std::fs::write(&flat, "a: 1\nb: x\n").unwrap();
        std::fs::write(&nested, "web:\n  b: y\n  c: true\nother:\n  d: 1\n").unwrap();
        std::fs::write(&text, "line\n").unwrap();
        let given = [
            format!("@{}", flat.display()),
            nested.display().to_string(),
            "a=2".to_owned(),
            format!("t=@{}", text.display()),
        ];
        let all = options(&given, "web").unwrap();
        assert_eq!(
            serde_json::to_value(all).unwrap(),
            serde_json::json!({"a": "2", "b": "y", "c": true, "t": "line\n"})
        );
        assert_eq!(options(&["@/no/such".into()], "web").unwrap_err().exit_code(), 5);
        assert_eq!(options(&["=x".into()], "web").unwrap_err().exit_code(), 2);
    }
}
