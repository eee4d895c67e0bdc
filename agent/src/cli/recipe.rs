//! `stoker recipe`.

use super::client::Client;
use super::table::{Table, terminal_width};
use super::{Context, End};
use crate::api::types::RecipeDoc;

/// Show what charms' recipes can make, and in which versions
#[derive(Debug, clap::Args)]
#[command(after_help = "A SOURCE of a recipe, for attach-resource, deploy --resource and builds add:
  recipe:VERSION            the charm's recipe
  recipe:./FILE             likewise, with a file in place of a version (a list of requirements)
  recipe:./FOLDER[@VERSION] the executable stoker-recipe in that folder, run as `stoker-recipe make VERSION OUT`:
                            it fills OUT, tells progress as JSON lines on descriptor 3, and ends at SIGTERM

Examples:
  stoker recipe list
  stoker recipe versions web --resource server --format json")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// What can be made
    List,
    /// The versions that can be made, newest first
    Versions {
        /// The charm, by name
        charm: String,
        /// Which of its resources; the charm's own product without it
        #[arg(long, value_name = "NAME")]
        resource: Option<String>,
    },
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    match arguments.verb {
        None | Some(Verb::List) => {
            let all: Vec<RecipeDoc> = client.get(Client::root(&["recipes"])).await?;
            context.out.show(&all, |all| table(all))
        }
        Some(Verb::Versions { charm, resource }) => {
            let mut url = Client::root(&["recipes", &charm, "versions"]);
            if let Some(resource) = &resource {
                url.query_pairs_mut().append_pair("resource", resource);
            }
            let all: Vec<String> = client.get(url).await?;
            context.out.show(&all, |all| all.iter().flat_map(|version| [version.as_str(), "\n"]).collect())
        }
    }
}

fn table(recipes: &[RecipeDoc]) -> String {
    let mut table = Table::new(&["Charm", "Resource", "Product", "recipe:", "Default"]);
    for each in recipes {
        let default = if each.default.is_empty() { "-" } else { &each.default };
        table.row([
            each.charm.clone(),
            each.resource.clone(),
            each.product.clone(),
            if each.takes.is_empty() { "VERSION".to_owned() } else { each.takes.clone() },
            default.to_owned(),
        ]);
    }
    if table.is_empty() { "no charm here has a recipe\n".to_owned() } else { table.render(terminal_width()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_resource() {
        let recipe = RecipeDoc {
            charm: "web".into(),
            resource: "server".into(),
            product: "server".into(),
            takes: "a version of it".into(),
            ..RecipeDoc::default()
        };
        let text = table(&[recipe]);
        assert!(text.contains("web") && text.contains("a version of it") && text.ends_with("-\n"), "{text}");
        assert!(table(&[]).contains("no charm"));
    }
}
