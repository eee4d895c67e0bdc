//! The report as one page: no script, nothing from elsewhere. Owns what it looks like; it is handed what is redacted
//! already, and escapes all of it.

use std::fmt::Write as _;

use serde_json::Value;

use super::gather::{Body, Part};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8885;--soft:#8881;--bad:#c0392b;--warn:#b9770e;--good:#1e8449}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.5rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
nav{margin:.6rem 0 1rem}nav a{margin-right:.9rem;white-space:nowrap;display:inline-block}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.25rem .7rem .25rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
td:first-child{white-space:nowrap}
th{font-weight:600;white-space:nowrap}
pre{background:var(--soft);padding:.7rem;overflow:auto;max-height:34rem;font:12.5px/1.4 ui-monospace,monospace;margin:.4rem 0}
details{border-bottom:1px solid var(--line)}summary{cursor:pointer;padding:.25rem 0}summary small{opacity:.65}
.bad{color:var(--bad);font-weight:600}.warn{color:var(--warn);font-weight:600}.good{color:var(--good)}
.note{opacity:.75;margin:.2rem 0}
";

/// The page.
pub(super) fn page(title: &str, parts: &[Part], omitted: &[Value]) -> String {
    let mut body = String::new();
    let mut nav = String::new();
    let mut section = |id: &str, title: &str, html: String| {
        if !html.is_empty() {
            let _ = write!(nav, "<a href=\"#{id}\">{title}</a>");
            let _ = write!(body, "<section><h2 id=\"{id}\">{title}</h2>\n{html}</section>\n");
        }
    };
    let status = document(parts, "status.json");
    section("unwell", "What is not well", unwell(parts));
    section("apps", "Applications", status.map(applications).unwrap_or_default());
    section("units", "Units", status.map(units).unwrap_or_default());
    section("builds", "Builds", status.map(builds).unwrap_or_default());
    section("relations", "Relations", status.map(relations).unwrap_or_default());
    section("doctor", "Doctor", document(parts, "doctor.json").map(doctor).unwrap_or_default());
    section(
        "events",
        "Timeline, newest first",
        document(parts, "events.json").map(events).unwrap_or_default(),
    );
    section(
        "host",
        "Host, versions, settings",
        folded(parts, true, |name| {
            ["host.json", "version.json", "agent.json", "settings.toml", "usage.json"].contains(&name)
        }),
    );
    section("align", "Alignment", folded(parts, true, |name| name.starts_with("alignment/")));
    section("why", "Why it is so", folded(parts, false, |name| name.starts_with("why/")));
    section("logs", "Logs", folded(parts, false, |name| name.starts_with("logs/")));
    section(
        "plans",
        "Units in full",
        folded(parts, false, |name| {
            ["units/", "plans/", "journal/"].iter().any(|folder| name.starts_with(folder))
        }),
    );
    section(
        "rest",
        "Releases, resources, options, builds",
        folded(parts, false, |name| {
            let folders = ["releases/", "resources/", "config/"];
            folders.iter().any(|folder| name.starts_with(folder))
                || ["builds.json", "kept.json", "settled.json", "model.json", "fsck.json"].contains(&name)
        }),
    );
    let rows = omitted.iter().map(|each| vec![plain(&each["what"]), plain(&each["why"])]);
    section("omitted", "What is missing", table(&["What", "Why"], rows));
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n\
         <p class=\"note\">Secrets were taken out: <code>[removed]</code> stands for them.</p>\n<nav>{nav}</nav>\n{body}</body></html>\n"
    )
}

/// Text as HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn document<'a>(parts: &'a [Part], name: &str) -> Option<&'a Value> {
    let part = parts.iter().find(|part| part.name == name)?;
    match &part.body {
        Body::Document(document) => Some(document),
        Body::Text(_) => None,
    }
}

/// A value as a cell's text.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A table; nothing where it has no rows. A state's word gets its colour.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut html = String::new();
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            let class = match cell.split([':', ' ']).next().unwrap_or_default() {
                "error" | "blocked" | "problem" | "failed" | "refused" | "lost" => " class=\"bad\"",
                "waiting" | "warning" | "maintenance" | "unknown" => " class=\"warn\"",
                "active" | "ok" => " class=\"good\"",
                _ => "",
            };
            let _ = write!(html, "<td{class}>{}</td>", escape(&cell));
        }
        html.push_str("</tr>\n");
    }
    if html.is_empty() {
        return html;
    }
    let heads = heads.join("</th><th>");
    format!("<table><tr><th>{heads}</th></tr>\n{html}</table>\n")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn pairs(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// What a reader looks for first.
fn unwell(parts: &[Part]) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (_, app) in
        document(parts, "status.json").into_iter().flat_map(|status| pairs(&status["applications"]))
    {
        for (unit, told) in pairs(&app["units"]) {
            let shown = &told["workload-status"];
            if !matches!(shown["current"].as_str(), Some("active")) {
                rows.push(vec![
                    plain(&shown["current"]),
                    unit.clone(),
                    plain(&shown["message"]),
                    plain(&shown["fix"]),
                ]);
            }
        }
    }
    for rollout in document(parts, "status.json").into_iter().flat_map(|status| list(&status["rollouts"])) {
        if rollout["message"] != "" {
            let app = plain(&rollout["application"]);
            let row = ["warning".into(), format!("rollout of {app}"), plain(&rollout["message"])];
            rows.push(row.into_iter().chain([format!("stoker releases {app}")]).collect());
        }
    }
    for finding in document(parts, "doctor.json").into_iter().flat_map(list).filter(|f| f["state"] != "ok") {
        rows.push(["state", "check", "found", "fix"].iter().map(|key| plain(&finding[*key])).collect());
    }
    for finding in document(parts, "fsck.json").into_iter().flat_map(list) {
        rows.push(vec![
            "problem".into(),
            plain(&finding["of"]),
            plain(&finding["found"]),
            plain(&finding["fix"]),
        ]);
    }
    let failed =
        document(parts, "events.json").into_iter().flat_map(list).filter(|event| event["result"] != "done");
    let mut failed: Vec<_> = failed.collect();
    failed.reverse();
    for event in failed.into_iter().take(10) {
        let what = format!("{} at {}", plain(&event["command"]), plain(&event["time"]));
        let code = plain(&event["result"]).split(' ').nth(1).map(|code| format!("stoker explain {code}"));
        rows.push(vec![plain(&event["result"]), "asked".into(), what, code.unwrap_or_default()]);
    }
    if rows.is_empty() {
        return "<p class=\"good\">Nothing was found.</p>".to_owned();
    }
    table(&["How", "What", "Found", "Fix"], rows.into_iter())
}

fn stands(status: &Value) -> String {
    match status["message"].as_str() {
        Some(message) if !message.is_empty() => format!("{}: {message}", plain(&status["current"])),
        _ => plain(&status["current"]),
    }
}

fn applications(status: &Value) -> String {
    let rows = pairs(&status["applications"]).map(|(name, app)| {
        let units = app["units"].as_object().map_or(0, serde_json::Map::len);
        vec![
            name.clone(),
            plain(&app["charm-name"]),
            plain(&app["version"]),
            units.to_string(),
            plain(&app["release"]),
            exposed(app),
            stands(&app["application-status"]),
        ]
    });
    table(&["Application", "Charm", "Version", "Units", "Release", "Exposed", "Status"], rows)
}

fn exposed(app: &Value) -> String {
    match (app["exposed"] == true, plain(&app["exposed-to"])) {
        (false, _) => "no".into(),
        (true, networks) if networks.is_empty() => "yes".into(),
        (true, networks) => networks,
    }
}

fn units(status: &Value) -> String {
    let rows =
        pairs(&status["applications"]).flat_map(|(_, app)| pairs(&app["units"])).map(|(name, unit)| {
            vec![
                name.clone(),
                stands(&unit["workload-status"]),
                plain(&unit["juju-status"]["current"]),
                plain(&unit["release"]),
                plain(&unit["public-address"]),
                plain(&unit["open-ports"]),
            ]
        });
    table(&["Unit", "Status", "Agent", "Release", "Address", "Ports"], rows)
}

fn builds(status: &Value) -> String {
    let rows = list(&status["builds"]).map(|build| {
        let verdict = match build["says"].as_str() {
            Some(says) => format!("{}: {says}", plain(&build["verdict"])),
            None => String::new(),
        };
        vec![
            plain(&build["application"]),
            format!("{} {}", plain(&build["resource"]), plain(&build["revision"])),
            format!("{} {}", plain(&build["product"]), plain(&build["version"])),
            plain(&build["digest"]).chars().take(15).collect(),
            plain(&build["source"]),
            verdict,
        ]
    });
    table(&["Application", "Resource", "Build", "Digest", "From", "Alignment"], rows)
}

fn relations(status: &Value) -> String {
    let rows = list(&status["integrations"]).map(|each| {
        ["provider", "requirer", "interface", "type"].iter().map(|key| plain(&each[*key])).collect()
    });
    table(&["Provider", "Requirer", "Interface", "Type"], rows)
}

fn doctor(findings: &Value) -> String {
    let rows = list(findings)
        .map(|finding| ["state", "check", "found", "fix"].iter().map(|key| plain(&finding[*key])).collect());
    table(&["State", "Check", "Found", "Fix"], rows)
}

fn events(events: &Value) -> String {
    let mut all: Vec<&Value> = list(events).collect();
    all.reverse();
    let rows = all.into_iter().map(|event| {
        let from = match event["pid"].as_u64() {
            Some(pid) => format!("{}[{pid}]", plain(&event["program"])),
            None => plain(&event["program"]),
        };
        vec![
            plain(&event["time"]).split('.').next().unwrap_or_default().replace('T', " "),
            plain(&event["by"]),
            from,
            plain(&event["change"]),
            plain(&event["result"]),
            plain(&event["command"]),
        ]
    });
    table(&["Time", "By", "From", "Change", "Result", "Command"], rows)
}

/// Parts as text, each to be opened.
fn folded(parts: &[Part], open: bool, wanted: impl Fn(&str) -> bool) -> String {
    let mut html = String::new();
    for part in parts.iter().filter(|part| wanted(&part.name)) {
        let text = match &part.body {
            Body::Document(document) => serde_json::to_string_pretty(document).unwrap_or_default(),
            Body::Text(text) => text.clone(),
        };
        let lines = text.lines().count();
        let open = if open && lines <= 40 { " open" } else { "" };
        let _ = writeln!(
            html,
            "<details{open}><summary>{} <small>{}, {lines} lines</small></summary><pre>{}</pre></details>",
            escape(&part.title),
            escape(&part.name),
            escape(&text),
        );
    }
    html
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_it_is_more_than_text() {
        let evil = "<script>alert(1)</script>\"'&";
        let status = json!({"applications": {evil: {"units": {evil: {"workload-status":
            {"current": "blocked", "message": evil, "fix": evil}}}}}});
        let part = |name: &str, body| Part { name: name.into(), title: evil.into(), body };
        let parts =
            [part("status.json", Body::Document(status)), part("logs/x.log", Body::Text(evil.into()))];
        let page = page(evil, &parts, &[json!({"what": evil, "why": evil})]);
        assert!(!page.contains("<script") && page.matches("&lt;script&gt;").count() >= 8, "{page}");
        assert!(!page.contains("http://") && !page.contains("src="), "nothing is fetched");
        assert!(page.contains("class=\"bad\">blocked"));
    }
}
