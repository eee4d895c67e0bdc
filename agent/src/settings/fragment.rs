//! One settings file as it is written: every key may be absent, an unknown one is refused. Owns the file's
//! spelling; must not know defaults.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stoker_model::strict;

/// `stoker.toml`, or a drop-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Fragment {
    pub address: Option<String>,
    pub host_name: Option<String>,
    pub supervisor: Option<String>,
    pub access: Option<Access>,
    pub charms: Option<Charms>,
    pub recipes: Option<Recipes>,
    pub sources: Option<Sources>,
    pub charm: Option<Charm>,
    pub probe: Option<Probe>,
    pub rollout: Option<Rollout>,
    pub gc: Option<Gc>,
    pub limits: Option<Limits>,
    pub log: Option<Log>,
}

/// `[access]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Access {
    pub others: Option<String>,
}

/// `[charms]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Charms {
    pub path: Option<Vec<PathBuf>>,
}

/// `[recipes]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Recipes {
    pub env: Option<Vec<String>>,
}

/// `[sources]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Sources {
    pub allow_private: Option<Vec<String>>,
    pub ca_file: Option<String>,
    pub max_size: Option<String>,
    pub timeout: Option<String>,
}

/// `[charm]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Charm {
    pub timeout: Option<String>,
}

/// `[probe]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Probe {
    pub interval: Option<String>,
}

/// `[rollout]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rollout {
    pub max_unavailable: Option<u32>,
    pub health_timeout: Option<String>,
}

/// `[gc]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Gc {
    pub keep_releases: Option<u32>,
    pub keep_unused: Option<String>,
}

/// `[limits]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Limits {
    pub archive_entries: Option<u64>,
    pub archive_size: Option<String>,
    pub file_size: Option<String>,
}

/// `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Log {
    pub level: Option<String>,
}

/// A settings file is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// It is there but cannot be read.
    #[error("cannot read settings `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML, or has an unknown key or a value of another type.
    #[error("cannot use settings `{}`{}: {says}", path.display(), line.map(|n| format!(" line {n}")).unwrap_or_default())]
    Parse { path: PathBuf, line: Option<usize>, says: String },
    /// A value is of the right type but makes no sense.
    #[error("cannot use setting `{key}` = `{value}`: {says}")]
    Value { key: &'static str, value: String, says: String },
}

impl Fragment {
    /// Reads one file; `None` when there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, SettingsError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SettingsError::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads a file's text.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|error| SettingsError::Parse {
            path: path.to_owned(),
            line: error
                .span()
                .and_then(|span| text.get(..span.start))
                .map(|before| before.matches('\n').count() + 1),
            says: strict::explain(error.message()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Fragment::parse(Path::new("stoker.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_name() {
        let said = refused("address = \"10.0.0.1\"\n\n[gc]\nkeep-release = 3\n");
        assert!(said.contains("`stoker.toml` line 4"), "{said}");
        assert!(said.contains("did you mean `keep-releases`?"), "{said}");
        assert!(refused("adress = \"x\"").contains("did you mean `address`?"));
    }

    #[test]
    fn a_wrong_type_and_no_toml_are_refused() {
        assert!(refused("address = 5").contains("invalid type"));
        assert!(refused("address = ").contains("line 1"));
    }
}
