//! `charm.toml`: what a function charm says of itself. Owns its shape and what is valid in it;
//! must not read files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{check_label, check_name};
use crate::{size, strict};

/// The format number of `charm.toml`.
pub const FORMAT: u32 = 1;

/// A `charm.toml` that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CharmError {
    /// Not TOML, or not of this shape.
    #[error("cannot read charm.toml: {0}")]
    Shape(String),
    /// Of a format that this stoker does not know.
    #[error("cannot use charm.toml: its format is {0}, this stoker knows {FORMAT}")]
    Format(u32),
    /// Something in it does not hold.
    #[error("cannot use charm.toml: {0}")]
    Invalid(String),
}

/// A charm's description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charm {
    /// [`FORMAT`].
    pub format: u32,
    /// The charm's name, the application's by default.
    pub name: String,
    /// One line.
    #[serde(default)]
    pub summary: String,
    /// Which stoker it needs (`stoker >= 0.1`).
    #[serde(default)]
    pub assumes: String,
    /// Its executables.
    pub programs: Programs,
    /// System users that its services run as.
    #[serde(default)]
    pub users: BTreeMap<String, User>,
    /// What its `align` program can be asked.
    #[serde(default)]
    pub align: Option<Align>,
    /// Its resources.
    #[serde(default)]
    pub resources: BTreeMap<String, Resource>,
    /// Layouts of archives that are no ready trees: the first whose `when` paths all exist is applied at ingest.
    #[serde(default)]
    pub layouts: Vec<Layout>,
    /// Its endpoints.
    #[serde(default)]
    pub relations: BTreeMap<String, Endpoint>,
    /// Its options.
    #[serde(default)]
    pub config: BTreeMap<String, Opt>,
    /// Its actions.
    #[serde(default)]
    pub actions: BTreeMap<String, Action>,
}

/// Paths of executables inside the charm; the first argument is the role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    /// Observation to plan.
    pub dispatch: String,
    /// `inspect PRODUCT TREE`.
    #[serde(default)]
    pub inspect: Option<String>,
    /// `recipe make VERSION OUT`, `recipe versions`.
    #[serde(default)]
    pub recipe: Option<String>,
    /// `align ask`, `align check`: a question on standard input, the answer on standard output.
    #[serde(default)]
    pub align: Option<String>,
}

/// What `align` can be asked: whether a build fits what it would run with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Align {
    /// The product of builds that it judges.
    pub product: String,
    /// What it can be told by `--with NAME=VALUE`: one line each.
    pub with: BTreeMap<String, String>,
}

/// A system user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// What it is for.
    pub summary: String,
}

/// A resource: a build that can be attached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resource {
    /// The product that its facts must name.
    pub product: String,
    /// One line.
    pub summary: String,
    /// Without it the application is blocked.
    pub required: bool,
    /// A SOURCE (`recipe:VERSION`, …) that is attached when the user gives none.
    pub default: Option<String>,
    /// What the charm's recipe takes after `recipe:` to make it, in words; empty = it makes none.
    pub recipe: String,
}

/// How an archive's paths become a tree's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    /// Paths that all exist in archives of this layout (below its single top folder).
    pub when: Vec<String>,
    /// `[[from, to], …]`: path prefixes, the first match moves a path. Empty `to` = the root.
    pub moves: Vec<(String, String)>,
    /// Path prefixes that are left out (before moving).
    pub drop: Vec<String>,
}

/// Which side of an interface an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Offers it.
    Provides,
    /// Uses it.
    Requires,
    /// Among the units of one application.
    Peer,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its side.
    pub role: Role,
    /// Its interface; endpoints relate when these are equal.
    pub interface: String,
    /// How many relations it takes; 0 = any number.
    #[serde(default)]
    pub limit: u32,
    /// Whether the application works without it.
    #[serde(default)]
    pub optional: bool,
}

/// Types of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptType {
    /// Text.
    String,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
    /// Bytes, written as `4g`.
    Size,
    /// Written as `60s`.
    Duration,
    /// Texts, written with commas between them.
    List,
}

/// An option.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opt {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: OptType,
    /// Its default; `auto` for a size or int is observed as that word.
    #[serde(default)]
    pub default: Option<Value>,
    /// One line.
    #[serde(default)]
    pub summary: String,
    /// The only values allowed; empty = any.
    #[serde(default)]
    pub values: Vec<String>,
}

/// An action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Action {
    /// One line.
    pub summary: String,
    /// How long it may take; `10m` when empty.
    pub timeout: String,
    /// Its parameters.
    pub params: BTreeMap<String, Param>,
}

/// Types of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
    /// Texts.
    List,
    /// A file that is uploaded; the task gets a read-only path.
    File,
}

/// A parameter of an action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Param {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ParamType,
    /// Whether it must be given.
    pub required: bool,
    /// Used when it is not given.
    pub default: Option<String>,
    /// One line.
    pub summary: String,
}

/// Reads and checks a `charm.toml`.
pub fn parse(text: &str) -> Result<Charm, CharmError> {
    let charm: Charm =
        toml::from_str(text).map_err(|e| CharmError::Shape(strict::explain(e.to_string().trim())))?;
    charm.check()?;
    Ok(charm)
}

/// The numbers of a version; those that are left out are 0.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut numbers = [0; 3];
    for (at, part) in version.split('.').enumerate() {
        *numbers.get_mut(at)? = part.parse().ok()?;
    }
    Some(numbers)
}

impl Programs {
    /// All that there are.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        let optional = [&self.inspect, &self.recipe, &self.align];
        std::iter::once(&self.dispatch).chain(optional.into_iter().flatten())
    }
}

impl Charm {
    fn check(&self) -> Result<(), CharmError> {
        let invalid = |what: String| Err(CharmError::Invalid(what));
        if self.format != FORMAT {
            return Err(CharmError::Format(self.format));
        }
        check_name(&self.name).map_err(|e| CharmError::Invalid(e.to_string()))?;
        if !self.assumes.is_empty() {
            let needs = self.assumes.strip_prefix("stoker >=").and_then(|version| numbers(version.trim()));
            let own = env!("CARGO_PKG_VERSION");
            match needs {
                None => {
                    return invalid(format!("assumes `{}` is not of the form `stoker >= 0.1`", self.assumes));
                }
                Some(needs) if numbers(own).is_some_and(|own| own < needs) => {
                    return invalid(format!("it assumes `{}`, this is stoker {own}", self.assumes));
                }
                Some(_) => {}
            }
        }
        let names = self
            .users
            .keys()
            .chain(self.resources.keys())
            .chain(self.relations.keys())
            .chain(self.config.keys())
            .chain(self.actions.keys());
        for name in names {
            check_label(name).map_err(|e| CharmError::Invalid(e.to_string()))?;
        }
        if self.programs.align.is_some() != self.align.as_ref().is_some_and(|align| !align.product.is_empty())
        {
            return invalid("`programs.align` and `align.product` go together".to_owned());
        }
        for path in self.programs.all() {
            if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return invalid(format!("program `{path}` is not a path inside the charm"));
            }
        }
        for (name, resource) in &self.resources {
            if resource.product.is_empty() {
                return invalid(format!("resource `{name}` names no product"));
            }
        }
        for (name, option) in &self.config {
            if let Some(default) = &option.default {
                option
                    .check(default)
                    .map_err(|why| CharmError::Invalid(format!("default of option `{name}`: {why}")))?;
            }
        }
        for (name, action) in &self.actions {
            if !action.timeout.is_empty() {
                size::duration(&action.timeout)
                    .map_err(|e| CharmError::Invalid(format!("timeout of action `{name}`: {e}")))?;
            }
        }
        Ok(())
    }
}

impl Opt {
    /// Whether `auto` stands for "decide yourself".
    fn auto(&self) -> bool {
        matches!(self.kind, OptType::Size | OptType::Int)
            && self.default.as_ref().is_some_and(|d| d == "auto")
    }

    /// The observed value of a written one, or what is wrong with it. Sizes become bytes.
    pub fn check(&self, value: &Value) -> Result<Value, String> {
        let said = || value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        if self.auto() && value == "auto" {
            return Ok(value.clone());
        }
        let checked = match (self.kind, value) {
            (OptType::String, Value::String(_)) | (OptType::Bool, Value::Bool(_)) => Some(value.clone()),
            (OptType::String, Value::Number(_) | Value::Bool(_)) => Some(Value::from(said())),
            (OptType::Bool, Value::String(text)) => text.parse::<bool>().ok().map(Value::from),
            (OptType::Int, Value::Number(n)) => n.as_i64().map(Value::from),
            (OptType::Int, Value::String(text)) => text.parse::<i64>().ok().map(Value::from),
            (OptType::Float, Value::Number(n)) => n.as_f64().map(Value::from),
            (OptType::Float, Value::String(text)) => {
                text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from)
            }
            (OptType::Size, Value::Number(n)) => n.as_u64().map(Value::from),
            (OptType::Size, Value::String(text)) => {
                return size::bytes(text).map(Value::from).map_err(|e| e.to_string());
            }
            (OptType::Duration, Value::String(text)) => {
                return size::duration(text).map(|_| value.clone()).map_err(|e| e.to_string());
            }
            (OptType::List, Value::Array(items)) => items.iter().all(Value::is_string).then(|| value.clone()),
            (OptType::List, Value::String(text)) => {
                Some(text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(Value::from).collect())
            }
            _ => None,
        };
        let checked = checked.ok_or_else(|| format!("`{}` is not of type {}", said(), self.kind.word()))?;
        if !self.values.is_empty() && !self.values.contains(&said()) {
            let hint = strict::nearest(&said(), self.values.iter().map(String::as_str))
                .map(|near| format!(" (did you mean `{near}`?)"))
                .unwrap_or_default();
            return Err(format!("`{}` is not one of {}{hint}", said(), self.values.join(", ")));
        }
        Ok(checked)
    }
}

impl OptType {
    /// The word in `charm.toml`.
    pub fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Size => "size",
            Self::Duration => "duration",
            Self::List => "list",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const GOOD: &str = r#"
format = 1
name = "web"
[programs]
dispatch = "bin/web"
[config.heap]
type = "size"
default = "auto"
[config.mode]
type = "string"
default = "fast"
values = ["fast", "safe"]
[relations.db]
role = "requires"
interface = "sql"
limit = 1
[actions.dump]
timeout = "6h"
params.to = { type = "file", required = true }
"#;

    #[test]
    fn reads_a_charm() {
        let charm = parse(GOOD).unwrap();
        assert_eq!(charm.relations["db"].role, Role::Requires);
        assert_eq!(charm.actions["dump"].params["to"].kind, ParamType::File);
        let heap = &charm.config["heap"];
        assert_eq!(heap.check(&json!("auto")), Ok(json!("auto")));
        assert_eq!(heap.check(&json!("4g")), Ok(json!(4_294_967_296_u64)));
        assert!(heap.check(&json!("much")).is_err());
        let wrong = charm.config["mode"].check(&json!("saef")).unwrap_err();
        assert!(wrong.contains("did you mean `safe`"), "{wrong}");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let wrong = parse(&GOOD.replace("limit = 1", "limt = 1")).unwrap_err().to_string();
        assert!(wrong.contains("did you mean `limit`"), "{wrong}");
        assert_eq!(parse(&GOOD.replace("format = 1", "format = 2")), Err(CharmError::Format(2)));
        for (assumes, good) in
            [(">= 0.1", true), (">= 0.1.0", true), (">= 99", false), ("> 0.1", false), (">= new", false)]
        {
            let text = GOOD.replacen("[programs]", &format!("assumes = \"stoker {assumes}\"\n[programs]"), 1);
            assert_eq!(parse(&text).is_ok(), good, "{assumes}");
        }
        assert!(parse(&GOOD.replace("bin/web", "../web")).is_err());
        let align = |product: &str| {
            GOOD.replace("dispatch = \"bin/web\"", "dispatch = \"bin/web\"\nalign = \"bin/web\"")
                + &format!("[align]\nproduct = \"{product}\"\nwith.db = \"a version\"\n")
        };
        assert_eq!(parse(&align("web")).unwrap().align.unwrap().with["db"], "a version");
        assert!(parse(&align("")).is_err());
        assert!(parse(&GOOD.replace("\"6h\"", "\"soon\"")).is_err());
    }
}
