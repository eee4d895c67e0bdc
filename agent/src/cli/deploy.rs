//! `stoker deploy`.

use std::collections::BTreeMap;

use super::writing::{self, Writing};
use super::{Context, End, source};
use crate::api::types::Write;

/// Deploy an application from a charm
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker deploy web -n 3 --config port=8080
  stoker deploy ./charms/db store --resource server=./db-1.2.tar.gz --preview")]
pub(crate) struct Arguments {
    /// A charm's name, or its folder (with ./ or /)
    charm: String,
    /// The application's name; the charm's without it
    app: Option<String>,
    /// How many units
    #[arg(short = 'n', long = "num-units", alias = "units", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    units: Option<u32>,
    /// OPTION=VALUE, OPTION=@FILE, or a YAML file as @FILE; may be repeated
    #[arg(long, value_name = "OPTION=VALUE")]
    config: Vec<String>,
    /// NAME=SOURCE: a file, a folder, recipe:VERSION or build:DIGEST; may be repeated
    #[arg(long = "resource", value_name = "NAME=SOURCE")]
    resources: Vec<String>,
    /// Take kept data back (`stoker kept`), one id per unit
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',')]
    reuse_data: Vec<String>,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { charm, app, units, config, resources, reuse_data, writing } = arguments;
    let name = app
        .clone()
        .unwrap_or_else(|| charm.trim_end_matches('/').rsplit('/').next().unwrap_or_default().into());
    let mut sources = BTreeMap::new();
    for text in &resources {
        let (resource, from) = source::pair(text)?;
        sources.insert(resource, source::source(&from)?);
    }
    let what = Write::Deploy {
        charm: source::charm(&charm)?,
        app,
        units,
        config: source::options(&config, &name)?,
        resources: sources,
        reuse_data,
    };
    writing::write(context, what, &writing).await
}
