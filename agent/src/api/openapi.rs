//! The API's OpenAPI document, made from the route table and the documents' schemas, and checked in as
//! `agent/openapi.json`.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::routes::{Answer, BYTES, Route, table};
use super::{align, audit, stock, types};

#[derive(OpenApi)]
#[openapi(components(schemas(
    types::WriteRequest,
    types::Write,
    types::WriteReply,
    types::Preview,
    types::UnitPreview,
    types::Difference,
    types::Problem,
    types::ChangeStatus,
    types::Build,
    types::Progress,
    types::AddBuild,
    audit::Event,
    align::AlignCheck,
    align::Alignment,
    align::Works,
    align::Gap,
    align::Explained,
    align::Swapped,
    stock::BuildsUsage,
    stock::CollectBuilds,
    stock::CollectedBuilds,
    stock::GoneBuild,
    stock::KeptBuild,
    stock::VerifyBuilds,
    stock::VerifiedBuilds,
    stock::BuildDamage,
    types::RecipeDoc,
    types::ReleaseDoc,
    types::ResourceDoc,
    types::RevisionDoc,
    types::OptionDoc,
    types::ActionDoc,
    types::UnitDoc,
    types::Why,
    types::Cause,
    types::Kept,
    types::Version,
)))]
struct Schemas;

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for route in table() {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method] = operation(&route);
    }
    let components = serde_json::to_value(Schemas::openapi()).unwrap_or_default()["components"].take();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "stoker",
            "version": "1",
            "description": "The API of a stoker agent, on its unix socket. Refusals and failures are \
                            `application/problem+json`. `x-right` is what the caller needs: read, write or admin.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": components,
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn operation(route: &Route) -> Value {
    let content = match route.answer {
        Answer::One(schema) => json!({ "application/json": { "schema": reference(schema) } }),
        Answer::Many(schema) => {
            json!({ "application/json": { "schema": { "type": "array", "items": reference(schema) } } })
        }
        Answer::Json => json!({ "application/json": { "schema": {} } }),
        Answer::Progress(schema) => json!({
            "application/json": { "schema": reference(schema) },
            "application/jsonl": { "schema": reference("Progress") },
        }),
        Answer::Lines => json!({ "application/jsonl": { "schema": {
            "type": "object",
            "properties": { "source": { "type": "string" }, "line": { "type": "string" } },
            "required": ["source", "line"],
        } } }),
        Answer::Bytes => {
            json!({ "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } })
        }
        Answer::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Answer::Events => json!({ "text/event-stream": { "schema": { "type": "string" } } }),
    };
    let in_path =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(
            |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        );
    let in_query = route.query.iter().map(
        |(name, kind)| json!({ "name": name, "in": "query", "required": false, "schema": { "type": kind } }),
    );
    let mut operation = json!({
        "summary": route.says,
        "operationId": operation_id(route),
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "Done", "content": content },
            "default": {
                "description": "Refused or failed",
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            },
        },
        "x-right": route.right.word(),
    });
    if route.body == BYTES {
        let bytes = json!({ "schema": { "type": "string", "format": "binary" } });
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/octet-stream": bytes } });
    } else if !route.body.is_empty() {
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": reference(route.body) } } });
    }
    operation
}

/// `get-models-changes`: the method and the words of the path; what is between braces is named where it ends it.
fn operation_id(route: &Route) -> String {
    let words = route.path.trim_start_matches("/v1").trim_start_matches('/').split('/');
    let mut id = route.method.to_owned();
    for word in words.clone().filter(|word| !word.starts_with('{')) {
        id.push('-');
        id.push_str(word.trim_end_matches(".json"));
    }
    if let Some(last) = words.clone().next_back().and_then(|word| word.strip_prefix('{')) {
        id.push_str("-by-");
        id.push_str(last.trim_end_matches('}'));
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_checked_in_document_is_the_codes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        let made = format!("{:#}\n", document());
        if std::env::var_os("STOKER_WRITE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let checked_in = std::fs::read_to_string(&path).unwrap();
        assert!(
            checked_in == made,
            "agent/openapi.json is not what the code says: run this test with STOKER_WRITE=1"
        );
    }

    #[test]
    fn references_lead_somewhere_and_ids_are_single() {
        let document = document();
        let schemas: BTreeSet<&String> =
            document["components"]["schemas"].as_object().unwrap().keys().collect();
        let text = document.to_string();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap().to_owned();
            assert!(schemas.contains(&name), "{name}");
        }
        let ids: Vec<String> = table().iter().map(operation_id).collect();
        let single: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(single.len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn what_only_looks_needs_no_right_to_write() {
        for route in table() {
            assert_eq!(
                route.method == "get",
                route.right <= super::super::caller::Right::Read,
                "{}",
                route.path
            );
        }
    }
}
