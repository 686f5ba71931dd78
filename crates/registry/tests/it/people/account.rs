//! Users, roles and API tokens as people manage them.

use fleet::{
    Scope,
    id::{ApiTokenId, SessionId, UserId},
};
use registry::{
    Account, AccountChange, AccountFilter, Actor, ApiToken, AuditFilter, NewAccount, PasswordChange, Refusal,
    Role, RoleChange, RoleId,
};

use crate::store::{ALL, NOW, Store, password, refresh_token};

const READ: [Scope; 3] = [Scope::ServerRead, Scope::ReportRead, Scope::AlertRead];

fn user_id(number: u8) -> UserId {
    UserId::new(NOW, [number; 10])
}

async fn admin(store: &Store) -> UserId {
    assert!(store.registry.make_first_admin(user_id(0), "admin", "hash", NOW).await.unwrap());
    user_id(0)
}

async fn make(store: &Store, number: u8, name: &str, role: &str) -> Result<Account, Refusal> {
    let new = NewAccount { id: user_id(number), username: name, email: None, password_hash: "hash", role };
    store.registry.make_account(new, &Scope::ALL, &Actor::system(), NOW).await.unwrap()
}

async fn change(store: &Store, user: UserId, change: AccountChange<'_>) -> Result<Account, Refusal> {
    store.registry.change_account(user, None, change, &Scope::ALL, &Actor::system(), NOW + 1).await.unwrap()
}

async fn delete(store: &Store, user: UserId) -> Result<(), Refusal> {
    store.registry.delete_account(user, None, &Scope::ALL, &Actor::system(), NOW).await.unwrap()
}

async fn role(store: &Store, number: u8, name: &str, scopes: &[Scope]) -> Result<Role, Refusal> {
    let id = RoleId::from(user_id(number));
    store.registry.make_role(&id, name, scopes, &Scope::ALL, &Actor::system(), NOW).await.unwrap()
}

async fn log_in(store: &Store, name: &str, number: u8) -> SessionId {
    let session = SessionId::new(NOW, [number; 10]);
    let user = store.registry.user_by_name(name).await.unwrap().unwrap();
    let registry = &store.registry;
    registry
        .begin_session(session, &user, refresh_token(number, number), &Actor::system(), NOW, NOW + 9)
        .await
        .unwrap();
    session
}

async fn scopes(store: &Store, session: SessionId) -> Option<Vec<Scope>> {
    let user = store.registry.open_session(session).await.unwrap()?.user;
    let mut scopes = user.scopes;
    scopes.sort_unstable();
    Some(scopes)
}

fn disabled(disabled: bool) -> AccountChange<'static> {
    AccountChange { disabled: Some(disabled), ..AccountChange::default() }
}

fn to_role(role: &str) -> AccountChange<'_> {
    AccountChange { role: Some(role), ..AccountChange::default() }
}

pub async fn a_user_is_made_read_changed_and_deleted(store: Store) {
    admin(&store).await;
    let made = make(&store, 1, " Jürgen ", "VIEWER").await.unwrap();
    assert_eq!((made.username.as_str(), made.role.as_str(), made.disabled_at), ("Jürgen", "viewer", None));
    assert_eq!(store.registry.account(made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(make(&store, 2, "JÜRGEN", "viewer").await, Err(Refusal::NameTaken));
    assert_eq!(make(&store, 2, "other", "nobody").await, Err(Refusal::NoSuchRole));

    let email = AccountChange { email: Some(Some("j@example.org")), ..AccountChange::default() };
    let changed = change(&store, made.id, AccountChange { username: Some("jg"), ..email }).await.unwrap();
    let expected = Account {
        username: "jg".to_owned(),
        email: Some("j@example.org".to_owned()),
        updated_at: NOW + 1,
        version: made.version + 1,
        ..made.clone()
    };
    assert_eq!(changed, expected);
    let taken = AccountChange { username: Some("Admin"), ..AccountChange::default() };
    assert_eq!(change(&store, made.id, taken).await, Err(Refusal::NameTaken));
    let none = AccountChange { email: Some(None), ..AccountChange::default() };
    assert_eq!(change(&store, made.id, none).await.unwrap().email, None);

    assert_eq!(delete(&store, made.id).await, Ok(()));
    assert_eq!(delete(&store, made.id).await, Err(Refusal::NotFound));
    assert_eq!(change(&store, made.id, disabled(true)).await, Err(Refusal::NotFound));
    assert_eq!(store.registry.account(made.id).await.unwrap(), None);
}

pub async fn users_are_listed_by_name_and_narrowed(store: Store) {
    admin(&store).await;
    for (number, name) in [(1, "beta"), (2, "Alpha"), (3, "100%")] {
        make(&store, number, name, "viewer").await.unwrap();
    }
    let email = AccountChange { email: Some(Some("Ops@Example.org")), ..AccountChange::default() };
    change(&store, user_id(1), email).await.unwrap();
    change(&store, user_id(2), disabled(true)).await.unwrap();
    let names = async |filter: AccountFilter| {
        let (users, total) = store.registry.accounts(&filter, ALL).await.unwrap();
        assert_eq!(users.len() as u64, total);
        users.into_iter().map(|user| user.username).collect::<Vec<_>>()
    };
    let filter = AccountFilter::default;
    let q = |q: &str| AccountFilter { q: Some(q.to_owned()), ..filter() };
    assert_eq!(names(filter()).await, ["100%", "admin", "Alpha", "beta"]);
    assert_eq!(names(q("A")).await, ["admin", "Alpha", "beta"]);
    assert_eq!(names(q("%")).await, ["100%"]);
    assert_eq!(names(q("ops@EXAMPLE")).await, ["beta"]);
    assert_eq!(names(q("\0")).await, [""; 0]);
    assert_eq!(names(AccountFilter { role: Some("Admin".to_owned()), ..filter() }).await, ["admin"]);
    assert_eq!(names(AccountFilter { disabled: Some(true), ..filter() }).await, ["Alpha"]);
    assert_eq!(names(AccountFilter { disabled: Some(false), ..q("a") }).await, ["admin", "beta"]);
}

pub async fn the_last_admin_stays(store: Store) {
    let admin = admin(&store).await;
    for refused in
        [change(&store, admin, disabled(true)).await, change(&store, admin, to_role("viewer")).await]
    {
        assert_eq!(refused, Err(Refusal::LastAdmin));
    }
    assert_eq!(delete(&store, admin).await, Err(Refusal::LastAdmin));
    make(&store, 1, "second", "admin").await.unwrap();
    change(&store, user_id(1), disabled(true)).await.unwrap();
    assert_eq!(delete(&store, admin).await, Err(Refusal::LastAdmin));
    change(&store, user_id(1), disabled(false)).await.unwrap();
    assert_eq!(delete(&store, admin).await, Ok(()));
    assert_eq!(delete(&store, user_id(1)).await, Err(Refusal::LastAdmin));
}

/// The user is deleted, with all that is its own, before it is seen that it was the last admin.
pub async fn a_refusal_leaves_no_trace(store: Store) {
    let admin = admin(&store).await;
    let session = log_in(&store, "admin", 1).await;
    let by = Actor::system();
    store.registry.make_api_token(&token(1, admin, &READ), [1; 32], &by).await.unwrap().unwrap();
    let state = async || {
        (
            store.registry.account(admin).await.unwrap(),
            scopes(&store, session).await,
            store.registry.api_tokens(Some(admin), ALL).await.unwrap(),
            store.actions().await,
        )
    };
    let before = state().await;
    assert_eq!(delete(&store, admin).await, Err(Refusal::LastAdmin));
    let change = AccountChange { username: Some("other"), ..to_role("viewer") };
    assert_eq!(self::change(&store, admin, change).await, Err(Refusal::LastAdmin));
    assert_eq!(state().await, before);
}

pub async fn of_admins_who_shut_each_other_out_at_once_one_stays(store: Store) {
    store.warm().await;
    admin(&store).await;
    for round in 0..8u8 {
        let mut ids = Vec::new();
        for number in 0..6 {
            let (number, name) = (1 + round * 6 + number, format!("admin-{round}-{number}"));
            make(&store, number, &name, "admin").await.unwrap();
            ids.push(user_id(number));
        }
        let (others, _) = store.registry.accounts(&AccountFilter::default(), ALL).await.unwrap();
        for other in others.iter().filter(|other| !ids.contains(&other.id)) {
            delete(&store, other.id).await.unwrap();
        }
        let mut tasks = Vec::new();
        for (number, id) in ids.into_iter().enumerate() {
            let registry = store.registry.clone();
            tasks.push(tokio::spawn(async move {
                let by = Actor::system();
                match number % 3 {
                    0 => registry.delete_account(id, None, &Scope::ALL, &by, NOW).await.unwrap().map(drop),
                    1 => registry
                        .change_account(id, None, disabled(true), &Scope::ALL, &by, NOW)
                        .await
                        .unwrap()
                        .map(drop),
                    _ => {
                        let change = to_role("viewer");
                        registry
                            .change_account(id, None, change, &Scope::ALL, &by, NOW)
                            .await
                            .unwrap()
                            .map(drop)
                    }
                }
            }));
        }
        let mut refused = Vec::new();
        for task in tasks {
            refused.extend(task.await.unwrap().err());
        }
        assert_eq!(refused, [Refusal::LastAdmin], "round {round}");
        let left = AccountFilter { role: Some("admin".to_owned()), disabled: Some(false), q: None };
        assert_eq!(store.registry.accounts(&left, ALL).await.unwrap().1, 1, "round {round}");
    }
}

pub async fn built_in_roles_stay_as_they_are(store: Store) {
    let registry = &store.registry;
    for name in ["admin", "viewer"] {
        let id: RoleId = name.parse().unwrap();
        for change in [
            RoleChange { scopes: Some(&READ[..1]), name: None },
            RoleChange { scopes: None, name: Some("other") },
            RoleChange::default(),
        ] {
            let changed =
                registry.change_role(&id, None, change, &Scope::ALL, &Actor::system(), NOW).await.unwrap();
            assert_eq!(changed, Err(Refusal::BuiltIn), "{name}");
        }
        let deleted = registry.delete_role(&id, None, &Scope::ALL, &Actor::system(), NOW).await.unwrap();
        assert_eq!(deleted, Err(Refusal::BuiltIn), "{name}");
    }
    let (roles, total) = registry.roles(ALL).await.unwrap();
    let names: Vec<_> =
        roles.iter().map(|role| (role.name.as_str(), role.scopes.len(), role.built_in)).collect();
    assert_eq!((names, total), (vec![("admin", Scope::ALL.len(), true), ("viewer", 4, true)], 2));
}

pub async fn a_user_or_a_role_of_another_version_stays_as_it_is(store: Store) {
    admin(&store).await;
    let (registry, all, by) = (&store.registry, &Scope::ALL, Actor::system());
    let user = make(&store, 1, "ops", "viewer").await.unwrap();
    let role = role(&store, 2, "operator", &READ).await.unwrap();
    assert_eq!((user.version, role.version), (1, 1));
    let (change, narrow) = (disabled(true), RoleChange { name: None, scopes: Some(&[]) });
    for other in [[0, 2].as_slice(), &[]] {
        let stale = registry.change_account(user.id, Some(other), change, all, &by, NOW).await.unwrap();
        assert_eq!(stale, Err(Refusal::Stale));
        let stale = registry.delete_account(user.id, Some(other), all, &by, NOW).await.unwrap();
        assert_eq!(stale, Err(Refusal::Stale));
        let stale = registry.change_role(&role.id, Some(other), narrow, all, &by, NOW).await.unwrap();
        assert_eq!(stale, Err(Refusal::Stale));
        let stale = registry.delete_role(&role.id, Some(other), all, &by, NOW).await.unwrap();
        assert_eq!(stale, Err(Refusal::Stale));
    }
    assert_eq!(registry.account(user.id).await.unwrap().as_ref(), Some(&user));
    assert_eq!(registry.role(&role.id).await.unwrap().as_ref(), Some(&role));
    let seen = Some([7, 1].as_slice());
    let changed = registry.change_account(user.id, seen, change, all, &by, NOW).await.unwrap().unwrap();
    let narrowed = registry.change_role(&role.id, seen, narrow, all, &by, NOW).await.unwrap().unwrap();
    assert_eq!((changed.version, narrowed.version), (2, 2));
    assert_eq!(registry.delete_account(user.id, Some(&[2]), all, &by, NOW).await.unwrap(), Ok(()));
    assert_eq!(registry.delete_role(&role.id, Some(&[2]), all, &by, NOW).await.unwrap(), Ok(()));
}

pub async fn a_role_is_made_changed_and_deleted_when_nobody_has_it(store: Store) {
    admin(&store).await;
    let made = role(&store, 1, " Operator ", &[Scope::ServerWrite, Scope::ServerRead]).await.unwrap();
    assert_eq!((made.name.as_str(), made.built_in), ("Operator", false));
    assert_eq!(made.scopes, [Scope::ServerRead, Scope::ServerWrite]);
    assert_eq!(store.registry.role(&made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(role(&store, 2, "OPERATOR", &[]).await, Err(Refusal::NameTaken));
    assert_eq!(role(&store, 2, "Viewer", &[]).await, Err(Refusal::NameTaken));

    make(&store, 1, "ops", "operator").await.unwrap();
    let session = log_in(&store, "ops", 1).await;
    assert_eq!(scopes(&store, session).await.unwrap(), made.scopes);
    let change = RoleChange { name: Some("watch"), scopes: Some(&READ) };
    let by = Actor::system();
    let registry = &store.registry;
    let changed =
        registry.change_role(&made.id, None, change, &Scope::ALL, &by, NOW + 5).await.unwrap().unwrap();
    assert_eq!((changed.name.as_str(), changed.updated_at), ("watch", NOW + 5));
    assert_eq!(scopes(&store, session).await.unwrap(), READ);

    let in_use = registry.delete_role(&made.id, None, &Scope::ALL, &by, NOW).await.unwrap();
    assert_eq!(in_use, Err(Refusal::RoleInUse));
    delete(&store, user_id(1)).await.unwrap();
    assert_eq!(registry.delete_role(&made.id, None, &Scope::ALL, &by, NOW).await.unwrap(), Ok(()));
    assert_eq!(
        registry.delete_role(&made.id, None, &Scope::ALL, &by, NOW).await.unwrap(),
        Err(Refusal::NotFound)
    );
    assert_eq!(registry.role(&made.id).await.unwrap(), None);
}

pub async fn nobody_gives_or_takes_more_than_they_have(store: Store) {
    let admin = admin(&store).await;
    let viewers = [Scope::ServerRead, Scope::ReportRead, Scope::AlertRead, Scope::ProcessRead];
    let mine = [&[Scope::UserRead, Scope::UserWrite], &viewers[..]].concat();
    let operators = role(&store, 1, "operators", &[Scope::ServerWrite]).await.unwrap();
    make(&store, 1, "viewer", "viewer").await.unwrap();
    let (by, registry) = (Actor::system(), &store.registry);
    let beyond =
        |refusal: Option<Refusal>| matches!(refusal, Some(Refusal::Beyond(scope)) if !mine.contains(&scope));

    let new = NewAccount { id: user_id(2), username: "x", email: None, password_hash: "h", role: "admin" };
    assert!(beyond(registry.make_account(new, &mine, &by, NOW).await.unwrap().err()));
    for (user, change) in
        [(user_id(1), to_role("admin")), (user_id(1), to_role("operators")), (admin, disabled(true))]
    {
        assert!(beyond(registry.change_account(user, None, change, &mine, &by, NOW).await.unwrap().err()));
    }
    assert!(beyond(registry.delete_account(admin, None, &mine, &by, NOW).await.unwrap().err()));
    assert!(beyond(
        registry.set_password(admin, password("stolen", None), &mine, &by, NOW).await.unwrap().err()
    ));
    let id = RoleId::from(user_id(9));
    assert!(beyond(
        registry.make_role(&id, "more", &[Scope::AuditRead], &mine, &by, NOW).await.unwrap().err()
    ));
    let less = RoleChange { name: None, scopes: Some(&READ) };
    assert!(beyond(registry.change_role(&operators.id, None, less, &mine, &by, NOW).await.unwrap().err()));
    assert!(beyond(registry.delete_role(&operators.id, None, &mine, &by, NOW).await.unwrap().err()));
    assert_eq!(registry.user_by_name("admin").await.unwrap().unwrap().password_hash, "hash");
    let within = registry.change_account(user_id(1), None, disabled(true), &mine, &by, NOW).await.unwrap();
    assert!(within.is_ok());
}

pub async fn a_password_or_disabling_ends_every_session_and_a_role_changes_it(store: Store) {
    admin(&store).await;
    make(&store, 1, "ops", "viewer").await.unwrap();
    let (by, registry) = (Actor::system(), &store.registry);
    let other = log_in(&store, "admin", 9).await;

    let session = log_in(&store, "ops", 1).await;
    change(&store, user_id(1), to_role("admin")).await.unwrap();
    assert_eq!(scopes(&store, session).await.unwrap().len(), Scope::ALL.len());

    let epoch = registry.user_by_name("ops").await.unwrap().unwrap().epoch;
    registry
        .set_password(user_id(1), password("new", Some(epoch)), &Scope::ALL, &by, NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(scopes(&store, session).await, None);
    assert_eq!(registry.user_by_name("ops").await.unwrap().unwrap().password_hash, "new");
    let stale = registry
        .set_password(user_id(1), password("stale", Some(epoch)), &Scope::ALL, &by, NOW)
        .await
        .unwrap();
    assert_eq!(stale, Err(Refusal::Changed));

    let session = log_in(&store, "ops", 2).await;
    change(&store, user_id(1), disabled(true)).await.unwrap();
    change(&store, user_id(1), disabled(false)).await.unwrap();
    assert_eq!(scopes(&store, session).await, None, "enabling does not bring a session back");
    assert!(scopes(&store, other).await.is_some());
}

fn token(number: u8, user: UserId, scopes: &[Scope]) -> ApiToken {
    ApiToken {
        id: ApiTokenId::new(NOW + i64::from(number), [number; 10]),
        user,
        username: if number == 3 { "admin" } else { "ops" }.to_owned(),
        name: format!("token {number}"),
        scopes: scopes.to_vec(),
        expires_at: Some(NOW + 1_000),
        created_at: NOW + i64::from(number),
    }
}

pub async fn a_token_is_worth_what_it_and_its_maker_have_in_common(store: Store) {
    admin(&store).await;
    let user = make(&store, 1, "ops", "admin").await.unwrap().id;
    let (by, registry) = (Actor::system(), &store.registry);
    let made = token(1, user, &[Scope::ServerRead, Scope::UserWrite]);
    registry.make_api_token(&made, [1; 32], &by).await.unwrap().unwrap();
    let worth = async |now: i64| {
        let found = registry.api_token_user([1; 32], now).await.unwrap()?;
        assert_eq!((found.0, found.1.id), (made.id, user));
        let mut scopes = found.1.scopes;
        scopes.sort_unstable();
        Some(scopes)
    };
    assert_eq!(worth(NOW).await.unwrap(), made.scopes);
    change(&store, user, to_role("viewer")).await.unwrap();
    assert_eq!(worth(NOW).await.unwrap(), [Scope::ServerRead]);
    store.execute("DELETE FROM role_scopes WHERE role_id = 'viewer'").await;
    assert_eq!(worth(NOW).await.unwrap(), []);
    change(&store, user, to_role("admin")).await.unwrap();
    assert_eq!(worth(NOW + 999).await.unwrap(), made.scopes);
    assert_eq!(worth(NOW + 1_000).await, None, "expired");
    change(&store, user, disabled(true)).await.unwrap();
    assert_eq!(worth(NOW).await, None, "of a disabled user");
    change(&store, user, disabled(false)).await.unwrap();
    assert!(worth(NOW).await.is_some());
    assert!(registry.api_token_user([2; 32], NOW).await.unwrap().is_none());
    delete(&store, user).await.unwrap();
    assert_eq!(worth(NOW).await, None, "of a deleted user");
}

pub async fn tokens_are_their_makers_and_who_reaches_as_far_ends_them(store: Store) {
    let admin = admin(&store).await;
    let user = make(&store, 1, "ops", "viewer").await.unwrap().id;
    let (by, registry) = (Actor::system(), &store.registry);
    let (first, second) = (token(1, user, &READ), token(2, user, &READ));
    for (number, made) in [(1, &first), (2, &second), (3, &token(3, admin, &READ))] {
        registry.make_api_token(made, [number; 32], &by).await.unwrap().unwrap();
    }
    assert_eq!(registry.api_tokens(Some(user), ALL).await.unwrap(), (vec![second.clone(), first.clone()], 2));
    let delete = async |token: ApiTokenId, who: UserId, reach: Option<&[Scope]>| {
        registry.delete_api_token(token, who, reach, &by, NOW).await.unwrap()
    };
    assert_eq!(delete(first.id, admin, None).await, Err(Refusal::NotFound));
    assert_eq!(delete(first.id, user, None).await, Ok(()));
    assert_eq!(delete(first.id, user, None).await, Err(Refusal::NotFound));
    assert_eq!(delete(first.id, admin, Some(&Scope::ALL)).await, Err(Refusal::NotFound));
    assert!(registry.api_token_user([1; 32], NOW).await.unwrap().is_none());
    assert_eq!(registry.api_tokens(Some(user), ALL).await.unwrap(), (vec![second.clone()], 1));

    let theirs = token(3, admin, &READ);
    assert_eq!(registry.api_tokens(None, ALL).await.unwrap(), (vec![theirs.clone(), second.clone()], 2));
    let beyond = delete(theirs.id, user, Some(&READ)).await;
    assert!(matches!(beyond, Err(Refusal::Beyond(_))), "{beyond:?}");
    assert_eq!(delete(second.id, admin, Some(&Scope::ALL)).await, Ok(()));
    assert_eq!(registry.api_tokens(None, ALL).await.unwrap(), (vec![theirs], 1));
}

pub async fn a_reset_password_ends_its_users_tokens_and_tells_of_each(store: Store) {
    let admin = admin(&store).await;
    let user = make(&store, 1, "ops", "viewer").await.unwrap().id;
    let (by, registry) = (Actor::system(), &store.registry);
    for (number, owner) in [(1, user), (2, user), (3, admin)] {
        registry.make_api_token(&token(number, owner, &READ), [number; 32], &by).await.unwrap().unwrap();
    }
    let reset = PasswordChange { ends_tokens: true, ..password("new", None) };
    registry.set_password(user, reset, &Scope::ALL, &by, NOW).await.unwrap().unwrap();
    assert_eq!(registry.api_tokens(Some(user), ALL).await.unwrap().1, 0);
    assert_eq!(registry.api_tokens(Some(admin), ALL).await.unwrap().1, 1);
    let deleted = AuditFilter { action: Some("token.delete".to_owned()), ..AuditFilter::default() };
    assert_eq!(registry.audit(&deleted, ALL).await.unwrap().1, 2);
    registry.set_password(admin, password("new", None), &Scope::ALL, &by, NOW).await.unwrap().unwrap();
    assert_eq!(registry.api_tokens(Some(admin), ALL).await.unwrap().1, 1, "told otherwise");
}

pub async fn tokens_without_an_end_get_one_and_expired_ones_are_forgotten(store: Store) {
    let admin = admin(&store).await;
    let (by, registry) = (Actor::system(), &store.registry);
    let endless = ApiToken { expires_at: None, ..token(3, admin, &READ) };
    registry.make_api_token(&endless, [3; 32], &by).await.unwrap().unwrap();
    let other = ApiToken { expires_at: Some(NOW + 5), ..token(4, admin, &READ) };
    registry.make_api_token(&other, [4; 32], &by).await.unwrap().unwrap();
    assert!(registry.api_token_user([3; 32], NOW + 9_000).await.unwrap().is_some());
    assert_eq!(registry.end_endless_api_tokens(NOW + 9_000).await.unwrap(), 1);
    assert_eq!(registry.end_endless_api_tokens(NOW + 99_000).await.unwrap(), 0, "once");
    assert!(registry.api_token_user([3; 32], NOW + 9_000).await.unwrap().is_none());
    assert_eq!(registry.forget_api_tokens(NOW + 4).await.unwrap(), 0);
    assert_eq!(registry.forget_api_tokens(NOW + 5).await.unwrap(), 1);
    assert_eq!(registry.api_tokens(None, ALL).await.unwrap().1, 1);
}

pub async fn a_user_has_a_hundred_tokens_at_most(store: Store) {
    let admin = admin(&store).await;
    let user = make(&store, 1, "ops", "viewer").await.unwrap().id;
    let (by, registry) = (Actor::system(), &store.registry);
    let make = async |number: u8, owner: UserId, now: i64| {
        let made = ApiToken { created_at: now, ..token(number, owner, &READ) };
        registry.make_api_token(&made, [number; 32], &by).await.unwrap()
    };
    for number in 0..98 {
        make(number, user, NOW).await.unwrap();
    }
    store.warm().await;
    let mut tasks = Vec::new();
    for number in 100..106 {
        let (registry, made) = (registry.clone(), token(number, user, &READ));
        tasks.push(tokio::spawn(async move {
            registry.make_api_token(&made, [number; 32], &Actor::system()).await.unwrap()
        }));
    }
    let mut made = 0;
    for task in tasks {
        made += u32::from(task.await.unwrap().is_ok());
    }
    assert_eq!(made, 2, "also at once");
    assert_eq!(make(110, user, NOW).await, Err(Refusal::TooMany));
    assert_eq!(make(111, admin, NOW).await, Ok(()), "each has their own");
    assert_eq!(make(112, user, NOW + 1_000).await, Ok(()), "the others have expired");
    assert_eq!(registry.api_tokens(Some(user), ALL).await.unwrap().1, 1);
}
