//! Laying out a HADOOP_HOME as Apache's own archives have it: `share/hadoop/{client,common,hdfs,yarn,mapreduce}`,
//! and commands of our own, since upstream's scripts are in no artefact. Owns the places; fetches nothing.

#![allow(clippy::disallowed_methods, reason = "a recipe removes its own scratch folder")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use stoker_charm::jars::Jar;
use stoker_charm::{Progress, recipe};

/// Files of the tree that are the charm's own: path, text, mode.
const FILES: [(&str, &str, u32); 9] = [
    ("bin/hadoop", include_str!("../home/hadoop.sh"), 0o755),
    ("bin/hdfs", include_str!("../home/hdfs.sh"), 0o755),
    ("libexec/launch.sh", include_str!("../home/launch.sh"), 0o644),
    ("etc/hadoop/log4j.properties", include_str!("../home/log4j.properties"), 0o644),
    ("etc/hadoop/capacity-scheduler.xml", include_str!("../home/capacity-scheduler.xml"), 0o644),
    ("etc/hadoop/core-site.xml", EMPTY_SITE, 0o644),
    ("etc/hadoop/hdfs-site.xml", EMPTY_SITE, 0o644),
    ("etc/hadoop/yarn-site.xml", EMPTY_SITE, 0o644),
    ("etc/hadoop/mapred-site.xml", EMPTY_SITE, 0o644),
];
const EMPTY_SITE: &str = "<?xml version=\"1.0\"?>\n<configuration>\n</configuration>\n";

/// Lays out what was fetched below `work`.
pub(super) fn lay(work: &Path, version: &str, out: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    progress.step("laying out", 0, 0);
    let share = out.join("share/hadoop");
    let mut seen = BTreeSet::new();
    for module in ["client", "common", "hdfs", "yarn", "mapreduce"] {
        recipe::check_cancelled()?;
        let jars = work.join(module).join("jars");
        for entry in fs::read_dir(&jars).with_context(|| format!("cannot read `{}`", jars.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(place) = place(module, &name) else { continue };
            // What a client jar carries inside is still wanted as a jar by the daemons.
            if seen.insert(name.clone()) {
                move_to(&entry.path(), &share.join(place).join(&name))?;
            }
        }
    }
    pages(work, version, &share.join("hdfs"))?;
    for (path, text, mode) in FILES {
        write(&out.join(path), text.as_bytes(), mode)?;
    }
    for needed in [
        format!("client/hadoop-client-api-{version}.jar"),
        format!("client/hadoop-client-runtime-{version}.jar"),
        format!("common/hadoop-common-{version}.jar"),
        format!("hdfs/hadoop-hdfs-{version}.jar"),
        "hdfs/webapps/hdfs/dfshealth.html".to_owned(),
    ] {
        ensure!(share.join(&needed).is_file(), "`share/hadoop/{needed}` is missing after all was fetched");
    }
    fs::remove_dir_all(work).with_context(|| format!("cannot remove `{}`", work.display()))
}

/// The folder of a jar below `share/hadoop`; none for what is left out.
fn place(module: &str, name: &str) -> Option<&'static str> {
    let own = |prefix: &str, dir: &'static str, lib: &'static str| {
        Some(if name.starts_with(prefix) { dir } else { lib })
    };
    match module {
        "client" => name.starts_with("hadoop-client-").then_some("client"),
        "common" => own("hadoop-common-", "common", "common/lib"),
        "hdfs" => own("hadoop-hdfs-", "hdfs", "hdfs/lib"),
        "yarn" => own("hadoop-yarn-", "yarn", "yarn/lib"),
        _ => Some("mapreduce"),
    }
}

/// Takes `webapps/` out of the jar of the tests.
fn pages(work: &Path, version: &str, to: &Path) -> anyhow::Result<()> {
    let path = work.join(format!("webapps/jars/hadoop-hdfs-{version}-tests.jar"));
    let mut jar = Jar::open(&path)?;
    for name in jar.names()? {
        let inside =
            name.starts_with("webapps/") && !name.ends_with('/') && !name.split('/').any(|part| part == "..");
        if inside
            && let Some(bytes) =
                jar.read(&name).with_context(|| format!("cannot read `{}`", path.display()))?
        {
            write(&to.join(&name), &bytes, 0o644)?;
        }
    }
    Ok(())
}

fn parent(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))
}

fn move_to(from: &Path, to: &Path) -> anyhow::Result<()> {
    parent(to)?;
    fs::rename(from, to).with_context(|| format!("cannot move `{}` to `{}`", from.display(), to.display()))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    parent(path)?;
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(place("client", "hadoop-client-api-3.4.1.jar"), Some("client"));
        assert_eq!(place("client", "slf4j-api-1.7.36.jar"), None);
        assert_eq!(place("common", "hadoop-auth-3.4.1.jar"), Some("common/lib"));
        assert_eq!(place("hdfs", "hadoop-hdfs-client-3.4.1.jar"), Some("hdfs"));
        assert_eq!(place("mapreduce", "jline-3.9.0.jar"), Some("mapreduce"));
    }
}
