//! A folder that somebody asks for in HDFS, checked. Owns what may be asked for; makes nothing.

use serde_json::Value;

/// Path, owner, group and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Absolute and plain.
    pub path: String,
    /// A user name.
    pub owner: String,
    /// A group name, or empty for HDFS's default.
    pub group: String,
    /// Octal.
    pub mode: String,
}

/// At most so many folders in one relation.
const MOST: usize = 256;

impl Folder {
    /// The folders of a JSON list, all or nothing.
    pub fn all(list: &Value) -> Result<Vec<Self>, String> {
        let items = list.as_array().ok_or("the folders are no list")?;
        if items.len() > MOST {
            return Err(format!("{} folders are asked for, at most {MOST} are made", items.len()));
        }
        items.iter().map(Self::one).collect()
    }

    fn one(item: &Value) -> Result<Self, String> {
        let field = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let (path, owner) = (field("path"), field("owner"));
        let mode = if item["mode"].is_null() { "0755".to_owned() } else { field("mode") };
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or_default().split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty()
                && !matches!(*part, "." | "..")
                && !part.contains([':', '\\'])
                && !part.contains(char::is_control)
        };
        if !parts.iter().all(plain) || path.len() > 4096 {
            return Err(format!("`{path}` is no absolute path of a folder below /"));
        }
        let name = |c: char| c.is_ascii_alphanumeric() || "-_.@$".contains(c);
        if owner.is_empty() || owner.starts_with('-') || !owner.chars().all(name) {
            return Err(format!("`{path}`: `{owner}` is no user name"));
        }
        let group = field("group");
        if group.starts_with('-') || !group.chars().all(name) {
            return Err(format!("`{path}`: `{group}` is no group name"));
        }
        match u32::from_str_radix(&mode, 8) {
            Ok(bits) if bits <= 0o1777 => Ok(Self { path, owner, group, mode }),
            _ => Err(format!("`{path}`: mode `{mode}` is not octal")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn takes_plain_folders_only() {
        let good = json!([{"path": "/spark-logs", "owner": "stoker-spark", "mode": "1777"}, {"path": "/user/a", "owner": "a"}]);
        assert_eq!(Folder::all(&good).unwrap()[1].mode, "0755");
        for bad in [
            json!([{"path": "/", "owner": "a"}]),
            json!([{"path": "/a/../b", "owner": "a"}]),
            json!([{"path": "a", "owner": "a"}]),
            json!([{"path": "/a//b", "owner": "a"}]),
            json!([{"path": "/a", "owner": "a&op=x"}]),
            json!([{"path": "/a", "owner": "a", "mode": "9"}]),
            json!([{"path": "/a", "owner": "a", "mode": 755}]),
            json!({"path": "/a"}),
            json!([7]),
        ] {
            assert!(Folder::all(&bad).is_err(), "{bad}");
        }
    }
}
