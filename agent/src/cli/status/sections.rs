//! The sections of a status document as tables. Reads only what is there: an older or newer agent's document is shown
//! as far as it is understood.

use serde_json::{Map, Value};

use crate::cli::resources::short;
use crate::cli::table::{Table, cut};

/// Juju cuts there.
const VERSION: usize = 15;
const MESSAGE: usize = 120;

/// All sections that have something to say, a blank line between them.
pub(super) fn render(status: &Value, width: usize) -> String {
    let tables = [
        model(status),
        applications(status),
        units(status),
        builds(status),
        rollouts(status),
        machines(status),
        integrations(status),
    ];
    let text: Vec<String> =
        tables.iter().filter(|table| !table.is_empty()).map(|table| table.render(width)).collect();
    text.join("\n")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn model(status: &Value) -> Table {
    let mut table = Table::new(&["Model", "2Controller", "2Cloud/Region", "1Version", "Timestamp"]);
    let model = &status["model"];
    if model.is_object() {
        let place = [text(&model["cloud"]), text(&model["region"])];
        let place: Vec<&str> = place.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        table.row([
            text(&model["name"]),
            text(&model["controller"]),
            place.join("/"),
            text(&model["version"]),
            text(&status["controller"]["timestamp"]),
        ]);
    }
    table
}

fn applications(status: &Value) -> Table {
    let mut table = Table::new(&[
        "App", "2Version", "Status*", "Scale", "3Charm", "6Channel", "4Rev", "5Exposed", "Message",
    ]);
    for (name, app) in entries(&status["applications"]) {
        let units = app["units"].as_object().map_or(0, Map::len) as u64;
        let asked = app["scale"].as_u64().unwrap_or(units);
        let revision =
            app["charm-rev"].as_u64().map_or_else(|| short(&text(&app["charm-rev"])), |n| n.to_string());
        table.row([
            name.clone(),
            cut(&text(&app["version"]), VERSION),
            text(&app["application-status"]["current"]),
            if asked == units { units.to_string() } else { format!("{units}/{asked}") },
            app["charm-name"].as_str().map_or_else(|| text(&app["charm"]), str::to_owned),
            text(&app["charm-channel"]),
            revision,
            exposed(app),
            cut(&text(&app["application-status"]["message"]), MESSAGE),
        ]);
    }
    table
}

fn units(status: &Value) -> Table {
    let mut table =
        Table::new(&["Unit", "Workload*", "3Agent*", "4Machine", "2Public address", "1Ports", "Message"]);
    for (_, app) in entries(&status["applications"]) {
        let mut sorted: Vec<_> = entries(&app["units"]).collect();
        sorted.sort_by_key(|(name, _)| name.rsplit('/').next().and_then(|n| n.parse::<u64>().ok()));
        for (name, unit) in sorted {
            add_unit(&mut table, name, unit, "");
        }
    }
    table
}

fn add_unit(table: &mut Table, name: &str, unit: &Value, indent: &str) {
    let leader = if unit["leader"] == true { "*" } else { "" };
    let ports: Vec<String> = items(&unit["open-ports"]).map(text).collect();
    let doing = text(&unit["juju-status"]["message"]);
    let says = text(&unit["workload-status"]["message"]);
    let message = if unit["juju-status"]["current"] == "executing" && !doing.is_empty() {
        let doing = doing.trim_start_matches("running ");
        format!("({doing}) {says}")
    } else {
        says
    };
    table.row([
        format!("{indent}{name}{leader}"),
        text(&unit["workload-status"]["current"]),
        text(&unit["juju-status"]["current"]),
        text(&unit["machine"]),
        text(&unit["public-address"]),
        shortened(&ports),
        cut(message.trim(), MESSAGE),
    ]);
    for (name, subordinate) in entries(&unit["subordinates"]) {
        add_unit(table, name, subordinate, "  ");
    }
}

/// `80,443/tcp`: ports of one protocol together, as Juju shows them.
fn shortened(ports: &[String]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for port in ports {
        let (number, protocol) = port.split_once('/').unwrap_or((port, ""));
        match groups.iter_mut().find(|(known, _)| *known == protocol) {
            Some((_, numbers)) => numbers.push(number),
            None => groups.push((protocol, vec![number])),
        }
    }
    let shown = groups.iter().map(|(protocol, numbers)| match *protocol {
        "" => numbers.join(","),
        protocol => format!("{}/{protocol}", numbers.join(",")),
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn builds(status: &Value) -> Table {
    let mut table = Table::new(&["Builds", "1Resource", "2Rev", "Version", "3Build", "Verdict", "Message"]);
    for build in items(&status["builds"]) {
        table.row([
            text(&build["application"]),
            text(&build["resource"]),
            text(&build["revision"]),
            text(&build["version"]),
            short(&text(&build["digest"])),
            text(&build["verdict"]),
            cut(&text(&build["says"]), MESSAGE),
        ]);
    }
    table
}

fn rollouts(status: &Value) -> Table {
    let mut table = Table::new(&["Rollout", "Release", "Moved", "Message"]);
    for rollout in items(&status["rollouts"]) {
        table.row([
            text(&rollout["application"]),
            text(&rollout["release"]),
            format!("{}/{}", text(&rollout["moved"]), text(&rollout["units"])),
            cut(&text(&rollout["message"]), MESSAGE),
        ]);
    }
    table
}

fn machines(status: &Value) -> Table {
    let mut table = Table::new(&["Machine", "State*", "Address", "2Inst id", "1Base", "4AZ", "3Message"]);
    for (name, machine) in entries(&status["machines"]) {
        let base = [text(&machine["base"]["name"]), text(&machine["base"]["channel"])];
        table.row([
            name.clone(),
            text(&machine["juju-status"]["current"]),
            text(&machine["dns-name"]),
            text(&machine["instance-id"]),
            base.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("@"),
            String::new(),
            text(&machine["machine-status"]["message"]),
        ]);
    }
    table
}

fn integrations(status: &Value) -> Table {
    let mut table = Table::new(&["Integration provider", "Requirer", "1Interface", "2Type", "Message"]);
    for integration in items(&status["integrations"]) {
        table.row([
            text(&integration["provider"]),
            text(&integration["requirer"]),
            text(&integration["interface"]),
            text(&integration["type"]),
            cut(&text(&integration["message"]), MESSAGE),
        ]);
    }
    table
}

/// Whom other than this host an application's services are open to.
fn exposed(app: &Value) -> String {
    let networks: Vec<&str> =
        app["exposed-to"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match (app["exposed"] == true, networks.as_slice()) {
        (false, _) => "no".to_owned(),
        (true, []) => "yes".to_owned(),
        (true, some) => some.join(","),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({
            "model": {"name": "default", "type": "iaas", "controller": "stoker", "cloud": "localhost", "version": "0.1.0"},
            "machines": {"0": {"juju-status": {"current": "started"}, "dns-name": "127.0.0.1", "instance-id": "box",
                "base": {"name": "debian", "channel": "12"}, "machine-status": {"message": "running"}}},
            "applications": {
                "db": {"charm-name": "db", "charm-rev": format!("b3:{}", "ab".repeat(32)), "exposed": false, "scale": 3, "version": "a-very-long-version-of-it",
                    "application-status": {"current": "waiting", "message": "for \u{1b}[31mit"},
                    "units": {
                        "db/10": {"workload-status": {"current": "active", "message": ""}, "juju-status": {"current": "idle"},
                            "machine": "0", "public-address": "127.0.0.1", "open-ports": ["80/tcp", "90-99/tcp", "53/udp"]},
                        "db/9": {"workload-status": {"current": "waiting", "message": "server: starting"},
                            "juju-status": {"current": "executing", "message": "running config-changed hook"}, "leader": true, "machine": "0"}}},
            },
            "builds": [{"application": "db", "resource": "server", "revision": 2, "version": "3.1",
                "digest": format!("b3:{}", "cd".repeat(32)), "verdict": "exact", "says": ""}],
            "rollouts": [{"application": "db", "release": 4, "moved": 1, "units": 2, "message": "waits for 1 session"}],
            "integrations": [{"provider": "db:server", "requirer": "web:db", "interface": "db", "type": "regular"}],
            "controller": {"timestamp": "12:00:00Z"},
        })
    }

    #[test]
    fn sections_and_columns_are_jujus_with_builds() {
        let plain = anstream::adapter::strip_str(&render(&sample(), usize::MAX)).to_string();
        insta::assert_snapshot!(plain, @r#"
        Model    Controller  Cloud/Region  Version  Timestamp
        default  stoker      localhost     0.1.0    12:00:00Z

        App  Version          Status   Scale  Charm  Channel  Rev           Exposed  Message
        db   a-very-long-ve…  waiting  2/3    db              abababababab  no       for \u{1b}[31mit

        Unit   Workload  Agent      Machine  Public address  Ports                Message
        db/9*  waiting   executing  0                                             (config-changed hook) server: starting
        db/10  active    idle       0        127.0.0.1       80,90-99/tcp 53/udp

        Builds  Resource  Rev  Version  Build         Verdict  Message
        db      server    2    3.1      cdcdcdcdcdcd  exact

        Rollout  Release  Moved  Message
        db       4        1/2    waits for 1 session

        Machine  State    Address    Inst id  Base       AZ  Message
        0        started  127.0.0.1  box      debian@12      running

        Integration provider  Requirer  Interface  Type     Message
        db:server             web:db    db         regular
        "#);
    }

    #[test]
    fn a_narrow_terminal_is_not_overrun() {
        let plain = anstream::adapter::strip_str(&render(&sample(), 72)).to_string();
        for line in plain.lines() {
            assert!(line.chars().count() <= 72, "{line}");
        }
        assert!(plain.contains("Workload") && !plain.contains("Channel"), "{plain}");
    }

    #[test]
    fn odd_documents_are_survived() {
        assert_eq!(render(&json!({}), 80), "");
        render(&json!({"applications": {"a": 3, "b": {"units": []}}, "builds": {}, "machines": []}), 80);
    }
}
