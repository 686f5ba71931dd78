//! Every JSON body of the interface, as its document describes them.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::suite::Suite;

/// Where agents send: an older suite has to serve a newer agent.
const DOORS_OF_AGENTS: [&str; 1] = ["POST /enrolments"];

/// No operation asks for a field of this name.
const UNKNOWN: &str = "lables";

/// An operation with a JSON body.
struct Asked {
    name: String,
    method: Method,
    path: String,
    schema: Value,
}

fn asked(document: &Value) -> Vec<Asked> {
    let mut asked = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !schema.is_null() && operation["servers"].is_null() {
                let method: Method = method.to_uppercase().parse().unwrap();
                asked.push(Asked {
                    name: format!("{method} {path}"),
                    method,
                    path: path.replace("{id}", "0190a5c2-7b5e-7c3d-8e4f-0123456789ab"),
                    schema: schema.clone(),
                });
            }
        }
    }
    assert!(asked.len() >= 15, "{}", asked.len());
    asked
}

/// A value that the schema allows, and the pointers to the objects in it that have fields.
pub fn valid(document: &Value, schema: &Value, here: &str, objects: &mut Vec<String>) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return valid(document, document.pointer(&reference[1..]).unwrap(), here, objects);
    }
    if let Some(several) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let one = several.iter().find(|schema| schema["type"] != "null").unwrap();
        return valid(document, one, here, objects);
    }
    if let Some(properties) = schema["properties"].as_object() {
        objects.push(here.to_owned());
        let value = |(name, schema): (&String, &Value)| {
            (name.clone(), valid(document, schema, &format!("{here}/{name}"), objects))
        };
        return Value::Object(properties.iter().map(value).collect::<Map<_, _>>());
    }
    if !schema["example"].is_null() {
        return schema["example"].clone();
    }
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    match kinds[0].as_str().unwrap_or_default() {
        "integer" => schema["minimum"].as_i64().map_or(json!(1), Value::from),
        "boolean" => json!(false),
        "number" => schema["minimum"].as_f64().map_or(json!(1.5), Value::from),
        "array" => json!([valid(document, &schema["items"], &format!("{here}/0"), objects)]),
        "object" => json!({}),
        "string" => json!(schema["enum"][0].as_str().unwrap_or("a text of some length")),
        other => panic!("{here}: {other} {schema}"),
    }
}

fn pointed(pointer: &str) -> String {
    format!("{pointer}/{UNKNOWN}")[1..].replace('/', ".")
}

#[actix_web::test]
async fn a_field_that_no_body_has_is_refused_by_its_name() {
    let suite = Suite::embedded().await;
    suite.elevate().await;
    let document = suite.read("/openapi.json").await;
    let mut nested = 0;
    for Asked { name, method, path, schema } in asked(&document) {
        let mut objects = Vec::new();
        let body = valid(&document, &schema, "", &mut objects);
        nested += objects.len() - 1;
        for object in objects {
            let mut body = body.clone();
            body.pointer_mut(&object).unwrap()[UNKNOWN] = json!({"site": "eu"});
            let request = suite.call(method.clone(), &path).header("if-match", "*");
            let answer = suite.send(request.bearer_auth(&suite.token).json(&body)).await;
            let refused = (answer.status, answer.body["field"].as_str()) == (422, Some(&pointed(&object)));
            assert_eq!(refused, !DOORS_OF_AGENTS.contains(&name.as_str()), "{name} with {body}: {answer:?}");
        }
        // Otherwise the body was refused for something else.
        let request = suite.call(method, &path).header("if-match", "*");
        let answer = suite.send(request.bearer_auth(&suite.token).json(&body)).await;
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(!detail.starts_with("there is no field"), "{name} with {body}: {answer:?}");
    }
    assert!(nested >= 2, "the filters of reports and of schedules are objects in a body: {nested}");
}

#[actix_web::test]
async fn the_document_tells_which_bodies_take_no_other_fields() {
    let suite = Suite::embedded().await;
    let document = suite.read("/openapi.json").await;
    for Asked { name, schema, .. } in asked(&document) {
        let mut schema = &schema;
        while let Some(reference) = schema["$ref"].as_str() {
            schema = document.pointer(&reference[1..]).unwrap();
        }
        let exact = schema["additionalProperties"] == json!(false);
        assert_eq!(exact, !DOORS_OF_AGENTS.contains(&name.as_str()), "{name}");
    }
}
