//! Actions: programs whose driver runs on this unit, as a task in client mode. Owns their command lines.

use serde_json::{Value, json};
use stoker_charm::observation::{Action, Memory, Observation};
use stoker_charm::plan::{Plan, Task};

use super::alignment::FOLLOW;
use super::defaults::{escaped, mebibytes};
use super::{Scene, USER, services};
use crate::config::Pairs;
use crate::programs::{APP, LAUNCH, REFUSE};

/// What Spark opens of the JVM's inside; Java 8 ignores it.
const MODULES: [&str; 18] = [
    "-XX:+IgnoreUnrecognizedVMOptions",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.invoke=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.net=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.cs=ALL-UNNAMED",
    "--add-opens=java.base/sun.security.action=ALL-UNNAMED",
    "--add-opens=java.base/sun.util.calendar=ALL-UNNAMED",
    "--add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "-Djdk.reflect.useDirectMethodHandle=false",
    "-Dio.netty.tryReflectionSetAccessible=true",
];

/// The task that does an action, or that says why it cannot be done.
pub(super) fn task(action: &Action, seen: &Observation, plan: &Plan) -> Task {
    let made = if plan.hold.is_some() {
        Err(plan.status.message.clone())
    } else {
        Scene::read(seen).map_err(|_| plan.status.message.clone())
    };
    let made = made.and_then(|scene| {
        if scene.own.coming {
            // Its master does not run yet, and another's has workers of another build.
            return Err(format!(
                "the cluster moves to Spark {}: run it again when it has",
                scene.spark.version
            ));
        }
        if !scene.folders_ready() {
            return Err(scene.status().message);
        }
        match action.name.as_str() {
            "run-pi" => run_pi(&scene, action),
            "submit" => submit(&scene, action),
            FOLLOW => follow(&scene),
            other => Err(format!("there is no action `{other}`")),
        }
    });
    made.unwrap_or_else(|why| refusal(seen, plan, &why))
}

/// A task that prints why and fails.
fn refusal(seen: &Observation, plan: &Plan, why: &str) -> Task {
    let mut task = Task { timeout: Some("10s".to_owned()), ..Task::default() };
    if plan.trees.contains_key("charm") && !seen.charm.is_empty() {
        task.trees = vec!["charm".to_owned()];
        task.command = vec!["${tree:charm}/bin/spark".to_owned(), REFUSE.to_owned(), escaped(why)];
    } else {
        task.command = ["/bin/sh", "-c", "echo \"cannot run the action: $0\" >&2; exit 1", &escaped(why)]
            .map(ToOwned::to_owned)
            .into();
    }
    task
}

/// What is to be remembered once the action is done.
pub(super) fn remembered(action: &Action, seen: &Observation) -> Memory {
    let asked = (action.name == FOLLOW).then(|| Scene::read(seen).ok()?.alignment.unasked).flatten();
    Memory { app: asked.into_iter().map(|hdfs| (FOLLOW.to_owned(), hdfs)).collect(), ..Memory::default() }
}

/// Says what will be followed: to remember it is all there is to do.
fn follow(scene: &Scene<'_>) -> Result<Task, String> {
    let says = match (&scene.alignment.unasked, &scene.hdfs) {
        (_, None) => return Err("there is no HDFS to follow".to_owned()),
        (_, Some(_)) if !scene.seen.leader => {
            return Err(format!("the leader decides: stoker run {}/leader {FOLLOW}", scene.seen.app));
        }
        (Some(_), Some(hdfs)) => json!({"follows": hdfs.server.version}),
        (None, Some(hdfs)) => json!({"follows": hdfs.server.version, "already": true}),
    };
    Ok(Task {
        command: vec!["/bin/echo".to_owned(), escaped(&says.to_string())],
        user: Some(USER.to_owned()),
        timeout: Some("10s".to_owned()),
        ..Task::default()
    })
}

fn run_pi(scene: &Scene<'_>, action: &Action) -> Result<Task, String> {
    if scene.python.is_none() {
        return Err(no_python(scene));
    }
    let slices = match action.params.get("n") {
        None | Some(Value::Null) => 10,
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        Some(value) => value.as_u64().unwrap_or(0),
    };
    if slices == 0 {
        return Err("parameter `n` has to be a whole number above 0".to_owned());
    }
    let mut command = driver(scene, &Pairs::new());
    command.extend(["${tree:charm}/lib/pi.py".to_owned(), slices.to_string()]);
    Ok(finished(scene, command, "15m"))
}

fn submit(scene: &Scene<'_>, action: &Action) -> Result<Task, String> {
    let app = action.params.get("app").and_then(Value::as_str).unwrap_or_default();
    if app.is_empty() {
        return Err("parameter `app` has to be a file".to_owned());
    }
    let mut conf = Pairs::new();
    for item in texts(action.params.get("conf")) {
        let (key, value) =
            item.split_once('=').ok_or_else(|| format!("parameter `conf`: `{item}` is not KEY=VALUE"))?;
        conf.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    let mut command: Vec<String> =
        ["${tree:charm}/bin/spark", LAUNCH, "${dir:jobs}"].map(ToOwned::to_owned).into();
    command.push(escaped(app));
    command.push("--".to_owned());
    command.extend(driver(scene, &conf));
    if let Some(class) = action.params.get("class").and_then(Value::as_str).filter(|class| !class.is_empty())
    {
        command.extend(["--class".to_owned(), escaped(class)]);
    }
    command.push(APP.to_owned());
    command.extend(texts(action.params.get("args")).iter().map(|arg| escaped(arg)));
    Ok(finished(scene, command, "6h"))
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
        Some(Value::String(text)) if !text.is_empty() => vec![text.clone()],
        _ => Vec::new(),
    }
}

fn no_python(scene: &Scene<'_>) -> String {
    format!(
        "there is no Python {} or later on this host; attach one as resource `python`",
        scene.spark.python_floor
    )
}

/// `spark-submit` without its two launchers: what they would do to the JVM from properties is done here.
fn driver(scene: &Scene<'_>, conf: &Pairs) -> Vec<String> {
    let mut known = super::defaults::driver(scene);
    super::defaults::over(&mut known, conf);
    let known = |key: &str| known.get(key).filter(|value| !value.is_empty());
    let mut command = vec![format!("{}/bin/java", scene.java.home)];
    command.extend(MODULES.map(ToOwned::to_owned));
    let heap = known("spark.driver.memory").cloned().unwrap_or_else(|| mebibytes(scene.config.driver_memory));
    command.push(format!("-Xmx{heap}"));
    command.extend(scene.config.jvm.driver.iter().map(|option| escaped(option)));
    for key in ["spark.driver.defaultJavaOptions", "spark.driver.extraJavaOptions"] {
        command.extend(
            known(key).into_iter().flat_map(|options| options.split_whitespace()).map(ToOwned::to_owned),
        );
    }
    let own = services::classpath(scene, "driver");
    let classpath =
        known("spark.driver.extraClassPath").map_or_else(|| own.clone(), |extra| format!("{extra}:{own}"));
    command.extend(["-cp".to_owned(), classpath, "org.apache.spark.deploy.SparkSubmit".to_owned()]);
    for (key, value) in conf {
        command.extend(["--conf".to_owned(), format!("{}={}", escaped(key), escaped(value))]);
    }
    command
}

fn finished(scene: &Scene<'_>, command: Vec<String>, timeout: &str) -> Task {
    let mut env = services::environment(scene, "driver");
    env.insert("HADOOP_CONF_DIR".to_owned(), "${file:hadoop}".to_owned());
    env.insert("SPARK_LOCAL_DIRS".to_owned(), "${dir:local}".to_owned());
    // Standard output belongs to the program: it comes as it is printed, and its last line is the result.
    env.insert("PYTHONUNBUFFERED".to_owned(), "1".to_owned());
    let mut trees = scene.alignment.tree_names();
    trees.push("charm".to_owned());
    if let Some(python) = &scene.python {
        env.insert("PYSPARK_PYTHON".to_owned(), python.path.clone());
        env.insert("PYSPARK_DRIVER_PYTHON".to_owned(), python.path.clone());
        trees.extend(python.tree.clone());
    }
    if scene.jars.is_some() {
        trees.push(super::jars::TREE.to_owned());
    }
    Task {
        command,
        env,
        user: Some(USER.to_owned()),
        trees,
        files: ["driver", "hadoop"].map(ToOwned::to_owned).into(),
        dirs: ["home", "local", "ivy", "jobs"]
            .iter()
            .chain(scene.local_data())
            .map(ToString::to_string)
            .collect(),
        ports: ["driver", "driver-block", "driver-ui"].map(ToOwned::to_owned).into(),
        timeout: Some(timeout.to_owned()),
        ..Task::default()
    }
}
