//! The OpenAPI document, the manual, and what is no request.

use super::*;
use crate::web::problem::TABLE;

/// Holds an answer against the document: path, method, status and content type must stand there.
pub(super) fn hold(document: &Value, method: &Method, path: &str, answer: &Answered) {
    let path = path.split('?').next().unwrap();
    let paths = document["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (a, b): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a == b || a.starts_with('{'))
    };
    if path.starts_with("/dav/") || path == "/.well-known/carddav" {
        // CardDAV is a protocol of its own.
        return;
    }
    let Some((template, item)) = paths.iter().find(|(template, _)| fits(template)) else {
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (404, "not-found"),
            "{path} is not in the document"
        );
        return;
    };
    let Some(operation) = item.get(method.as_str().to_lowercase()) else {
        assert!(
            answer.status == 405 || *method == Method::HEAD,
            "{method} {template} is not in the document"
        );
        return;
    };
    let documented = &operation["responses"][answer.status.to_string()];
    assert!(documented.is_object(), "{method} {template} answers {}: {}", answer.status, answer.text());
    let kind = answer.field("content-type").split(';').next().unwrap();
    if kind.is_empty() {
        assert!(documented.get("content").is_none() && answer.body.is_empty(), "{method} {template}");
        return;
    }
    assert!(documented["content"][kind].is_object(), "{method} {template} {} with {kind}", answer.status);
    if kind == "application/problem+json" {
        let description = documented["description"].as_str().unwrap();
        let problem = answer.problem();
        assert!(description.contains(&format!("`{problem}`")), "{method} {template} answers {problem}");
    } else if kind == "application/json" {
        hold_schema(document, &documented["content"][kind]["schema"], &answer.json(), template);
    }
}

/// As much of JSON Schema as the document uses: references, types, required members, and no member that is not told.
fn hold_schema(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        return hold_schema(document, target.unwrap_or_else(|| panic!("{reference}")), value, reference);
    }
    let is_of = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        _ => true,
    };
    assert!(is_of, "{at}: {value} is no {}", schema["type"]);
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{at}: {required} is missing in {value}");
    }
    if let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, member) in members {
            let known = properties.get(name).unwrap_or_else(|| panic!("{at}: nothing is told of {name}"));
            hold_schema(document, known, member, name);
        }
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        items.iter().for_each(|item| hold_schema(document, schema, item, at));
    }
    if let Some(names) = schema["enum"].as_array() {
        assert!(names.contains(value), "{at}: {value}");
    }
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_document_is_served_and_whole() {
    let site = Site::new();
    let answer = site.ask(HOME, "GET", "/v1/openapi.json", &[], Vec::new()).await;
    let served = answer.json();
    assert_eq!(served, site.document);
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(served["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut found = Vec::new();
    references(&served, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(served.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference} leads nowhere");
    }
    let schemes = served["components"]["securitySchemes"].as_object().unwrap();
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in served["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is twice");
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{method} {path}");
            for scheme in operation["security"].as_array().into_iter().flatten() {
                assert!(scheme.as_object().unwrap().keys().all(|name| schemes.contains_key(name)), "{path}");
            }
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.filter(|parameter| parameter["in"] == "path").count();
            assert_eq!(parameters, path.matches('{').count(), "{method} {path}");
        }
    }
    assert!(names.len() >= 13, "{names:?}");
}

/// What the document tells of is there: nothing answers that there is no such path or method.
#[tokio::test(start_paused = true)]
async fn every_path_of_the_document_answers() {
    let site = Site::new();
    for (path, item) in site.document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = path
                .replace("{name}", "busy")
                .replace("{username}", "x")
                .replace("{sha256}", "x")
                .replace("{id}", "x")
                .replace("{what}", "x")
                .replace("{digest}", "x")
                .replace("{size}", "x");
            let answer = site.ask(HOME, &method.to_uppercase(), &path, &[], Vec::new()).await;
            assert!(![404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_problem_is_explained_at_its_type_and_in_the_manual() {
    let site = Site::new();
    let manual =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sign-in.md")).unwrap();
    for entry in &TABLE {
        let path = format!("/v1/problems/{}", entry.name);
        let answer = site.ask(HOME, "GET", &path, &[], Vec::new()).await;
        assert!(answer.text().starts_with(entry.title), "{path}");
        let row =
            format!("| `{}` | {} | {} | {} |", entry.name, entry.status.as_u16(), entry.title, entry.meaning);
        assert!(manual.contains(&row), "docs/sign-in.md lacks\n{row}");
    }
    let rows = manual.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 3);
    let told: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    let known: Vec<&str> = TABLE.iter().map(|entry| entry.name).collect();
    assert_eq!(told, known, "rows of problems in docs/sign-in.md");
    assert_eq!(site.ask(HOME, "GET", "/v1/problems/none", &[], Vec::new()).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_refused_with_a_problem() {
    let site = Site::new();
    let json = [("content-type", "application/json")];
    /// Path, fields, content; status and problem.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);
    let cases: [Case<'_>; 11] = [
        ("/v1/sign-in", &json, b"", 400, "malformed"),
        ("/v1/sign-in", &json, b"{", 400, "malformed"),
        ("/v1/sign-in", &json, b"[]", 400, "malformed"),
        ("/v1/sign-in", &json, b"{\"name\":\"alice\"}", 400, "malformed"),
        ("/v1/sign-in", &json, b"{\"name\":\"alice\",\"password\":null}", 400, "malformed"),
        ("/v1/sign-in", &json, b"{\"name\":\"a\\u0000b\",\"password\":\"x\"}", 400, "malformed"),
        ("/v1/sign-in", &json, b"{\"name\":\"alice\",\"password\":\"a\\u0000\"}", 400, "malformed"),
        ("/v1/sign-in", &json, b"\xff\xfe{\"name\":\"alice\",\"password\":\"x\"}", 400, "malformed"),
        ("/v1/sign-in", &[], b"{\"name\":\"alice\",\"password\":\"x\"}", 415, "wrong-content-type"),
        ("/v1/sign-in", &[("content-type", "text/plain")], b"{}", 415, "wrong-content-type"),
        ("/v1/../v1/sign-in", &json, b"{}", 404, "not-found"),
    ];
    for (path, fields, content, status, problem) in cases {
        let answer = site.ask(STRANGER, "POST", path, fields, content.to_vec()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (status, problem),
            "{}",
            String::from_utf8_lossy(content)
        );
    }
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert_eq!(site.ask(STRANGER, "POST", "/v1/sign-in", &json, deep).await.problem(), "malformed");
    let answer = site.ask(STRANGER, "GET", "/v1/sign-in", &[], Vec::new()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (405, "wrong-method"));
    assert_eq!(answer.field("allow"), "POST,DELETE");
    assert_eq!(site.asked(), 0);
}
