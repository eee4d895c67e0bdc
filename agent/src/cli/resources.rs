//! `stoker resources`.

use super::out::bytes;
use super::table::{Table, terminal_width};
use super::{Context, End};
use crate::api::types::ResourceDoc;

/// Show an application's resources, their versions and who uses which
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker resources web
  stoker resources web --details --format json")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// All revisions, and what each unit uses
    #[arg(long)]
    details: bool,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let resources: Vec<ResourceDoc> =
        client.get(client.at(&["applications", &arguments.app, "resources"])).await?;
    context.out.show(&resources, |resources| render(resources, arguments.details))
}

fn render(resources: &[ResourceDoc], details: bool) -> String {
    let revision = |n: u64| if n == 0 { "-".to_owned() } else { n.to_string() };
    let mut table =
        Table::new(&["Resource", "Revision", "Version", "2Product", "3Build", "4Source", "1Summary"]);
    for each in resources {
        let current = each.revisions.iter().find(|revision| revision.revision == each.revision);
        table.row([
            each.name.clone(),
            revision(each.revision) + if each.pinned { " (pinned)" } else { "" },
            if each.version.is_empty() { "-".to_owned() } else { each.version.clone() },
            each.product.clone(),
            current.map_or_else(|| "-".to_owned(), |current| short(&current.build)),
            current.map_or_else(String::new, |current| current.source.clone()),
            if each.required && each.revision == 0 {
                "required: attach it".into()
            } else {
                each.summary.clone()
            },
        ]);
    }
    let mut text =
        if table.is_empty() { "it has no resources\n".to_owned() } else { table.render(terminal_width()) };
    if !details {
        return text;
    }
    let mut units = Table::new(&["Unit", "Resource", "Revision", "Expected"]);
    let mut revisions =
        Table::new(&["Resource", "Revision", "Version", "Build", "1Files", "2Size", "3Attached", "4Source"]);
    for each in resources {
        for (unit, used) in &each.units {
            units.row([unit.clone(), each.name.clone(), revision(*used), revision(each.revision)]);
        }
        for old in &each.revisions {
            let version = old.facts["version"].as_str().unwrap_or("-").to_owned();
            revisions.row([
                each.name.clone(),
                old.revision.to_string(),
                version,
                short(&old.build),
                old.files.to_string(),
                bytes(old.bytes),
                old.time.clone(),
                old.source.clone(),
            ]);
        }
    }
    for more in [units, revisions] {
        if !more.is_empty() {
            text.push('\n');
            text.push_str(&more.render(terminal_width()));
        }
    }
    text
}

/// A digest, long enough to be told from others.
pub(super) fn short(digest: &str) -> String {
    digest.strip_prefix("b3:").map_or_else(|| digest.to_owned(), |hex| hex.chars().take(12).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::types::RevisionDoc;

    #[test]
    fn expected_and_used_revisions_are_side_by_side() {
        let resource = ResourceDoc {
            name: "server".into(),
            product: "server".into(),
            revision: 2,
            version: "1.2".into(),
            revisions: vec![
                RevisionDoc {
                    revision: 3,
                    build: format!("b3:{}", "cd".repeat(32)),
                    ..RevisionDoc::default()
                },
                RevisionDoc {
                    revision: 2,
                    build: format!("b3:{}", "ab".repeat(32)),
                    facts: serde_json::json!({"version": "1.2"}),
                    ..RevisionDoc::default()
                },
            ],
            units: BTreeMap::from([("web/0".to_owned(), 1)]),
            ..ResourceDoc::default()
        };
        let text = render(&[resource], true);
        assert!(text.contains("abababababab") && !text.contains("ababababababab"), "{text}");
        assert!(
            !text.split("\n\n").next().unwrap().contains("cdcd"),
            "a newer revision is not what is used: {text}"
        );
        assert!(
            text.contains("Unit   Resource  Revision  Expected\nweb/0  server    1         2\n"),
            "{text}"
        );
        let missing = ResourceDoc { name: "x".into(), required: true, ..ResourceDoc::default() };
        assert!(render(&[missing], false).contains("required: attach it"));
    }
}
