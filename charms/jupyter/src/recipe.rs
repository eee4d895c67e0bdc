//! The recipe of the Python environment: JupyterLab, ipykernel and what PySpark needs, in a relocatable virtual
//! environment on the host's own Python, or what a list of requirements says. Owns the version scheme and what is
//! installed; how is the SDK's.
//!
//! A version is that of JupyterLab, `4.6` or `4.6.1`, and where another Spark than 3.5 is meant its minor:
//! `4.6-spark4.0`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use stoker_charm::Progress;
use stoker_charm::recipe::environment::{self, Contents};

/// What the charm asks for by default.
const LAB: &str = "4.6";
/// The Spark minor that is meant where a version names none.
const SPARK: (u32, u32) = (3, 5);
/// What a notebook and its executors need, whoever chose the versions.
const NEEDED: &[&str] = &["jupyterlab", "ipykernel"];
/// What the charm's own choice has.
const OWN: &[&str] = &["jupyterlab", "ipykernel", "pandas", "pyarrow", "numpy"];

/// A version that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    lab: String,
    spark: (u32, u32),
}

impl Wanted {
    fn parse(version: &str) -> Result<Self> {
        let (lab, spark) = match version.split_once("-spark") {
            Some((lab, spark)) => {
                let minor = spark.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                (lab, minor.with_context(|| wrong(version))?)
            }
            None => (version, SPARK),
        };
        let numbers: Vec<&str> = lab.split('.').collect();
        let plain = |n: &&str| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit());
        ensure!((2..=3).contains(&numbers.len()) && numbers.iter().all(plain), wrong(version));
        Ok(Self { lab: lab.to_owned(), spark })
    }

    /// What is installed, for a Python of this minor.
    fn packages(&self, python: (u32, u32)) -> Vec<String> {
        let lab = if self.lab.split('.').count() == 2 { format!("{}.*", self.lab) } else { self.lab.clone() };
        let mut out = vec![format!("jupyterlab=={lab}"), "ipykernel>=6.29".to_owned()];
        let own = |packages: &[&str]| packages.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        if self.spark < (4, 0) {
            // PySpark 3 uses names that NumPy 2 and pandas 3 no longer have. NumPy 1 has no wheels from Python 3.13 on,
            // and newer pyarrow refuses it.
            out.push("pandas>=1.5,<3".to_owned());
            out.extend(own(if python < (3, 13) {
                &["numpy<2", "pyarrow>=4,<20"]
            } else {
                &["numpy", "pyarrow>=18"]
            }));
            if python >= (3, 12) {
                // PySpark 3 imports distutils, which Python 3.12 left to setuptools.
                out.push("setuptools<81".to_owned());
            }
        } else {
            out.extend(own(&["pandas>=2.2,<3", "pyarrow>=15", "numpy>=1.26"]));
        }
        out
    }
}

fn wrong(version: &str) -> String {
    format!(
        "cannot make `{version}`: a version is JupyterLab's, as {LAB}, and may name a Spark: {LAB}-spark4.0"
    )
}

/// The versions that can be made, newest first.
pub(crate) fn versions() -> Result<Vec<String>> {
    let known = [LAB, "4.6-spark4.1", "4.6-spark4.0", "4.5", "4.5-spark4.1", "4.5-spark4.0"];
    known.iter().map(|version| Wanted::parse(version).map(|_| (*version).to_owned())).collect()
}

/// Makes the environment in `out`.
pub(crate) fn make(version: &str, out: &Path, progress: &mut Progress) -> Result<()> {
    let contents = if let Some(list) = Contents::of_path(version) {
        Contents { imports: NEEDED, ..list? }
    } else {
        let wanted = Wanted::parse(version)?;
        let (_, python) = environment::base()?;
        Contents { packages: wanted.packages(python), file: None, imports: OWN }
    };
    environment::make(&contents, out, progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_jupyterlabs() {
        assert_eq!(Wanted::parse("4.6").unwrap(), Wanted { lab: "4.6".into(), spark: (3, 5) });
        let other = Wanted::parse("4.6.1-spark4.0").unwrap();
        assert_eq!(other, Wanted { lab: "4.6.1".into(), spark: (4, 0) });
        for bad in ["", "4", "4.x", "4.6-spark", "4.6-spark4", "latest", "4.6; rm", "4.6.1.2"] {
            let why = Wanted::parse(bad).unwrap_err().to_string();
            assert!(why.contains("a version is JupyterLab's"), "{bad}: {why}");
        }
        for version in versions().unwrap() {
            Wanted::parse(&version).unwrap();
        }
    }

    #[test]
    fn packages_fit_spark_and_python() {
        let packages = |version: &str, python| Wanted::parse(version).unwrap().packages(python).join(" ");
        let old = packages("4.6", (3, 11));
        assert!(
            old.contains("jupyterlab==4.6.*") && old.contains("pandas>=1.5,<3") && old.contains("numpy<2")
        );
        assert!(!old.contains("setuptools"), "{old}");
        let newer = packages("4.6", (3, 13));
        assert!(newer.contains("setuptools<81") && !newer.contains("numpy<2"), "{newer}");
        assert!(packages("4.6.1-spark4.0", (3, 13)).starts_with("jupyterlab==4.6.1 "));
    }
}
