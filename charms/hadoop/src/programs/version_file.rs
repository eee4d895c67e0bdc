//! What HDFS itself wrote about a storage folder: `current/VERSION`, and whether an image is beside it.

use std::io;
use std::path::Path;

use stoker_charm::jars;

/// The `current` folder of a NameNode or a DataNode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Current {
    /// `clusterID` of VERSION; none where there is no readable VERSION.
    pub(crate) cluster: Option<String>,
    /// `layoutVersion` of VERSION.
    pub(crate) layout: Option<i64>,
    /// An image of the namespace is there.
    pub(crate) image: bool,
    /// Something else than an empty folder is there.
    pub(crate) holds: bool,
    /// Edits are there.
    pub(crate) edits: bool,
}

impl Current {
    /// Reads `FOLDER/current`; an absent folder is as good as an empty one.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let current = folder.join("current");
        let mut out = Self::default();
        let entries = match std::fs::read_dir(&current) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(out),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            out.holds = true;
            let plain = |prefix: &str| {
                name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains(['.']))
            };
            out.image |= plain("fsimage_") && name["fsimage_".len()..].bytes().all(|b| b.is_ascii_digit());
            out.edits |= name.starts_with("edits_");
        }
        match std::fs::read_to_string(current.join("VERSION")) {
            Ok(text) => {
                let pairs = jars::properties(&text);
                out.cluster = pairs.get("clusterID").filter(|id| !id.is_empty()).cloned();
                out.layout = pairs.get("layoutVersion").and_then(|n| n.parse().ok());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Current::read(dir.path()).unwrap(), Current::default());
        let current = dir.path().join("current");
        std::fs::create_dir(&current).unwrap();
        assert_eq!(Current::read(dir.path()).unwrap(), Current::default());
        std::fs::write(
            current.join("VERSION"),
            "#x\nclusterID=CID-1\nlayoutVersion=-67\nstorageType=NAME_NODE\n",
        )
        .unwrap();
        std::fs::write(current.join("fsimage.ckpt_0000"), "").unwrap();
        std::fs::write(current.join("fsimage_0000.md5"), "").unwrap();
        let seen = Current::read(dir.path()).unwrap();
        assert_eq!(
            (seen.cluster.as_deref(), seen.layout, seen.image, seen.edits),
            (Some("CID-1"), Some(-67), false, false)
        );
        std::fs::write(current.join("fsimage_0000000000000000000"), "").unwrap();
        assert!(Current::read(dir.path()).unwrap().image);
    }
}
