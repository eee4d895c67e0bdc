//! Known errors: tables that charms bring (`known-errors.toml` beside `charm.toml`), and which lines of logs they fit.
//! Owns reading the tables; what is in them is the charms' business.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One entry: what a line says, what that means, what helps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// Words that a line has, all of them.
    pub has: Vec<String>,
    /// What is wrong.
    pub means: String,
    /// What helps.
    pub fix: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    error: Vec<Known>,
}

/// A table cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is no such table.
    #[error("cannot use `{}`", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: toml::de::Error,
    },
    /// An entry fits everything, or helps nobody.
    #[error("cannot use `{}`: an entry has no words, no meaning or no fix", path.display())]
    Empty { path: PathBuf },
}

/// The tables of all charms below these folders; the name of the file is the same in each.
pub(crate) fn tables<'a>(folders: impl Iterator<Item = &'a Path>) -> Result<Vec<Known>, TableError> {
    let mut all = Vec::new();
    for folder in folders {
        let charms = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for path in charms.map(|charm| charm.path().join("known-errors.toml")) {
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    all.extend(table(&path, &text)?);
                }
                Err(source)
                    if matches!(
                        source.kind(),
                        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                    ) => {}
                Err(source) => return Err(TableError::Read { path, source }),
            }
        }
    }
    Ok(all)
}

fn table(path: &Path, text: &str) -> Result<Vec<Known>, TableError> {
    let table: Table =
        toml::from_str(text).map_err(|source| TableError::Parse { path: path.to_owned(), source })?;
    let empty = |known: &Known| {
        known.has.is_empty()
            || known.has.iter().any(|word| word.trim().is_empty())
            || known.means.is_empty()
            || known.fix.is_empty()
    };
    if table.error.iter().any(empty) {
        return Err(TableError::Empty { path: path.to_owned() });
    }
    Ok(table.error)
}

/// The entry that a line fits: the first.
pub(crate) fn find<'a>(known: &'a [Known], line: &str) -> Option<&'a Known> {
    known.iter().find(|known| known.has.iter().all(|word| line.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_where_it_has_all_words() {
        let folder = tempfile::tempdir().unwrap();
        let charm = folder.path().join("web");
        std::fs::create_dir(&charm).unwrap();
        let text = "[[error]]\nhas = ['Bad', 'day']\nmeans = 'm'\nfix = 'f'\n";
        std::fs::write(charm.join("known-errors.toml"), text).unwrap();
        std::fs::create_dir(folder.path().join("none")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let known = tables([folder.path(), Path::new("/nonexistent")].into_iter()).unwrap();
        assert_eq!(find(&known, "a Bad, bad day").unwrap().means, "m");
        assert_eq!(find(&known, "a Bad night"), None);
    }

    #[test]
    fn a_table_that_fits_everything_is_refused() {
        for text in [
            "[[error]]\nhas = []\nmeans = 'm'\nfix = 'f'",
            "[[error]]\nhas = ['']\nmeans = 'm'\nfix = 'f'",
            "[[error]]\nhas = ['x']\nmeans = 'm'\nfix = ''",
            "[[errors]]\n",
        ] {
            assert!(table(Path::new("t"), text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_charms_own_tables_are_usable() {
        let charms = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charms");
        let known = tables([charms.as_path()].into_iter()).unwrap();
        assert!(known.len() >= 15, "{}", known.len());
    }
}
