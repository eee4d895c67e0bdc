//! `stoker show-unit`.

use serde_json::{Map, Value, json};

use super::out::Out;
use super::{Context, End};
use crate::api::types::UnitDoc;
use crate::problem::{Problem, codes};
use stoker_model::ids::UnitId;

/// Show a unit in full: services, tasks, trees, relations
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker show-unit web/0
  stoker show-unit web/0 db/0 --format json")]
pub(crate) struct Arguments {
    /// The units
    #[arg(required = true, value_name = "UNIT")]
    units: Vec<String>,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let mut document = Map::new();
    for unit in &arguments.units {
        let (app, n) = parts(unit)?;
        let shown: UnitDoc = client.get(client.at(&["units", &app, &n])).await?;
        let mut value = json!(shown);
        if let Some(fields) = value.as_object_mut() {
            fields.remove("unit");
        }
        document.insert(unit.clone(), value);
    }
    // Like Juju, this is YAML for people too.
    yaml(context, &Value::Object(document))
}

/// `APP/N` in its parts.
pub(super) fn parts(unit: &str) -> Result<(String, String), Problem> {
    unit.parse::<UnitId>().map(|id| (id.app, id.n.to_string())).map_err(|error| {
        Problem::new(codes::INVALID_VALUE, format!("cannot show `{unit}`: {error}")).fix("stoker status")
    })
}

/// Documents that have no better form for people than YAML.
pub(super) fn yaml(context: &Context, document: &Value) -> Result<(), End> {
    let format = match context.out.format {
        super::out::Format::Tabular => super::out::Format::Yaml,
        other => other,
    };
    Out { format, ..context.out }.document(document)
}
