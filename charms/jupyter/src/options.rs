//! The charm's options, read and judged. Owns what is wrong with a value that its type alone does not tell.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use stoker_charm::observation::Observation;
use stoker_charm::{overrides, size};

use crate::launch::SET;

/// The least memory of an executor that Spark accepts, with room to work: 512 MiB.
const LEAST_MEMORY: u64 = 512 << 20;
/// More kernels than this leave too few ports to others.
const MOST_KERNELS: i64 = 512;

/// What the user set.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Options {
    pub(crate) port: u16,
    pub(crate) max_kernels: u16,
    /// The kernels: always one of its own with an empty name first.
    pub(crate) profiles: Vec<Profile>,
    pub(crate) driver_memory: u64,
    pub(crate) jvm: String,
    pub(crate) spark_defaults: BTreeMap<String, String>,
    pub(crate) core_site: BTreeMap<String, String>,
    pub(crate) hdfs_site: BTreeMap<String, String>,
    pub(crate) log4j: BTreeMap<String, String>,
    pub(crate) server: BTreeMap<String, String>,
    pub(crate) cull_idle: Duration,
    pub(crate) cull_connected: bool,
}

/// What a kernel's sessions take from the cluster; `None` leaves it to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) cores: Option<u64>,
    /// Bytes.
    pub(crate) memory: Option<u64>,
}

/// A value that cannot be used: the option and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) option: &'static str,
    pub(crate) why: String,
}

impl Options {
    /// The options, and what is wrong with them; a wrong one is as if it were not set.
    pub(crate) fn read(seen: &Observation) -> (Self, Vec<Wrong>) {
        let mut read = Reader { config: &seen.config, wrong: Vec::new() };
        let cores = read.number("cores").and_then(|n| read.positive("cores", n));
        let memory = read.number("executor-memory").and_then(|n| read.at_least("executor-memory", n));
        let mut profiles = vec![Profile { name: String::new(), cores, memory }];
        read.profiles(&mut profiles);
        let driver_memory = read.number("driver-memory").and_then(|n| read.at_least("driver-memory", n));
        let max_kernels = read.number("max-kernels").unwrap_or(16);
        let max_kernels = if (1..=MOST_KERNELS).contains(&max_kernels) {
            max_kernels as u16
        } else {
            read.wrong("max-kernels", format!("{max_kernels} is not between 1 and {MOST_KERNELS}"));
            16
        };
        let port = read.number("port").unwrap_or(8888);
        let port = u16::try_from(port).unwrap_or_else(|_| {
            read.wrong("port", format!("{port} is no port number"));
            8888
        });
        let options = Self {
            port,
            max_kernels,
            profiles,
            driver_memory: driver_memory.unwrap_or(1 << 30),
            jvm: read.text("driver-java-options").trim().to_owned(),
            spark_defaults: read.pairs("spark-defaults"),
            core_site: read.pairs("core-site"),
            hdfs_site: read.pairs("hdfs-site"),
            log4j: read.pairs("log4j"),
            server: read.pairs("server-options"),
            cull_idle: size::duration(read.text("cull-idle")).unwrap_or_default(),
            cull_connected: seen.config.get("cull-connected") == Some(&Value::Bool(true)),
        };
        (options, read.wrong)
    }

    /// How many ports all kernels need.
    pub(crate) fn driver_ports(&self) -> u16 {
        self.max_kernels * SET
    }
}

struct Reader<'a> {
    config: &'a BTreeMap<String, Value>,
    wrong: Vec<Wrong>,
}

impl Reader<'_> {
    fn wrong(&mut self, option: &'static str, why: String) {
        self.wrong.push(Wrong { option, why });
    }

    fn text(&self, option: &str) -> &str {
        self.config.get(option).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number; none for `auto` and where it is not set.
    fn number(&self, option: &str) -> Option<i64> {
        self.config.get(option).and_then(Value::as_i64)
    }

    fn positive(&mut self, option: &'static str, n: i64) -> Option<u64> {
        if n > 0 {
            return Some(n as u64);
        }
        self.wrong(option, format!("{n} is not at least 1"));
        None
    }

    fn at_least(&mut self, option: &'static str, n: i64) -> Option<u64> {
        match u64::try_from(n) {
            Ok(n) if n >= LEAST_MEMORY => Some(n),
            _ => {
                self.wrong(option, format!("{n} bytes are less than 512m"));
                None
            }
        }
    }

    fn pairs(&mut self, option: &'static str) -> BTreeMap<String, String> {
        let text = self.text(option).trim().to_owned();
        if text.is_empty() {
            return BTreeMap::new();
        }
        overrides::check(&text).unwrap_or_else(|why| {
            self.wrong(option, why.to_string());
            BTreeMap::new()
        })
    }

    fn profiles(&mut self, out: &mut Vec<Profile>) {
        let items = self.config.get("profiles").and_then(Value::as_array);
        for item in items.into_iter().flatten().filter_map(Value::as_str) {
            match profile(item) {
                Ok(found) if out.iter().any(|other| other.name == found.name) => {
                    self.wrong("profiles", format!("`{}` is there twice", found.name));
                }
                Ok(found) => out.push(found),
                Err(why) => self.wrong("profiles", why),
            }
        }
    }
}

/// `NAME[:CORES[:MEMORY]]`; an empty or `auto` part is the cluster's.
fn profile(text: &str) -> Result<Profile, String> {
    let mut parts = text.split(':').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(plain) || !name.starts_with(|c: char| c != '-')
    {
        return Err(format!("`{text}`: a profile's name is of small letters, digits and `-`"));
    }
    let set = |part: Option<&str>| part.filter(|p| !p.is_empty() && *p != "auto").map(str::to_owned);
    let (cores, memory) = (set(parts.next()), set(parts.next()));
    if parts.next().is_some() {
        return Err(format!("`{text}` is not NAME:CORES:MEMORY"));
    }
    let cores = match cores {
        Some(text) => match text.parse::<u64>() {
            Ok(n) if n > 0 => Some(n),
            _ => return Err(format!("`{text}` is no number of cores")),
        },
        None => None,
    };
    let memory = match memory {
        Some(text) => match size::bytes(&text) {
            Ok(n) if n >= LEAST_MEMORY => Some(n),
            Ok(_) => return Err(format!("`{text}` is less than 512m")),
            Err(why) => return Err(why.to_string()),
        },
        None => None,
    };
    Ok(Profile { name: name.to_owned(), cores, memory })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(config: Value) -> (Options, Vec<Wrong>) {
        let config = serde_json::from_value(config).unwrap();
        Options::read(&Observation { config, ..Observation::default() })
    }

    #[test]
    fn defaults() {
        let (options, wrong) = read(json!({"cores": "auto", "executor-memory": "auto", "cull-idle": "0s"}));
        assert_eq!(wrong, []);
        assert_eq!((options.port, options.max_kernels, options.driver_ports()), (8888, 16, 48));
        assert_eq!(options.profiles, [Profile::default()]);
        assert_eq!(options.driver_memory, 1 << 30);
    }

    #[test]
    fn profiles_are_kernels() {
        let (options, wrong) = read(json!({"profiles": ["small:1:1g", "large:8:auto", "plain"], "cores": 2}));
        assert_eq!(wrong, []);
        let small = Profile { name: "small".into(), cores: Some(1), memory: Some(1 << 30) };
        assert_eq!(options.profiles[1], small);
        assert_eq!(options.profiles[2].memory, None);
        assert_eq!((options.profiles[0].cores, options.profiles[3].cores), (Some(2), None));
    }

    #[test]
    fn says_what_is_wrong() {
        let (options, wrong) = read(json!({
            "profiles": ["a:x", "a:1:1k", "A", "b", "b", "c:1:1g:1"], "cores": 0, "driver-memory": 5,
            "spark-defaults": "spark.x", "port": 70_000, "max-kernels": 0
        }));
        let of: Vec<&str> = wrong.iter().map(|w| w.option).collect();
        assert_eq!(of.iter().filter(|o| **o == "profiles").count(), 5, "{wrong:?}");
        for option in ["cores", "driver-memory", "spark-defaults", "port", "max-kernels"] {
            assert!(of.contains(&option), "{option}: {wrong:?}");
        }
        assert_eq!((options.port, options.driver_memory), (8888, 1 << 30));
    }

    proptest! {
        #[test]
        fn any_profile_is_read_or_refused(text in "[a-c:0-9gA-]{0,12}") {
            if let Ok(found) = profile(&text) {
                prop_assert!(text.trim().starts_with(&found.name));
                prop_assert!(found.cores != Some(0));
            }
        }
    }
}
