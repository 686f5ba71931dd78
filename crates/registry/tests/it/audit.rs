//! The audit log: a row is there exactly when the change is.

use fleet::{
    Scope,
    id::{ApiTokenId, SessionId, UserId},
};
use registry::{
    AccountChange, Action, Actor, ApiToken, AuditEntry, AuditFilter, Change, NewAccount, Page,
    ROTATED_LATELY, Refusal, RoleChange, RoleId, Who,
};
use serde_json::json;

use crate::store::{ALL, NOW, Store, password, refresh_token};

fn user_id(number: u8) -> UserId {
    UserId::new(NOW, [number; 10])
}

fn ops() -> Actor {
    let address = Some("2001:db8::1".to_owned());
    Actor { who: Who::User(user_id(0)), name: Some("Öps".to_owned()), address }
}

async fn log(store: &Store, filter: AuditFilter) -> Vec<AuditEntry> {
    let (entries, total) = store.registry.audit(&filter, ALL).await.unwrap();
    assert_eq!(entries.len() as u64, total);
    entries
}

/// What was done to users, roles, tokens and sessions, the newest first.
async fn actions(store: &Store) -> Vec<String> {
    let entries = log(store, AuditFilter::default()).await.into_iter();
    let others = ["server", "enrolment_token"];
    entries.filter(|entry| !others.contains(&entry.object_kind.as_str())).map(|entry| entry.action).collect()
}

/// A role is made, changed and deleted, each refused once too.
async fn change_roles(store: &Store) {
    let (registry, by, all) = (&store.registry, ops(), &Scope::ALL);
    let role = RoleId::from(user_id(2));
    registry.make_role(&role, "r", &[], all, &by, NOW).await.unwrap().unwrap();
    registry.make_role(&role, "R", &[], all, &by, NOW).await.unwrap().unwrap_err();
    let change = RoleChange { name: None, scopes: Some(&[Scope::UserRead]) };
    registry.change_role(&role, None, change, all, &by, NOW).await.unwrap().unwrap();
    registry.change_role(&role, None, change, &[], &by, NOW).await.unwrap().unwrap_err();
    registry.delete_role(&role, None, all, &by, NOW).await.unwrap().unwrap();
    registry.delete_role(&role, None, all, &by, NOW).await.unwrap().unwrap_err();
}

/// A token is made and deleted, the latter refused once too.
async fn change_tokens(store: &Store) {
    let (registry, by) = (&store.registry, ops());
    let token = ApiToken {
        id: ApiTokenId::new(NOW, [1; 10]),
        user: user_id(0),
        username: "admin".to_owned(),
        name: "t".to_owned(),
        scopes: vec![Scope::UserRead],
        expires_at: None,
        created_at: NOW,
    };
    registry.make_api_token(&token, [1; 32], &by).await.unwrap().unwrap();
    registry.delete_api_token(token.id, user_id(0), None, &by, NOW).await.unwrap().unwrap();
    assert_eq!(
        registry.delete_api_token(token.id, user_id(0), None, &by, NOW).await.unwrap(),
        Err(Refusal::NotFound)
    );
}

pub async fn every_change_is_in_the_log_and_no_refused_one(store: Store) {
    let (registry, by, all) = (&store.registry, ops(), &Scope::ALL);
    registry.make_first_admin(user_id(0), "admin", "hash", NOW).await.unwrap();
    registry.make_first_admin(user_id(1), "late", "hash", NOW).await.unwrap();
    let new =
        NewAccount { id: user_id(1), username: "u", email: None, password_hash: "hash", role: "viewer" };
    registry.make_account(new, all, &by, NOW).await.unwrap().unwrap();
    assert_eq!(registry.make_account(new, all, &by, NOW).await.unwrap(), Err(Refusal::NameTaken));
    let disable = AccountChange { disabled: Some(true), ..AccountChange::default() };
    registry.change_account(user_id(1), None, disable, all, &by, NOW).await.unwrap().unwrap();
    registry.change_account(user_id(0), None, disable, all, &by, NOW).await.unwrap().unwrap_err();
    registry.set_password(user_id(1), password("new", None), all, &by, NOW).await.unwrap().unwrap();
    registry.set_password(user_id(1), password("new", Some(99)), all, &by, NOW).await.unwrap().unwrap_err();
    change_roles(&store).await;
    change_tokens(&store).await;
    let (session, admin) =
        (SessionId::new(NOW, [1; 10]), registry.user_by_name("admin").await.unwrap().unwrap());
    registry.begin_session(session, &admin, refresh_token(1, 1), &by, NOW, NOW + 9).await.unwrap();
    assert!(registry.elevate_session(session, NOW + 9, &by, NOW).await.unwrap());
    registry.end_session(session, &by, NOW).await.unwrap();
    assert!(!registry.elevate_session(session, NOW + 9, &by, NOW).await.unwrap());
    registry.end_session(session, &by, NOW).await.unwrap();
    let reused = SessionId::new(NOW, [2; 10]);
    registry.begin_session(reused, &admin, refresh_token(2, 2), &by, NOW, NOW + 9).await.unwrap();
    for (next, now) in [(3, NOW), (4, NOW + ROTATED_LATELY)] {
        registry.refresh(refresh_token(2, 2), refresh_token(2, next), None, now, now + 9).await.unwrap();
    }
    registry.delete_account(user_id(1), None, all, &by, NOW).await.unwrap().unwrap();
    registry.delete_account(user_id(0), None, all, &by, NOW).await.unwrap().unwrap_err();
    let mut expected = [
        "user.create",
        "user.create",
        "user.change",
        "user.password",
        "role.create",
        "role.change",
        "role.delete",
        "token.create",
        "token.delete",
        "session.begin",
        "session.elevate",
        "session.end",
        "session.begin",
        "user.delete",
        "session.reuse",
    ];
    expected.reverse();
    assert_eq!(actions(&store).await, expected);
}

pub async fn what_cannot_be_logged_is_not_done(store: Store) {
    let (registry, by, all) = (&store.registry, ops(), &Scope::ALL);
    registry.make_first_admin(user_id(0), "admin", "hash", NOW).await.unwrap();
    let id = RoleId::from(user_id(3));
    registry.make_role(&id, "r", &[], all, &by, NOW).await.unwrap().unwrap();
    let admin = registry.user_by_name("admin").await.unwrap().unwrap();
    let session = SessionId::new(NOW, [1; 10]);
    registry.begin_session(session, &admin, refresh_token(1, 1), &by, NOW, NOW + 9).await.unwrap();
    store.execute("ALTER TABLE audit RENAME TO gone").await;
    let new =
        NewAccount { id: user_id(1), username: "u", email: None, password_hash: "hash", role: "viewer" };
    registry.make_account(new, all, &by, NOW).await.unwrap_err();
    let rename = AccountChange { username: Some("other"), ..AccountChange::default() };
    registry.change_account(user_id(0), None, rename, all, &by, NOW).await.unwrap_err();
    registry.set_password(user_id(0), password("new", None), all, &by, NOW).await.unwrap_err();
    registry.delete_role(&id, None, all, &by, NOW).await.unwrap_err();
    registry.end_session(session, &by, NOW).await.unwrap_err();
    store.execute("ALTER TABLE gone RENAME TO audit").await;
    let admin = registry.user_by_name("admin").await.unwrap().unwrap();
    assert_eq!(admin.password_hash, "hash");
    assert!(registry.user_by_name("u").await.unwrap().is_none());
    assert!(registry.role(&id).await.unwrap().is_some());
    assert!(registry.open_session(session).await.unwrap().is_some());
    assert_eq!(actions(&store).await, ["session.begin", "role.create", "user.create"]);
}

pub async fn an_entry_tells_who_what_before_and_after_and_no_secret(store: Store) {
    let (registry, by, all) = (&store.registry, ops(), &Scope::ALL);
    registry.make_first_admin(user_id(0), "admin", "$argon2id$0", NOW).await.unwrap();
    let new = NewAccount {
        id: user_id(1),
        username: "u",
        email: None,
        password_hash: "$argon2id$1",
        role: "viewer",
    };
    registry.make_account(new, all, &by, NOW).await.unwrap().unwrap();
    let change =
        AccountChange { role: Some("admin"), email: Some(Some("a\"b'@c")), ..AccountChange::default() };
    registry.change_account(user_id(1), None, change, all, &by, NOW + 7).await.unwrap().unwrap();
    registry
        .set_password(user_id(1), password("$argon2id$2", None), all, &by, NOW + 8)
        .await
        .unwrap()
        .unwrap();
    let about = AuditFilter { object: Some(user_id(1).to_string()), ..AuditFilter::default() };
    let entries = log(&store, about).await;
    let read = |text: &Option<String>| {
        text.as_ref().map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap())
    };
    let entry = entries.iter().find(|entry| entry.action == "user.change").unwrap();
    assert_eq!(
        (entry.at, entry.actor_kind.as_str(), &entry.actor_id),
        (NOW + 7, "user", &Some(user_id(0).to_string()))
    );
    assert_eq!((entry.actor_name.as_deref(), entry.address.as_deref()), (Some("Öps"), Some("2001:db8::1")));
    let before = json!({"username": "u", "email": null, "role": "viewer", "disabled": false});
    let after = json!({"username": "u", "email": "a\"b'@c", "role": "admin", "disabled": false});
    assert_eq!((read(&entry.before), read(&entry.after)), (Some(before), Some(after)));
    assert!(!format!("{entries:?}").contains("argon2"));
}

pub async fn the_log_is_filtered_paged_and_read_to_its_end(store: Store) {
    let program = Actor { who: Who::Token(ApiTokenId::new(NOW, [5; 10])), ..ops() };
    let stranger = Actor::stranger(None);
    let note = async |actor: &Actor, at: i64, action: Action, id: Option<&str>| {
        let id = id.map(str::to_owned);
        let change = Change { actor, at, action, id, before: None, after: Some(json!({"a": "b\0c"})) };
        store.registry.note(&change).await.unwrap();
    };
    // Later than what making the store wrote.
    let at = NOW + 100;
    note(&program, at, Action::ServerPause, Some("x")).await;
    note(&stranger, at + 1, Action::ServerResume, None).await;
    note(&ops(), at + 1, Action::ServerPause, Some("y")).await;
    let filter = || AuditFilter { from: Some(at), ..AuditFilter::default() };
    let found = async |filter: AuditFilter| {
        let entries = log(&store, filter).await.into_iter();
        entries.map(|entry| (entry.action, entry.object_id.unwrap_or_default())).collect::<Vec<_>>()
    };
    let (x, two, y) = (("server.pause", "x"), ("server.resume", ""), ("server.pause", "y"));
    let own = |rows: &[(&str, &str)]| {
        rows.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(found(filter()).await, own(&[y, two, x]));
    assert_eq!(found(AuditFilter { to: Some(at + 1), ..filter() }).await, own(&[x]));
    assert_eq!(found(AuditFilter { actor: Some("ÖPS".to_owned()), ..filter() }).await, own(&[y, x]));
    let token = ApiTokenId::new(NOW, [5; 10]).to_string();
    assert_eq!(found(AuditFilter { actor: Some(token), ..filter() }).await, own(&[x]));
    assert_eq!(
        found(AuditFilter { action: Some("server.resume".to_owned()), ..filter() }).await,
        own(&[two])
    );
    assert_eq!(found(AuditFilter { object: Some("server".to_owned()), ..filter() }).await, own(&[y, two, x]));
    assert_eq!(found(AuditFilter { object: Some("y".to_owned()), ..filter() }).await, own(&[y]));
    assert_eq!(found(AuditFilter { actor: Some("\0".to_owned()), ..filter() }).await, own(&[]));

    let (page, total) = store.registry.audit(&filter(), Page { page: 2, page_size: 2 }).await.unwrap();
    assert_eq!((page.len(), page[0].action.as_str(), total), (1, "server.pause", 3));
    let mut all = Vec::new();
    loop {
        let part = store.registry.audit_after(&filter(), all.last(), 2).await.unwrap();
        if part.is_empty() {
            break;
        }
        all.extend(part);
    }
    assert_eq!(all, log(&store, filter()).await);
}

pub async fn the_log_is_forgotten_the_oldest_first_by_any_number_of_processes(store: Store) {
    let registry = &store.registry;
    for at in 0..60 {
        let actor = Actor::system();
        let change =
            Change { actor: &actor, at, action: Action::SessionRefuse, id: None, before: None, after: None };
        registry.note(&change).await.unwrap();
    }
    assert_eq!(registry.forget_audit(50, 7).await.unwrap(), 7);
    let noted = AuditFilter { to: Some(60), ..AuditFilter::default() };
    assert_eq!(
        log(&store, noted.clone()).await.last().unwrap().at,
        7,
        "the oldest go first, so many at once"
    );
    store.warm().await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let registry = registry.clone();
        tasks.push(tokio::spawn(async move {
            let mut forgotten = 0;
            for _ in 0..20 {
                forgotten += registry.forget_audit(50, 5).await.unwrap();
            }
            forgotten
        }));
    }
    let mut forgotten = 0;
    for task in tasks {
        forgotten += task.await.unwrap();
    }
    assert_eq!(forgotten, 43, "each row once");
    assert_eq!(log(&store, noted).await.len(), 10);
}
