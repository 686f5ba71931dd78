use std::{fs, os::unix::fs::PermissionsExt};

use chassis::{Clock, Secret};
use registry::{AuditFilter, Page};
use reqwest::Method;
use serde_json::json;
use server_management::{
    BadPassword, FirstAdmin, FirstAdminError, ResetPasswordError, admin_password, first_admin, reset_password,
};
use testkit::tempdir;

use crate::{
    place::Place,
    suite::{NOW, PASSWORD, Suite},
};

pub async fn a_generated_password_is_for_its_owner_alone_and_serves(place: Place) {
    let folder = tempdir().unwrap();
    let (registry, file) = (place.registry, folder.path().join("admin-password"));
    let made = first_admin(&registry, None, &file, &Clock::fixed(NOW)).await.unwrap();
    assert_eq!(made, FirstAdmin::Generated);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.trim_end().len() >= 20);
    let user = registry.user_by_name("admin").await.unwrap().unwrap();
    assert!(user.password_hash.starts_with("$argon2id$"));
    assert_eq!(user.scopes.len(), fleet::Scope::ALL.len());

    let again = first_admin(&registry, None, &file, &Clock::fixed(NOW)).await.unwrap();
    assert_eq!(again, FirstAdmin::NotNeeded);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

pub async fn a_crash_between_file_and_user_keeps_the_password_of_the_file(place: Place) {
    let folder = tempdir().unwrap();
    let (registry, file) = (place.registry, folder.path().join("admin-password"));
    fs::write(&file, "left by a crash\n").unwrap();
    fs::write(folder.path().join("admin-password.new"), "hal").unwrap();
    assert_eq!(first_admin(&registry, None, &file, &Clock::fixed(NOW)).await.unwrap(), FirstAdmin::Generated);
    assert_eq!(fs::read_to_string(&file).unwrap(), "left by a crash\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

pub async fn a_given_password_is_written_nowhere(place: Place) {
    let folder = tempdir().unwrap();
    let (registry, file) = (place.registry, folder.path().join("admin-password"));
    let given = Some(Secret::new("given by a person"));
    assert_eq!(first_admin(&registry, given, &file, &Clock::fixed(NOW)).await.unwrap(), FirstAdmin::Given);
    assert!(!file.exists());
}

pub async fn without_a_place_for_the_password_there_is_no_user(place: Place) {
    let folder = tempdir().unwrap();
    let registry = place.registry;
    let nowhere = folder.path().join("no/such/folder/admin-password");
    let error = first_admin(&registry, None, &nowhere, &Clock::fixed(NOW)).await.unwrap_err();
    assert!(matches!(&error, FirstAdminError::File { .. }), "{error}");
    let short = Some(Secret::new("short"));
    let error = first_admin(&registry, short, &nowhere, &Clock::fixed(NOW)).await.unwrap_err();
    assert!(matches!(error, FirstAdminError::BadPassword(_)), "{error}");
    assert!(!registry.has_users().await.unwrap());
}

#[test]
fn a_password_that_nobody_could_log_in_with_is_found_beforehand() {
    for bad in [String::new(), "1a2b3c4".to_owned(), "ab".repeat(513), "with\0a NUL".to_owned()] {
        assert!(admin_password(Secret::new(bad.clone())).is_err(), "{} bytes", bad.len());
    }
    for good in ["17384920".to_owned(), "ab".repeat(512)] {
        assert_eq!(admin_password(Secret::new(good.clone())).unwrap().expose(), good);
    }
}

#[test]
fn the_first_password_obeys_the_policy_of_every_other() {
    let judged = |text: &str| admin_password(Secret::new(text)).map(|_| ()).unwrap_err();
    assert_eq!(judged("password"), BadPassword::Common);
    assert_eq!(judged("Rollcall2026!"), BadPassword::Derived);
    assert_eq!(judged("admin12345"), BadPassword::Derived);
}

pub async fn a_lost_password_is_reset_and_ends_what_was_proved_by_it(place: Place) {
    let suite = Suite::spawn(place).await;
    let made = suite.api_token(&["server:read"]).await;
    let registry = suite.registry.clone();
    let reset = async |name: &str, given: Option<&str>, keep: bool| {
        reset_password(&registry, name, given.map(Secret::new), keep, &suite.clock).await
    };
    let nobody = reset("nobody", None, false).await.unwrap_err();
    assert!(matches!(nobody, ResetPasswordError::NoSuchUser(_)), "{nobody}");
    let common = reset("admin", Some("password"), false).await.unwrap_err();
    assert!(matches!(common, ResetPasswordError::BadPassword(BadPassword::Common)), "{common}");
    assert_eq!(suite.get("/status").await.status, 200, "a refused one changes nothing");

    let given = reset("ADMIN", Some("a staple for the horse"), true).await.unwrap();
    assert!(given.made.is_none() && given.username == "admin");
    assert_eq!(suite.get("/status").await.status, 401, "the session has ended");
    let log_in = async |password: &str| {
        suite.post("/sessions", json!({"username": "admin", "password": password})).await
    };
    assert_eq!(log_in(PASSWORD).await.status, 401);
    let answer = log_in("a staple for the horse").await;
    let token = answer.body["access_token"].as_str().unwrap().to_owned();
    let call =
        async |token: &str, path: &str| suite.send(suite.call(Method::GET, path).bearer_auth(token)).await;
    assert_eq!(call(&token, "/tokens").await.body["total"], 1, "told to keep them");

    let made_token = made["token"].as_str().unwrap();
    assert_eq!(call(made_token, "/servers").await.status, 200);
    let generated = reset("admin", None, false).await.unwrap().made.unwrap();
    assert_eq!(call(made_token, "/servers").await.status, 401);
    assert_eq!(log_in(generated.expose()).await.status, 200);
    let resets = AuditFilter { action: Some("user.password".to_owned()), ..AuditFilter::default() };
    let (entries, total) = registry.audit(&resets, Page { page: 1, page_size: 9 }).await.unwrap();
    assert_eq!((total, entries[0].actor_kind.as_str()), (2, "system"));
}
