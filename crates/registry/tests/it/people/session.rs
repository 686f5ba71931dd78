//! Who may do what, and for how long.

use fleet::{
    Scope,
    id::{SessionId, UserId},
};
use registry::{Action, Actor, AuditFilter, ROTATED_LATELY, Refresh, RefreshToken, User};

use crate::store::{ALL, NOW, Store, refresh_token};

const MONTH: i64 = 30 * 86_400_000;

async fn admin(store: &Store) -> User {
    let id = UserId::new(NOW, [1; 10]);
    assert!(store.registry.make_first_admin(id, "admin", "$argon2id$…", NOW).await.unwrap());
    store.registry.user_by_name("admin").await.unwrap().unwrap()
}

/// Logs in with the refresh token of this number.
async fn log_in(store: &Store, user: &User, number: u8) -> SessionId {
    let session = SessionId::new(NOW, [number; 10]);
    store
        .registry
        .begin_session(session, user, refresh_token(number, number), &Actor::system(), NOW, NOW + MONTH)
        .await
        .unwrap();
    session
}

async fn is_open(store: &Store, session: SessionId) -> bool {
    store.registry.open_session(session).await.unwrap().is_some()
}

/// In the session whose first token has the number `family`.
async fn refresh(store: &Store, family: u8, token: u8, next: u8) -> Refresh {
    refresh_at(store, family, token, next, NOW).await
}

async fn refresh_at(store: &Store, family: u8, token: u8, next: u8, now: i64) -> Refresh {
    let (token, next) = (refresh_token(family, token), refresh_token(family, next));
    store.registry.refresh(token, next, None, now, now + MONTH).await.unwrap()
}

pub async fn first_admin_is_made_once(store: Store) {
    store.warm().await;
    assert!(!store.registry.has_users().await.unwrap());
    let mut tasks = Vec::new();
    for number in 0..6u8 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            let id = UserId::new(NOW, [number; 10]);
            registry.make_first_admin(id, &format!("admin{number}"), "hash", NOW).await.unwrap()
        }));
    }
    let mut made = 0;
    for task in tasks {
        made += u32::from(task.await.unwrap());
    }
    assert_eq!(made, 1);
    assert!(store.registry.has_users().await.unwrap());
}

pub async fn an_admin_has_every_scope(store: Store) {
    let mut scopes = admin(&store).await.scopes;
    scopes.sort_unstable();
    let mut all = Scope::ALL;
    all.sort_unstable();
    assert_eq!(scopes, all);

    store.execute("UPDATE users SET role_id = 'viewer'").await;
    let mut scopes = store.registry.user_by_name("admin").await.unwrap().unwrap().scopes;
    scopes.sort_unstable();
    assert_eq!(scopes, [Scope::ServerRead, Scope::ReportRead, Scope::AlertRead, Scope::ProcessRead]);

    store.execute("DELETE FROM role_scopes").await;
    assert!(store.registry.user_by_name("admin").await.unwrap().unwrap().scopes.is_empty());
}

pub async fn a_user_is_found_regardless_of_case(store: Store) {
    let id = UserId::new(NOW, [1; 10]);
    store.registry.make_first_admin(id, " Jürgen ", "$argon2id$…", NOW).await.unwrap();
    let user = store.registry.user_by_name("JÜRGEN").await.unwrap().unwrap();
    assert_eq!((user.id, user.username.as_str(), user.disabled), (id, "Jürgen", false));
    assert_eq!(user.password_hash, "$argon2id$…");
    for stranger in ["jurgen", "", "jürge_", "' OR '1'='1"] {
        assert!(store.registry.user_by_name(stranger).await.unwrap().is_none(), "{stranger}");
    }
}

pub async fn a_refresh_token_rotates(store: Store) {
    let user = admin(&store).await;
    let session = log_in(&store, &user, 1).await;
    for token in 1..5 {
        assert_eq!(refresh(&store, 1, token, token + 1).await, Refresh::Rotated { user: user.id, session });
    }
    let found = store.registry.open_session(session).await.unwrap().unwrap().user;
    assert_eq!((found.id, found.scopes.len()), (user.id, Scope::ALL.len()));
}

pub async fn reused_refresh_token_revokes_the_family(store: Store) {
    let user = admin(&store).await;
    let (session, other) = (log_in(&store, &user, 1).await, log_in(&store, &user, 101).await);
    refresh(&store, 1, 1, 2).await;
    assert_eq!(refresh_at(&store, 1, 1, 3, NOW + ROTATED_LATELY).await, Refresh::Reused);
    assert!(!is_open(&store, session).await);
    for token in [1, 2, 3] {
        assert_eq!(refresh(&store, 1, token, 50).await, Refresh::Unknown, "{token}");
    }
    assert!(is_open(&store, other).await);
    assert_eq!(refresh(&store, 101, 101, 102).await, Refresh::Rotated { user: user.id, session: other });
}

pub async fn a_token_that_was_rotated_just_now_ends_and_yields_nothing(store: Store) {
    let user = admin(&store).await;
    let session = log_in(&store, &user, 1).await;
    let rotated = Refresh::Rotated { user: user.id, session };
    assert_eq!(refresh(&store, 1, 1, 2).await, rotated);
    assert_eq!(refresh(&store, 1, 2, 3).await, rotated);
    for at in [NOW, NOW + ROTATED_LATELY - 1] {
        assert_eq!(refresh_at(&store, 1, 1, 9, at).await, Refresh::JustRotated);
        assert_eq!(refresh_at(&store, 1, 2, 9, at).await, Refresh::JustRotated);
    }
    assert!(is_open(&store, session).await);
    assert_eq!(refresh(&store, 1, 3, 4).await, rotated, "whoever has the newest one goes on");
}

pub async fn a_refresh_token_is_used_once_at_once(store: Store) {
    store.warm().await;
    let user = admin(&store).await;
    let session = log_in(&store, &user, 1).await;
    let mut tasks = Vec::new();
    for next in 10..16u8 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            registry
                .refresh(refresh_token(1, 1), refresh_token(1, next), None, NOW, NOW + MONTH)
                .await
                .unwrap()
        }));
    }
    let mut rotated = 0;
    for task in tasks {
        rotated += u32::from(matches!(task.await.unwrap(), Refresh::Rotated { .. }));
    }
    assert_eq!(rotated, 1);
    assert!(is_open(&store, session).await);
}

pub async fn an_expired_refresh_token_is_unknown(store: Store) {
    let user = admin(&store).await;
    let session = log_in(&store, &user, 1).await;
    let at = async |now: i64| {
        let (token, next) = (refresh_token(1, 1), refresh_token(1, 2));
        store.registry.refresh(token, next, None, now, NOW + 2 * MONTH).await.unwrap()
    };
    assert_eq!(at(NOW + MONTH).await, Refresh::Unknown);
    assert_eq!(at(NOW + MONTH - 1).await, Refresh::Rotated { user: user.id, session });
    assert_eq!(refresh(&store, 99, 99, 100).await, Refresh::Unknown);
}

pub async fn an_ended_session_has_no_user(store: Store) {
    let user = admin(&store).await;
    let (session, other) = (log_in(&store, &user, 1).await, log_in(&store, &user, 2).await);
    store.registry.end_session(session, &Actor::system(), NOW).await.unwrap();
    store.registry.end_session(session, &Actor::system(), NOW).await.unwrap();
    assert!(!is_open(&store, session).await);
    assert!(is_open(&store, other).await);
    assert_eq!(refresh(&store, 1, 1, 3).await, Refresh::Unknown);
    assert!(!is_open(&store, SessionId::new(NOW, [9; 10])).await);
}

pub async fn a_disabled_user_has_no_session(store: Store) {
    let user = admin(&store).await;
    let session = log_in(&store, &user, 1).await;
    store.execute("UPDATE users SET disabled_at = 1").await;
    assert!(store.registry.user_by_name("admin").await.unwrap().unwrap().disabled);
    assert!(!is_open(&store, session).await);
    assert_eq!(refresh(&store, 1, 1, 2).await, Refresh::Unknown);
}

pub async fn a_new_epoch_ends_every_session(store: Store) {
    let user = admin(&store).await;
    let session = log_in(&store, &user, 1).await;
    store.execute("UPDATE users SET epoch = epoch + 1").await;
    assert!(!is_open(&store, session).await);
    assert_eq!(refresh(&store, 1, 1, 2).await, Refresh::Unknown);
    // Who read the user before the password changed does not get in after it.
    let stale = log_in(&store, &user, 3).await;
    assert!(!is_open(&store, stale).await);
    let fresh = store.registry.user_by_name("admin").await.unwrap().unwrap();
    let session = log_in(&store, &fresh, 4).await;
    assert!(is_open(&store, session).await);
}

pub async fn expired_sessions_are_forgotten(store: Store) {
    let user = admin(&store).await;
    let (old, kept) = (log_in(&store, &user, 1).await, log_in(&store, &user, 2).await);
    let (used, next) = (refresh_token(2, 2), refresh_token(2, 3));
    store.registry.refresh(used, next, None, NOW + 1, NOW + 2 * MONTH).await.unwrap();
    let new = SessionId::new(NOW + MONTH, [5; 10]);
    store
        .registry
        .begin_session(new, &user, refresh_token(5, 5), &Actor::system(), NOW + MONTH, NOW + 2 * MONTH)
        .await
        .unwrap();
    assert!(!is_open(&store, old).await);
    assert!(is_open(&store, kept).await);
    assert!(is_open(&store, new).await);
}

pub async fn a_scope_of_a_later_release_is_left_out(store: Store) {
    store.execute("INSERT INTO role_scopes (role_id, scope) VALUES ('admin', 'process:kill')").await;
    assert_eq!(admin(&store).await.scopes.len(), Scope::ALL.len());
}

pub async fn a_refresh_token_tells_its_holder_while_it_could_be_exchanged(store: Store) {
    let user = admin(&store).await;
    let session = log_in(&store, &user, 1).await;
    let holder =
        async |token: u8, now: i64| store.registry.refresh_token_holder([token; 32], now).await.unwrap();
    assert_eq!(holder(1, NOW).await, Some((user.id, session)));
    assert_eq!(holder(1, NOW + MONTH).await, None, "expired");
    assert_eq!(holder(2, NOW).await, None, "unknown");
    assert!(matches!(refresh(&store, 1, 1, 2).await, Refresh::Rotated { .. }), "it was not used up");
    assert_eq!(holder(1, NOW).await, None, "used");
    assert_eq!(holder(2, NOW).await, Some((user.id, session)));
    store.registry.end_session(session, &Actor::system(), NOW).await.unwrap();
    assert_eq!(holder(2, NOW).await, None, "of a session that has ended");
}

pub async fn a_session_is_elevated_by_itself_until_it_ends(store: Store) {
    let user = admin(&store).await;
    let (session, other) = (log_in(&store, &user, 1).await, log_in(&store, &user, 2).await);
    let (by, registry) = (Actor::system(), &store.registry);
    let until = async |session| registry.open_session(session).await.unwrap().unwrap().elevated_until;
    assert!(registry.elevate_session(session, NOW + 5, &by, NOW).await.unwrap());
    assert_eq!((until(session).await, until(other).await), (Some(NOW + 5), None));
    refresh(&store, 1, 1, 3).await;
    assert_eq!(until(session).await, Some(NOW + 5), "it is the session's, not its tokens'");
    registry.end_session(session, &by, NOW).await.unwrap();
    assert!(!registry.elevate_session(session, NOW + 9, &by, NOW).await.unwrap());
}

const SESSIONS: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM sessions";
const TOKENS: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM refresh_tokens";

pub async fn a_session_has_one_row_however_often_it_is_refreshed(store: Store) {
    let user = admin(&store).await;
    let session = log_in(&store, &user, 1).await;
    for token in 1..=120 {
        let now = NOW + i64::from(token) * ROTATED_LATELY;
        let rotated = refresh_at(&store, 1, token, token + 1, now).await;
        assert_eq!(rotated, Refresh::Rotated { user: user.id, session }, "{token}");
    }
    assert_eq!(store.number(TOKENS).await, 2, "the newest, and the one that was exchanged for it just now");
    // A thief who has gone on meanwhile is found out by whoever still has an old one, however old.
    assert_eq!(refresh_at(&store, 1, 3, 200, NOW + 121 * ROTATED_LATELY).await, Refresh::Reused);
    assert!(!is_open(&store, session).await);
    assert_eq!((store.number(TOKENS).await, store.number(SESSIONS).await), (0, 0), "what has ended is gone");
    assert_eq!(refresh(&store, 1, 121, 201).await, Refresh::Unknown);
}

pub async fn a_session_of_the_release_before_goes_on_and_its_used_tokens_are_known_again(store: Store) {
    let user = admin(&store).await;
    let session = log_in(&store, &user, 1).await;
    store.execute("UPDATE sessions SET family = NULL").await;
    let old = RefreshToken { family: [99; 32], ..refresh_token(1, 1) };
    let next = async |token: RefreshToken, number: u8| {
        let now = NOW + i64::from(number) * ROTATED_LATELY;
        store.registry.refresh(token, refresh_token(7, number), None, now, NOW + MONTH).await.unwrap()
    };
    let rotated = Refresh::Rotated { user: user.id, session };
    assert_eq!(next(old, 2).await, rotated);
    for number in 2..9 {
        assert_eq!(next(refresh_token(7, number), number + 1).await, rotated);
    }
    assert_eq!(
        store.registry.forget_refresh_tokens(NOW + MONTH - 1, 9).await.unwrap(),
        1,
        "one that was exchanged just now"
    );
    assert_eq!(store.number(TOKENS).await, 2);
    assert_eq!(next(old, 50).await, Refresh::Reused);
    assert!(!is_open(&store, session).await);
}

pub async fn a_user_has_fifty_sessions_and_the_one_refreshed_longest_ago_ends(store: Store) {
    let user = admin(&store).await;
    let begin = async |number: u8, now: i64| {
        let (session, by) = (SessionId::new(now, [number; 10]), Actor::system());
        let token = refresh_token(number, number);
        store.registry.begin_session(session, &user, token, &by, now, now + MONTH).await.unwrap();
        session
    };
    let mut sessions = Vec::new();
    for number in 0..50 {
        sessions.push(begin(number, NOW + i64::from(number)).await);
    }
    let (used, next) = (refresh_token(0, 0), refresh_token(0, 250));
    let kept = store.registry.refresh(used, next, None, NOW + 60, NOW + 60 + MONTH).await.unwrap();
    assert!(matches!(kept, Refresh::Rotated { .. }));
    let new = begin(100, NOW + 100).await;
    assert!(
        is_open(&store, sessions[0]).await
            && is_open(&store, new).await
            && is_open(&store, sessions[2]).await
    );
    assert!(!is_open(&store, sessions[1]).await, "the one that nobody used since");
    assert_eq!(refresh(&store, 1, 1, 200).await, Refresh::Unknown);

    store.warm().await;
    let mut tasks = Vec::new();
    for number in 150..156 {
        let (registry, user) = (store.registry.clone(), user.clone());
        tasks.push(tokio::spawn(async move {
            let (session, by) = (SessionId::new(NOW + 200, [number; 10]), Actor::system());
            let token = refresh_token(number, number);
            registry.begin_session(session, &user, token, &by, NOW + 200, NOW + 200 + MONTH).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // The token that was exchanged above has a row still.
    assert_eq!((store.number(SESSIONS).await, store.number(TOKENS).await), (50, 51), "also at once");
    let ended =
        AuditFilter { action: Some(Action::SessionEnd.as_str().to_owned()), ..AuditFilter::default() };
    assert_eq!(store.registry.audit(&ended, ALL).await.unwrap().1, 7);
}

pub async fn what_has_expired_is_forgotten_by_any_number_of_processes(store: Store) {
    let user = admin(&store).await;
    for number in 0..30 {
        log_in(&store, &user, number).await;
    }
    store.execute("UPDATE sessions SET family = NULL").await;
    for number in 0..10 {
        refresh(&store, number, number, 100 + number).await;
    }
    assert_eq!(store.number(TOKENS).await, 40);
    assert_eq!(store.registry.forget_sessions(NOW + MONTH - 1, 100).await.unwrap(), 0);
    assert_eq!(store.registry.forget_refresh_tokens(NOW + MONTH, 4).await.unwrap(), 4);
    store.warm().await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            let mut forgotten = (0, 0);
            for _ in 0..30 {
                forgotten.0 += registry.forget_refresh_tokens(NOW + MONTH, 2).await.unwrap();
                forgotten.1 += registry.forget_sessions(NOW + MONTH, 3).await.unwrap();
            }
            forgotten
        }));
    }
    let mut sessions = 0;
    for task in tasks {
        sessions += task.await.unwrap().1;
    }
    assert_eq!(sessions, 30, "each once");
    assert_eq!((store.number(SESSIONS).await, store.number(TOKENS).await), (0, 0));
}
