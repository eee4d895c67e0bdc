//! The charm's options as the plan uses them. Owns their meaning; must not know what they are put into.

use std::collections::BTreeMap;

use serde_json::Value;
use stoker_charm::observation::Observation;
use stoker_charm::overrides;

use crate::align::Policy;

/// Bytes of a mebibyte.
pub(crate) const MIB: u64 = 1 << 20;

/// Pairs of properties.
pub(crate) type Pairs = BTreeMap<String, String>;

/// An option whose value cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot use option `{option}`: {why}")]
pub(crate) struct BadOption {
    /// Its name.
    pub(crate) option: &'static str,
    /// What is wrong with its value.
    pub(crate) why: String,
}

/// JVM options by role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct JvmOptions {
    /// The master's.
    pub(crate) master: Vec<String>,
    /// The worker daemon's.
    pub(crate) worker: Vec<String>,
    /// The history server's.
    pub(crate) history: Vec<String>,
    /// Drivers'.
    pub(crate) driver: Vec<String>,
    /// Executors'.
    pub(crate) executor: Vec<String>,
}

/// All options; none = `auto`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// `worker-cores`.
    pub(crate) worker_cores: Option<u64>,
    /// `worker-memory`, bytes.
    pub(crate) worker_memory: Option<u64>,
    /// `hadoop-alignment`.
    pub(crate) alignment: Policy,
    /// `alignment-follow` is `ask`.
    pub(crate) asks: bool,
    /// `default-cores`.
    pub(crate) default_cores: Option<u64>,
    /// `executor-memory`, bytes.
    pub(crate) executor_memory: Option<u64>,
    /// `executor-cores`.
    pub(crate) executor_cores: Option<u64>,
    /// `driver-memory`, bytes.
    pub(crate) driver_memory: u64,
    /// `daemon-memory`, bytes.
    pub(crate) daemon_memory: u64,
    /// `history-memory`, bytes.
    pub(crate) history_memory: Option<u64>,
    /// `history-retention`.
    pub(crate) history_retention: String,
    /// `spark-defaults`.
    pub(crate) spark_defaults: Pairs,
    /// `core-site`.
    pub(crate) core_site: Pairs,
    /// `hdfs-site`.
    pub(crate) hdfs_site: Pairs,
    /// `log4j`.
    pub(crate) log4j: Pairs,
    /// `*-options`.
    pub(crate) jvm: JvmOptions,
    /// `warm`.
    pub(crate) warm: bool,
    /// `prefer-ports`.
    pub(crate) prefer_ports: BTreeMap<String, u16>,
    /// `canary-folder`.
    pub(crate) canary_folder: Option<String>,
    /// `drain-deadline`.
    pub(crate) drain_deadline: Option<String>,
}

/// Ports that `prefer-ports` may name, with the numbers preferred by default.
pub(crate) const PORTS: [(&str, u16); 6] = [
    ("master", 7077),
    ("master-ui", 8080),
    ("worker", 7078),
    ("worker-ui", 8081),
    ("history", 18080),
    ("driver", 25000),
];

impl Config {
    /// Reads the observed options.
    pub(crate) fn read(seen: &Observation) -> Result<Self, BadOption> {
        let text = |name: &str| seen.config.get(name).and_then(Value::as_str).unwrap_or_default().trim();
        let number = |name: &str| seen.config.get(name).and_then(Value::as_u64).filter(|n| *n > 0);
        let bytes = |name: &str, default: u64| number(name).unwrap_or(default).max(64 * MIB);
        let pairs = |option: &'static str| {
            overrides::check(text(option)).map_err(|bad| BadOption { option, why: bad.to_string() })
        };
        let words = |name: &str| text(name).split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        let word = |name: &str, default: &str| match text(name) {
            "" => default.to_owned(),
            other => other.to_owned(),
        };
        Ok(Self {
            worker_cores: number("worker-cores"),
            worker_memory: number("worker-memory"),
            alignment: match text("hadoop-alignment") {
                "exact" => Policy::Exact,
                "shipped" => Policy::Shipped,
                _ => Policy::Auto,
            },
            asks: text("alignment-follow") == "ask",
            default_cores: number("default-cores"),
            executor_memory: number("executor-memory"),
            executor_cores: number("executor-cores"),
            driver_memory: bytes("driver-memory", 1024 * MIB),
            daemon_memory: bytes("daemon-memory", 512 * MIB),
            history_memory: number("history-memory"),
            history_retention: word("history-retention", "30d"),
            spark_defaults: pairs("spark-defaults")?,
            core_site: pairs("core-site")?,
            hdfs_site: pairs("hdfs-site")?,
            log4j: pairs("log4j")?,
            jvm: JvmOptions {
                master: words("master-options"),
                worker: words("worker-options"),
                history: words("history-options"),
                driver: words("driver-options"),
                executor: words("executor-options"),
            },
            warm: seen.config.get("warm").and_then(Value::as_bool).unwrap_or(true),
            prefer_ports: prefer_ports(seen.config.get("prefer-ports"))?,
            drain_deadline: drain_deadline(text("drain-deadline"))?,
            canary_folder: Some(text("canary-folder")).filter(|f| f.starts_with('/')).map(ToOwned::to_owned),
        })
    }

    /// The preferred number of a port.
    pub(crate) fn port(&self, name: &str) -> u16 {
        let default = PORTS.iter().find(|(port, _)| *port == name).map_or(0, |(_, number)| *number);
        self.prefer_ports.get(name).copied().unwrap_or(default)
    }
}

fn drain_deadline(text: &str) -> Result<Option<String>, BadOption> {
    let bad =
        |why: stoker_charm::size::SizeError| BadOption { option: "drain-deadline", why: why.to_string() };
    if text.is_empty() {
        return Ok(None);
    }
    stoker_charm::size::duration(text).map_err(bad)?;
    Ok(Some(text.to_owned()))
}

fn prefer_ports(value: Option<&Value>) -> Result<BTreeMap<String, u16>, BadOption> {
    let bad = |why: String| BadOption { option: "prefer-ports", why };
    let mut ports = BTreeMap::new();
    for item in value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        let (name, number) = item.split_once('=').ok_or_else(|| bad(format!("`{item}` is not NAME=PORT")))?;
        let (name, number) = (name.trim(), number.trim());
        if !PORTS.iter().any(|(known, _)| *known == name) {
            let known = PORTS.map(|(name, _)| name).join(", ");
            return Err(bad(format!("there is no port `{name}`; there are {known}")));
        }
        let number = number.parse().map_err(|_| bad(format!("`{number}` is not a port")))?;
        ports.insert(name.to_owned(), number);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: Value) -> Result<Config, BadOption> {
        Config::read(&serde_json::from_value(json!({"config": config})).unwrap())
    }

    #[test]
    fn auto_and_set() {
        let config = read(json!({"worker-cores": "auto", "worker-memory": 4 * MIB * 1024,
            "spark-defaults": "spark.a=1\nspark.b=x,y", "executor-options": "-Da=1  -Db"}))
        .unwrap();
        assert_eq!((config.worker_cores, config.worker_memory), (None, Some(4096 * MIB)));
        assert_eq!(config.spark_defaults["spark.b"], "x,y");
        assert_eq!(config.jvm.executor, ["-Da=1", "-Db"]);
        assert_eq!((config.port("history"), config.driver_memory), (18080, 1024 * MIB));
    }

    #[test]
    fn refuses_with_the_options_name() {
        for (config, needle) in [
            (json!({"prefer-ports": ["mastr=1"]}), "no port `mastr`"),
            (json!({"prefer-ports": ["master=70000"]}), "`70000` is not a port"),
            (json!({"prefer-ports": ["master"]}), "not NAME=PORT"),
            (json!({"core-site": "fs.defaultFS"}), "`core-site`"),
        ] {
            let said = read(config).unwrap_err().to_string();
            assert!(said.contains(needle), "{said}");
        }
        assert_eq!(read(json!({"prefer-ports": ["master=7177"]})).unwrap().port("master"), 7177);
    }
}
