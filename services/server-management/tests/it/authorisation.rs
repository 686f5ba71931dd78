use fleet::Scope;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::suite::{MINUTE, NOW, Suite};

/// A route as documented: `None` is public, an empty list any session.
struct Documented {
    method: Method,
    path: String,
    needs: Option<Vec<String>>,
    /// Other scopes, of which each is as good.
    or: Vec<String>,
}

async fn documented(suite: &Suite) -> Vec<Documented> {
    let document = suite.send(suite.call(Method::GET, "/openapi.json")).await.body;
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["servers"].is_array() {
                continue; // the gate's
            }
            let scopes = operation["security"][0]["token"].as_array();
            let text = |scope: &Value| scope.as_str().unwrap().to_owned();
            let or = operation["security"].as_array().into_iter().flatten().skip(1);
            let or = or.flat_map(|other| other["token"].as_array().unwrap()).map(text).collect();
            routes.push(Documented {
                method: method.to_uppercase().parse().unwrap(),
                path: path.replace("{id}", "0190a5c2-7b5e-7c3d-8e4f-0123456789ab"),
                needs: scopes.map(|scopes| scopes.iter().map(text).collect()),
                or,
            });
        }
    }
    assert!(routes.len() >= 40, "{}", routes.len());
    routes
}

async fn status(suite: &Suite, route: &Documented, token: Option<&str>) -> u16 {
    let mut request = suite.call(route.method.clone(), &route.path);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    suite.send(request).await.status
}

#[actix_web::test]
async fn without_a_valid_token_every_route_but_the_public_ones_is_closed() {
    let suite = Suite::embedded().await;
    let stranger = Suite::embedded().await;
    let (expired, deleted) = (api_token(&suite, &harmless()).await, api_token(&suite, &harmless()).await);
    suite.sql(&format!("UPDATE api_tokens SET expires_at = {NOW} WHERE id = '{}'", expired.id)).await;
    assert_eq!(suite.delete(&format!("/tokens/{}", deleted.id)).await.status, 204);
    let strangers = api_token(&stranger, &harmless()).await;
    let sessions = [None, Some("garbage"), Some("a.b.c"), Some(""), Some(stranger.token.as_str())];
    let tokens = [&expired.text, &deleted.text, &strangers.text].map(|text| Some(text.as_str()));
    let bad = [sessions.as_slice(), &tokens, &[Some("rct_"), Some("rct_garbage")]].concat();
    for route in documented(&suite).await {
        let name = format!("{} {}", route.method, route.path);
        for &token in &bad {
            let status = status(&suite, &route, token).await;
            assert_eq!(status == 401, route.needs.is_some(), "{name} with {token:?}: {status}");
        }
        suite.clock.set(NOW + 16 * MINUTE);
        assert_eq!(status(&suite, &route, Some(&suite.token)).await == 401, route.needs.is_some(), "{name}");
        suite.clock.set(NOW);
    }
}

#[actix_web::test]
async fn a_route_opens_to_its_scope_and_to_no_other() {
    let mut suite = Suite::embedded().await;
    for route in documented(&suite).await {
        let name = format!("{} {}", route.method, route.path);
        let Some(needs) = &route.needs else { continue };
        for scope in needs {
            let serves = |other: &str| other == scope || route.or.iter().any(|or| or == other);
            let others = Scope::ALL.into_iter().map(Scope::as_str).filter(|other| !serves(other));
            suite.give(&others.collect::<Vec<_>>()).await;
            assert_eq!(status(&suite, &route, Some(&suite.token)).await, 403, "{name} without {scope}");
            suite.give(&[scope]).await;
        }
        if needs.is_empty() {
            suite.give(&[]).await;
        }
        // What this does beyond a log-in is in `people` and `orders`.
        suite.sql(&format!("UPDATE sessions SET elevated_until = {}", NOW + MINUTE)).await;
        let status = status(&suite, &route, Some(&suite.token)).await;
        assert!(status != 401 && status != 403 && status < 500, "{name} with {needs:?}: {status}");
        suite.log_in().await;
    }
}

/// What an API token may have.
fn harmless() -> Vec<Scope> {
    Scope::ALL.into_iter().filter(|scope| !scope.acts()).collect()
}

struct ApiToken {
    id: String,
    text: String,
}

async fn api_token(suite: &Suite, scopes: &[Scope]) -> ApiToken {
    let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    let made = suite.api_token(&scopes).await;
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    ApiToken { id: text("id"), text: text("token") }
}

#[actix_web::test]
async fn a_route_opens_to_an_api_token_of_its_scope_while_its_maker_has_it() {
    let suite = Suite::embedded().await;
    let all = Scope::ALL.map(Scope::as_str);
    let mut tokens = Vec::new();
    for scope in harmless() {
        let others: Vec<_> = harmless().into_iter().filter(|other| *other != scope).collect();
        tokens.push((scope.as_str(), api_token(&suite, &[scope]).await, api_token(&suite, &others).await));
    }
    let whole = api_token(&suite, &harmless()).await;
    for route in documented(&suite).await {
        let name = format!("{} {}", route.method, route.path);
        let Some(needs) = &route.needs else { continue };
        let acts = |scope: &String| scope.parse::<Scope>().unwrap().acts();
        if needs.is_empty() || needs.iter().any(acts) {
            assert_eq!(status(&suite, &route, Some(&whole.text)).await, 403, "{name} by an API token");
            continue;
        }
        for scope in needs {
            let (_, right, wrong) = tokens.iter().find(|(own, ..)| own == scope).unwrap();
            let opened = status(&suite, &route, Some(&right.text)).await;
            assert!(opened != 401 && opened != 403 && opened < 500, "{name} with {scope}: {opened}");
            assert_eq!(status(&suite, &route, Some(&wrong.text)).await, 403, "{name} without {scope}");
            let others: Vec<_> = all.into_iter().filter(|other| other != scope).collect();
            suite.give(&others).await;
            assert_eq!(
                status(&suite, &route, Some(&right.text)).await,
                403,
                "{name}: its maker lost {scope}"
            );
            suite.give(&all).await;
        }
    }
    suite.sql("UPDATE users SET disabled_at = 1").await;
    for route in documented(&suite).await {
        let closed = status(&suite, &route, Some(&whole.text)).await == 401;
        assert_eq!(closed, route.needs.is_some(), "{} {} of a disabled user", route.method, route.path);
    }
}

#[actix_web::test]
async fn the_lacking_scope_is_named_before_anything_else_is_looked_at() {
    let suite = Suite::embedded().await;
    suite.give(&["agent:enroll"]).await;
    for path in ["/servers?nonsense=1", "/servers/nonsense", "/uptime?from=x"] {
        let answer = suite.get(path).await;
        assert_eq!((answer.status, answer.body["scope"].as_str()), (403, Some("server:read")), "{path}");
    }
}

#[actix_web::test]
async fn the_scheme_of_the_token_is_checked() {
    let suite = Suite::embedded().await;
    for (header, expected) in [
        (format!("bearer {}", suite.token), StatusCode::OK),
        (suite.token.clone(), StatusCode::UNAUTHORIZED),
        (format!("Basic {}", suite.token), StatusCode::UNAUTHORIZED),
        ("Bearer".to_owned(), StatusCode::UNAUTHORIZED),
    ] {
        let answer = suite.send(suite.call(Method::GET, "/status").header("authorization", &header)).await;
        assert_eq!(answer.status, expected.as_u16(), "{header}");
    }
}
