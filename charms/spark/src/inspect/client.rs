//! The Hadoop client of a build: its shape, its version, its jars. Owns how the shapes are told apart.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use stoker_charm::shelf::Shelf;
use stoker_charm::{jars, link};

const HADOOP_VERSION: &str = "common-version-info.properties";
const FILE_SYSTEM: &str = "org/apache/hadoop/fs/FileSystem.class";
/// In a shaded client with all else of the API; otherwise in the jar of HDFS' client.
const HDFS_CLIENT: &str = "org/apache/hadoop/hdfs/DistributedFileSystem.class";
/// Libraries under Hadoop's own names: the runtime of a shaded client.
const RUNTIME: &str = "org/apache/hadoop/shaded/org/apache/commons/configuration2/Configuration.class";
const NAMENODE: &str = "org/apache/hadoop/hdfs/server/namenode/NameNode.class";
/// Libraries of a shaded client that every call to a server goes through: RPC's messages are made with them.
const THIRD: &str = "org.apache.hadoop.thirdparty.";
/// What Hadoop's own builds leave in their jars.
const OWN: &str = "META-INF/maven/org.apache.hadoop*";

/// What is looked for in jars.
pub(super) const MARKS: [&str; 6] = [HADOOP_VERSION, FILE_SYSTEM, HDFS_CLIENT, RUNTIME, NAMENODE, OWN];

pub(super) struct Client {
    pub(super) shape: &'static str,
    pub(super) version: Option<String>,
    /// The Java that its classes need.
    pub(super) java: Option<u32>,
    /// The jars that a swap exchanges, as paths in the tree: the API's, then its runtime's.
    pub(super) swapped: Vec<String>,
    /// All of Hadoop's jars, as paths in the tree.
    pub(super) jars: Vec<String>,
    /// Whether servers' classes are among them, as in clients of Hadoop 2.
    pub(super) server: bool,
    /// Why the two jars of a shaded client do not fit each other.
    pub(super) torn: Option<String>,
}

pub(super) fn of(shelf: &Shelf) -> Result<Client> {
    let systems = shelf.with(FILE_SYSTEM);
    let runtimes: Vec<&Path> = shelf.with(RUNTIME).into_iter().filter(|jar| !systems.contains(jar)).collect();
    let shaded = |jar: &Path| shelf.has(jar, HDFS_CLIENT);
    let (shape, source) = match (systems.as_slice(), runtimes.as_slice()) {
        ([], []) => ("provided", None),
        ([api], [_]) if shaded(api) => ("shaded", Some(*api)),
        ([common], []) if !shaded(common) => ("unshaded", Some(*common)),
        ([api], []) => bail!(
            "cannot tell the Hadoop client: `{}` is the API of a shaded client, and no jar is its runtime (with `{RUNTIME}`)",
            api.display()
        ),
        (several, runtimes) => bail!(
            "cannot tell the Hadoop client: looked for one jar with `{FILE_SYSTEM}` and at most one runtime of a shaded \
             client, found {} and {}: {}",
            several.len(),
            runtimes.len(),
            names(several.iter().chain(runtimes))
        ),
    };
    let (mut version, mut java) = (None, None);
    if let Some(jar) = source {
        let said = super::property(jar, HADOOP_VERSION, "version")?;
        version = Some(said.with_context(|| {
            format!("cannot find a version in `{HADOOP_VERSION}` of `{}`", jar.display())
        })?);
        java = jars::class_major(jar, FILE_SYSTEM)?.map(jars::java_of);
    }
    let torn = match (systems.as_slice(), runtimes.as_slice()) {
        ([api], [runtime]) => torn(api, runtime)?,
        _ => None,
    };
    let in_tree = |jar: &&Path| format!("jars/{}", jar.file_name().unwrap_or_default().to_string_lossy());
    let swapped =
        if shape == "shaded" { systems.iter().chain(&runtimes).map(in_tree).collect() } else { Vec::new() };
    Ok(Client {
        shape,
        version,
        java,
        swapped,
        jars: shelf.with(OWN).iter().map(in_tree).collect(),
        server: !shelf.with(NAMENODE).is_empty(),
        torn,
    })
}

/// Why an API does not fit its runtime, as after half a swap. A runtime does not say its version, and other patches of one
/// line do fit: so what one uses of the other is looked at.
fn torn(api: &Path, runtime: &Path) -> Result<Option<String>> {
    let there = [runtime.to_owned()];
    let report = link::check(&[api.to_owned()], &there, &there).context("cannot read the Hadoop client")?;
    let gap = report.gaps.into_iter().find(|gap| gap.target.starts_with(THIRD));
    Ok(gap.map(|gap| {
        let name = |jar: &Path| jar.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (api, runtime) = (name(api), name(runtime));
        let lacks = gap.target.split('(').next().unwrap_or_default();
        format!(
            "{api} and {runtime} are of different Hadoops: {} uses {lacks}, which is not there as it knows it",
            gap.class
        )
    }))
}

/// The two jars of a shaded client in a folder, and its version; none where it has no such.
pub(crate) fn client_in(folder: &Path) -> Result<Option<(Vec<PathBuf>, String)>> {
    let shelf = Shelf::of(folder, &[FILE_SYSTEM, HDFS_CLIENT, RUNTIME])?;
    let api = shelf.with(FILE_SYSTEM).into_iter().find(|jar| shelf.has(jar, HDFS_CLIENT));
    let runtime = shelf.with(RUNTIME).into_iter().find(|jar| Some(*jar) != api);
    let (Some(api), Some(runtime)) = (api, runtime) else { return Ok(None) };
    let version = super::property(api, HADOOP_VERSION, "version")?;
    let version = version
        .with_context(|| format!("cannot find a version in `{HADOOP_VERSION}` of `{}`", api.display()))?;
    Ok(Some((vec![api.to_owned(), runtime.to_owned()], version)))
}

fn names<'a>(jars: impl Iterator<Item = &'a &'a Path>) -> String {
    let names: Vec<_> =
        jars.filter_map(|jar| jar.file_name()).map(|name| name.to_string_lossy().into_owned()).collect();
    names.join(", ")
}
