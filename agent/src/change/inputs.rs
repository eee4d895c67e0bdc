//! What a verb needs before it can be checked: builds made, charms taken in, files uploaded. Takes its time, and
//! leaves nothing behind that anything refers to.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use stoker_host::fs::failpoint::hit;
use stoker_model::charm::ParamType;
use stoker_model::ids::Digest;

use crate::api::types::Write;
use crate::core::{Core, LoadedCharm, MadeBuild, ProgressSink};
use crate::problem::{Problem, codes};

/// What was made for a verb.
#[derive(Default)]
pub(super) struct Inputs {
    /// The charm, for a deployment or a refresh.
    pub charm: Option<LoadedCharm>,
    /// Resources by name.
    pub resources: BTreeMap<String, MadeBuild>,
    /// File parameters by name: where they are now.
    pub files: BTreeMap<String, String>,
    /// Bytes that were not among the builds before.
    pub new_bytes: u64,
    /// The verb works on the disk alone.
    pub destroys: bool,
}

impl Inputs {
    /// The builds that the change will refer to.
    pub(super) fn builds(&self) -> Vec<Digest> {
        let charm = self.charm.iter().map(|charm| charm.digest.clone());
        charm.chain(self.resources.values().map(|made| made.digest.clone())).collect()
    }
}

impl Core {
    pub(super) async fn inputs(&self, what: &Write, progress: &ProgressSink) -> Result<Inputs, Problem> {
        let mut inputs = Inputs::default();
        match what {
            Write::Deploy { charm, app, resources, .. } => {
                let charm = self.take_charm(charm).await?;
                let name = app.as_deref().unwrap_or(&charm.description.name);
                if self.snapshot().apps.contains_key(name) {
                    let title = format!("cannot deploy `{name}`: there is an application of that name");
                    let fix = "stoker status; deploy it under another name: stoker deploy CHARM NAME";
                    return Err(Problem::new(codes::CONFLICT, title).fix(fix));
                }
                let mut sources = resources.clone();
                for (name, resource) in &charm.description.resources {
                    if let (false, Some(source)) = (sources.contains_key(name), &resource.default) {
                        sources.insert(name.clone(), source.clone());
                    }
                }
                for (name, source) in &sources {
                    let made = self.make_resource(&charm, name, source, progress).await?;
                    inputs.new_bytes += made.new_bytes;
                    inputs.resources.insert(name.clone(), made);
                }
                inputs.charm = Some(charm);
            }
            Write::AttachResource { app, resource, source } => {
                let charm = self.charm_of(app, "attach a resource to")?;
                let made = self.make_resource(&charm, resource, source, progress).await?;
                inputs.new_bytes = made.new_bytes;
                inputs.resources.insert(resource.clone(), made);
            }
            Write::Refresh { app, path } => {
                let name = self.charm_of(app, "refresh")?.description.name.clone();
                inputs.charm = Some(self.take_charm(path.as_deref().unwrap_or(&name)).await?);
            }
            Write::Run { units, action, params } => {
                let Some(app) = units.first().and_then(|unit| unit.split('/').next()) else {
                    return Ok(inputs);
                };
                let Ok(charm) = self.charm_of(app, "run an action on") else { return Ok(inputs) };
                let Some(known) = charm.description.actions.get(action) else { return Ok(inputs) };
                for (name, param) in &known.params {
                    if let (ParamType::File, Some(Value::String(path))) = (param.kind, params.get(name)) {
                        inputs.files.insert(name.clone(), self.upload(Path::new(path))?);
                    }
                }
            }
            Write::DestroyKept { id } => {
                self.kept_folder(id)?;
                inputs.destroys = true;
            }
            _ => {}
        }
        Ok(inputs)
    }

    /// Copies a file to where tasks may read it; named by its content, so that the same file is there once.
    fn upload(&self, path: &Path) -> Result<String, Problem> {
        let wrong = |e: std::io::Error| {
            Problem::new(codes::NOT_FOUND, format!("cannot read the file `{}`: {e}", path.display()))
        };
        let bytes = std::fs::read(path).map_err(wrong)?;
        let name = path.file_name().map_or_else(|| "file".into(), |n| n.to_string_lossy().into_owned());
        let folder = self.paths.root.join("uploads").join(&stoker_model::ids::Digest::of(&bytes).hex()[..24]);
        stoker_host::fs::make_folder(&folder, 0o755, None).map_err(wrong)?;
        let to = folder.join(name);
        if !to.exists() {
            stoker_host::fs::atomic_write(&to, &bytes, 0o444, None).map_err(wrong)?;
            hit("agent.upload.written");
        }
        Ok(to.display().to_string())
    }
}
