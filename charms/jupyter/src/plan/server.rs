//! The JupyterLab server: one service. Owns what it starts with; nothing of Spark is among its inputs.

use std::collections::BTreeMap;

use serde_json::json;
use stoker_charm::Probe;
use stoker_charm::plan::{Plan, Service, Stop};
use stoker_charm::probe::Op;

use super::USER;
use super::kernels::SHARE;
use crate::options::Options;
use crate::url::TOKEN;

/// The server's address.
pub(super) const BASE: &str = "http://${address:default}:${port:lab}";
/// The environment's interpreter.
pub(super) const PYTHON: &str = "${tree:python}/bin/python";

/// Adds the service `lab`.
pub(super) fn add(options: &Options, out: &mut Plan) {
    let mut settings: BTreeMap<String, String> = [
        ("ServerApp.ip", "${address:default}"),
        ("ServerApp.port", "${port:lab}"),
        // A port that is taken is an error and no reason for another one.
        ("ServerApp.port_retries", "0"),
        ("ServerApp.root_dir", "${dir:work}"),
        ("ServerApp.open_browser", "False"),
        // Other users of the host must not read what kernels are told.
        ("KernelManager.transport_encryption", "auto"),
        // The environment is read-only: an extension comes with another one.
        ("LabApp.extension_manager", "readonly"),
        // It would ask a host on the internet.
        ("LabApp.check_for_updates_class", "jupyterlab.NeverCheckForUpdate"),
        ("LabApp.news_url", "None"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    if !options.cull_idle.is_zero() {
        let seconds = options.cull_idle.as_secs().max(1);
        settings.insert("MappingKernelManager.cull_idle_timeout".into(), seconds.to_string());
        settings.insert("MappingKernelManager.cull_interval".into(), seconds.min(60).to_string());
        let connected = if options.cull_connected { "True" } else { "False" };
        settings.insert("MappingKernelManager.cull_connected".into(), connected.into());
    }
    settings.extend(options.server.iter().map(|(key, value)| (key.clone(), super::literal(value))));

    let mut command: Vec<String> = [PYTHON, "-m", "jupyterlab"].map(str::to_owned).into();
    command.extend(settings.iter().map(|(key, value)| format!("--{key}={value}")));
    let env = [
        (TOKEN, "${secret:token}"),
        ("HOME", "${dir:home}"),
        ("JUPYTER_CONFIG_DIR", "${dir:home}/config"),
        ("JUPYTER_DATA_DIR", "${dir:home}/data"),
        ("JUPYTER_RUNTIME_DIR", "${dir:home}/runtime"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("SHELL", "/bin/bash"),
    ];
    let mut env: BTreeMap<String, String> = env.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    // The folder's path is fixed, so that kernels come and go without the server.
    let offered = out.files.keys().any(|name| name.starts_with(SHARE));
    env.insert("JUPYTER_PATH".into(), "${file:share}".into());
    if !offered {
        // A folder of files exists by its files.
        let note = stoker_charm::plan::File {
            text: "Kernels of related clusters appear here.\n".into(),
            live: true,
            user: Some(USER.into()),
            ..Default::default()
        };
        out.files.insert(format!("{SHARE}/README"), note);
    }
    let mut follows: Vec<String> =
        out.trees.keys().filter(|n| *n != "python").map(|n| format!("tree:{n}")).collect();
    let mut groups: Vec<&str> = out.files.keys().filter_map(|name| name.split('/').next()).collect();
    groups.dedup();
    follows.extend(groups.into_iter().map(|group| format!("file:{group}")));

    let ask = |path: &str| Probe {
        http: Some(format!("{BASE}{path}")),
        headers: BTreeMap::from([("Authorization".into(), "token ${secret:token}".into())]),
        ..Probe::default()
    };
    let service = Service {
        command,
        env,
        user: Some(USER.into()),
        trees: vec!["python".into()],
        dirs: ["home", "local", "work"].map(Into::into).to_vec(),
        ports: ["driver", "lab"].map(Into::into).to_vec(),
        follows,
        ready: vec![Probe {
            pointer: Some("/kernels".into()),
            op: Some(Op::Ge),
            value: Some(json!(0)),
            ..ask("/api/status")
        }],
        busy: BTreeMap::from([(
            "kernels".into(),
            Probe { pointer: Some(String::new()), each: Some("/id".into()), ..ask("/api/kernels") },
        )]),
        // It shuts its kernels down, and they their drivers.
        stop: Stop { grace: "30s".into(), ..Stop::default() },
        ..Service::default()
    };
    out.services.insert("lab".into(), service);
}
